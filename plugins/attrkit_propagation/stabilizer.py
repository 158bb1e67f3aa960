"""Keeping denominators away from zero."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError

Stabilizer: TypeAlias = float | Mapping[str, float | bool]

#: The default: relative to what is stabilised, because an absolute one destroys the relevance of small activations.
RELATIVE: Stabilizer = {"epsilon": 1e-6, "relative": True}


def stabilized(z: Tensor, stabilizer: Stabilizer) -> Tensor:
    """``z`` moved away from zero: by ``epsilon``, or by epsilon times the root mean square of each example of z.

    Of a z of three dimensions it is that of each vector along the last one.

    The sign of 0 counts as positive. With an epsilon of 0, zeros become infinite, so that what is divided by them vanishes.
    """
    margin = _margin(z, stabilizer)
    if margin is None:
        return z.masked_fill(z == 0, torch.inf)
    return torch.copysign(margin, z).add_(z)


def stabilized_sum(total: Tensor, stabilizer: Stabilizer) -> Tensor:
    """The same of sums of what is not negative, written into ``total``."""
    margin = _margin(total, stabilizer)
    return total.masked_fill_(total == 0, torch.inf) if margin is None else total.add_(margin)


def looks_at_all(name: str) -> Callable[[Mapping[str, Any]], bool]:
    """Of a rule's parameters: whether the stabiliser by that name is relative, so that it depends on all outputs."""
    return lambda parameters: isinstance(parameters[name], Mapping) and bool(parameters[name].get("relative"))


def _margin(z: Tensor, stabilizer: Stabilizer) -> Tensor | None:
    """How far to move, for all or for each example; None where that is nowhere. An example of zeros moves to infinity."""
    epsilon, relative = (stabilizer, False) if isinstance(stabilizer, int | float) else _read(stabilizer)
    if epsilon < 0:
        raise UsageError(f"a stabilizer must be at least 0, got {epsilon}")
    if epsilon == 0:
        return None
    if not relative:
        return z.new_full((), epsilon)
    # sequences may come with time first, where the first dimension tells no examples apart: of these each vector counts
    places, wide = (-1,) if z.dim() == 3 else tuple(range(1, z.dim())), torch.promote_types(z.dtype, torch.float32)
    size = torch.linalg.vector_norm(z, dim=places, keepdim=True, dtype=wide) if places else z.abs()
    scaled = size * (epsilon / math.sqrt(max(1, math.prod(z.shape[i] for i in places))))
    margin = scaled.to(z.dtype).clamp_(min=torch.finfo(z.dtype).tiny)  # half precision knows no thousandth of a millionth
    return margin.masked_fill_(size == 0, torch.inf)


def _read(stabilizer: Mapping[str, float | bool]) -> tuple[float, bool]:
    if not isinstance(stabilizer, Mapping):
        raise UsageTypeError(f"stabilizer must be a number, or a mapping of epsilon and relative, got {stabilizer!r}")
    if stray := stabilizer.keys() - {"epsilon", "relative"}:
        raise UsageError(f"stabilizer has no key {min(stray)!r}; give a number, or epsilon and relative")
    return float(stabilizer.get("epsilon", 1e-6)), bool(stabilizer.get("relative", False))
