"""Softmax, products and attention from their definitions in AttnLRP (arXiv:2402.05602), with loops over every entry.

Relevance is carried, not gradients: a product shares by contribution and each of its two factors gets half, a softmax is
expanded to first order at its input. Functions take one example without a batch dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``; nothing where b is nothing."""
    return torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))


def softmax_taylor(x: Tensor, relevance: Tensor) -> Tensor:
    """``R_i = x_i (R_i - p_i sum_j R_j)`` over a vector; what the sum differs by stays with the softmax."""
    p = torch.softmax(x, 0)
    found = [x[i] * (relevance[i] - p[i] * sum(relevance)) for i in range(len(x))]
    return torch.stack(found)


def product(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the relevance of ``a * b`` to each, summed over what each was broadcast along."""
    return tuple((relevance / 2 * torch.ones_like(a * b)).sum_to_size(t.shape) for t in (a, b))


def matrix_product(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of ``a @ b``: each ``a_ij b_jk`` has its share of output ik, and each factor half of it."""
    of_a, of_b, share = torch.zeros_like(a), torch.zeros_like(b), ratio(relevance, a @ b)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            for k in range(b.shape[1]):
                amount = a[i, j] * b[j, k] * share[i, k]
                of_a[i, j] += amount / 2
                of_b[j, k] += amount / 2
    return of_a, of_b


def attention(
    q: Tensor, k: Tensor, v: Tensor, relevance: Tensor, *, scale: float, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Relevance of q, k and v of ``softmax(scale q k^T) v``, one head: two products with half shares around a softmax.

    In the end q and k have a quarter, v half, of value times gradient times (relevance over output).
    """
    scores, p = _probabilities(q, k, scale, allowed)
    of_p, of_v = matrix_product(p, v, relevance)
    rows = [
        torch.zeros_like(row).masked_scatter(here, softmax_taylor(row[here], r[here]))
        for row, r, here in zip(scores, of_p, p > 0, strict=True)
    ]
    of_q, of_k = matrix_product(q, k.T, torch.stack(rows))
    return of_q, of_k.T, of_v


def constant_attention(
    q: Tensor, k: Tensor, v: Tensor, relevance: Tensor, *, scale: float, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """CP-LRP (arXiv:2202.07304): where to look is a constant, so v has all of it."""
    _, p = _probabilities(q, k, scale, allowed)
    return torch.zeros_like(q), torch.zeros_like(k), 2 * matrix_product(p, v, relevance)[1]


def _probabilities(q: Tensor, k: Tensor, scale: float, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    scores = scale * (q @ k.T)
    seen = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    return scores, torch.softmax(seen, -1)
