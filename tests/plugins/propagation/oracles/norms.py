"""Norms whose deviation is a constant: linear maps of an example, given that constant (arXiv:2202.07304).

Each function gives the map of one example, for ``oracles.linear.epsilon`` and the others; with an epsilon of 0 that is the
rule of AttnLRP (arXiv:2402.05602), under which only biases keep relevance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.plugins.propagation.oracles.linear import Map, epsilon


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Map:
    """Of all entries of one flat example: what is subtracted is the mean, which is linear."""
    n = x.numel()
    deviation = ((x - x.mean()).square().mean() + eps).sqrt()
    return _affine((torch.eye(n).to(x) - 1 / n) / deviation, weight, bias)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Map:
    """Of all entries of one flat example: nothing is subtracted."""
    return _affine(torch.eye(x.numel()).to(x) / (x.square().mean() + eps).sqrt(), weight, None)


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Map:
    """Of one example (channels, ...): a layer norm of each group of channels, then a weight and a bias for each channel."""
    blocks = [layer_norm(part.flatten(), None, None, eps).matrix for part in x.chunk(groups)]
    size = x[0].numel()
    spread = [None if t is None else t.repeat_interleave(size) for t in (weight, bias)]
    return _affine(torch.block_diag(*blocks), *spread)


def _affine(matrix: Tensor, weight: Tensor | None, bias: Tensor | None) -> Map:
    scaled = matrix if weight is None else weight[:, None] * matrix
    zero = torch.zeros(len(matrix)).to(matrix)
    return Map(scaled, torch.ones_like(matrix), zero if bias is None else bias)


def relevance_of(module: nn.Module, x: Tensor, relevance: Tensor, **options) -> Tensor:
    """At the input of a norm, of a batch: every row of a layer or RMS norm, every example of a group norm."""
    rows = relevance.reshape(x.shape)
    if isinstance(module, nn.GroupNorm):
        pairs = zip(x, rows, strict=True)
        known = [(group_norm(one, module.num_groups, module.weight, module.bias, module.eps), one, r) for one, r in pairs]
    else:
        size = torch.Size(module.normalized_shape).numel()
        pairs = zip(x.reshape(-1, size), rows.reshape(-1, size), strict=True)
        weight = None if module.weight is None else module.weight.flatten()
        if isinstance(module, nn.RMSNorm):
            eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
            known = [(rms_norm(one, weight, eps), one, r) for one, r in pairs]
        else:
            bias = None if module.bias is None else module.bias.flatten()
            known = [(layer_norm(one, weight, bias, module.eps), one, r) for one, r in pairs]
    found = [epsilon(m, one.unsqueeze(0), r.unsqueeze(0), **options) for m, one, r in known]
    return torch.cat(found).reshape(x.shape).detach()
