"""Places on a straight path as one batch, and the weighted sum of what was found there: a few operations for all places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrkit.protocols import Tensors


def interpolated(start: Tensors, end: Tensors, places: Sequence[tuple[float, float]]) -> Tensors:
    """The values at each place between ``start`` (0) and ``end`` (1), those of one place after those of another."""
    return tuple(_between(b, x, [place for place, _ in places]) for b, x in zip(start, end, strict=True))


def _between(start: Tensor, end: Tensor, places: list[float]) -> Tensor:
    dtype = end.dtype if end.is_floating_point() else torch.get_default_dtype()
    if len(places) == 1:
        return torch.lerp(start.to(dtype), end.to(dtype), places[0])
    at = torch.tensor(places, dtype=dtype, device=end.device).reshape(-1, *[1] * end.dim())
    return torch.lerp(start.to(dtype), end.to(dtype), at).flatten(0, 1)


def weighted(gradient: Tensor, weights: list[float]) -> Tensor:
    """The weighted sum over places, in at least float32."""
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    if len(weights) == 1:
        return gradient * weights[0]
    factors = torch.tensor(weights, dtype=gradient.dtype, device=gradient.device)
    total: Tensor = torch.tensordot(factors, gradient.unflatten(0, (len(weights), -1)), 1)
    return total
