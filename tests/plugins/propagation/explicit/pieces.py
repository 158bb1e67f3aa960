"""What transformers are made of, forwards and backwards in relevance: no autograd anywhere.

Each piece takes the ledger and its inputs, and gives its value and ``back``: relevance at its output to relevance at its
inputs, from the definitions (AttnLRP: arXiv:2402.05602; constant attention and norms, CP-LRP: arXiv:2202.07304). A linear
map shares by contribution, R_i = x_i sum_j w_ji R_j / z_j, and its bias is one of the contributions; an activation hands
on what it has; a product gives half to each factor; a softmax is expanded to first order; norms have constant deviations.
Whatever does not reach an input is booked in the ledger, so that inputs and ledger sum to the output.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Back = Callable[[Tensor], Tensor]


class Ledger:
    """What was kept on the way, for each example, by what kept it."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))

    def keep(self, who: str, amounts: Tensor) -> None:
        """Book what of each example stays."""
        self.kept[who] = self.kept[who] + amounts.flatten(1).sum(1)


@dataclass(frozen=True)
class Relevance:
    """At the input of a model, for one of its outputs."""

    values: Tensor
    output: Tensor  # (batch,)
    kept: dict[str, Tensor]  # (batch,) each: biases, tables and constants, softmax

    @property
    def missing(self) -> Tensor:
        """What neither the input nor the ledger has: nothing."""
        return self.output - self.values.flatten(1).sum(1) - sum(self.kept.values())


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``; nothing where b is nothing."""
    return torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))


def linear(ledger: Ledger, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Back]:
    """``x @ weight + bias`` for a weight (inputs, outputs)."""
    z = x @ weight if bias is None else x @ weight + bias

    def back(relevance: Tensor) -> Tensor:
        share = ratio(relevance, z)
        if bias is not None:
            ledger.keep("biases", bias * share)
        return x * (share @ weight.T)

    return z, back


def dense(ledger: Ledger, module: torch.nn.Linear, x: Tensor) -> tuple[Tensor, Back]:
    """An ``nn.Linear``."""
    return linear(ledger, x, module.weight.T, module.bias)


def table(ledger: Ledger, x: Tensor, rows: Tensor, who: str) -> tuple[Tensor, Back]:
    """``x + rows`` with constants, such as the embeddings of positions, which keep their share."""
    z = x + rows

    def back(relevance: Tensor) -> Tensor:
        share = ratio(relevance, z)
        ledger.keep(who, rows * share)
        return x * share

    return z, back


def residual(a: Tensor, b: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """``a + b``, by contribution."""
    return a + b, lambda relevance: (a * ratio(relevance, a + b), b * ratio(relevance, a + b))


def activation(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Back]:
    """A function of each entry: the identity for relevance."""
    return function(x), lambda relevance: relevance


def layer_norm(ledger: Ledger, module: torch.nn.LayerNorm, x: Tensor) -> tuple[Tensor, Back]:
    """The mean is subtracted, which is linear; the deviation is a constant."""
    deviation = (x.var(-1, correction=0, keepdim=True) + module.eps).sqrt()
    z = (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias

    def back(relevance: Tensor) -> Tensor:
        share = ratio(relevance, z)
        ledger.keep("biases", module.bias * share)
        slope = module.weight * share / deviation
        return x * (slope - slope.mean(-1, keepdim=True))

    return z, back


def rms_norm(weight: Tensor, eps: float, x: Tensor) -> tuple[Tensor, Back]:
    """Every output is one input times a constant."""
    return x * weight / (x.square().mean(-1, keepdim=True) + eps).sqrt(), lambda relevance: relevance


def heads(x: Tensor, size: int) -> tuple[Tensor, Back]:
    """(batch, tokens, heads * size) to (batch, heads, tokens, size)."""
    return x.unflatten(-1, (-1, size)).transpose(1, 2), joined


def joined(x: Tensor) -> Tensor:
    """(batch, heads, tokens, size) to (batch, tokens, heads * size)."""
    return x.transpose(1, 2).flatten(2)


def attention(
    ledger: Ledger, q: Tensor, k: Tensor, v: Tensor, *, scale: float, allowed: Tensor, constant: bool
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """``softmax(scale q k^T) v``; where it is constant (CP-LRP), v has all relevance."""
    scores = scale * (q @ k.transpose(-1, -2))
    p = torch.softmax(torch.where(allowed, scores, -torch.inf), -1)
    z = p @ v

    def back(relevance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        share = ratio(relevance, z)
        of_v = v * (p.transpose(-1, -2) @ share)
        if constant:
            return torch.zeros_like(q), torch.zeros_like(k), of_v
        of_p = p * (share @ v.transpose(-1, -2)) / 2
        of_scores = torch.where(allowed, scores * (of_p - p * of_p.sum(-1, keepdim=True)), 0)
        ledger.keep("softmax", of_p.sum(-1) - of_scores.sum(-1))
        each = scale * ratio(of_scores, scores)
        return q * (each @ k) / 2, k * (each.transpose(-1, -2) @ q) / 2, of_v / 2

    return z, back


def gated(act: Tensor, up: Tensor, *, constant: bool) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """``act * up``: half to each; where the gate is a constant (CP-LRP), all to the other."""
    if constant:
        return act * up, lambda relevance: (torch.zeros_like(relevance), relevance)
    return act * up, lambda relevance: (relevance / 2, relevance / 2)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Back]:
    """Rotary positions (arXiv:2104.09864): each pair (i, i + half) turned, a linear map."""
    half = x.shape[-1] // 2
    z = x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def back(relevance: Tensor) -> Tensor:
        share = ratio(relevance, z)
        turned = share * sin
        return x * (share * cos + torch.cat([turned[..., half:], -turned[..., :half]], -1))

    return z, back


def repeated(x: Tensor, times: int) -> tuple[Tensor, Back]:
    """Each head for ``times`` heads in a row."""
    return x.repeat_interleave(times, 1), lambda relevance: relevance.unflatten(1, (-1, times)).sum(2)


def visible(batch: int, tokens: int, attention_mask: Tensor | None, *, causal: bool) -> Tensor:
    """Which token sees which: (batch, 1, tokens, tokens)."""
    seen = torch.ones(batch, 1, tokens, tokens, dtype=torch.bool)
    if attention_mask is not None:
        seen = seen & attention_mask.bool()[:, None, None, :]
    return seen.tril() if causal else seen


def at(output: Tensor, index: tuple[int, ...]) -> Tensor:
    """Relevance to start with: every example's output at an index, zero elsewhere."""
    chosen = torch.zeros_like(output)
    chosen[:, *index] = output[:, *index]
    return chosen
