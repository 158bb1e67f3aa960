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


def stabilized(z: Tensor, stabilizer: Stabilizer, option: str = "stabilizer") -> Tensor:
    """``z`` moved away from zero: by ``epsilon``, or by epsilon times the root mean square of each example of z.

    Of a z of three dimensions it is that of each vector along the last one.

    The sign of 0 counts as positive. With an epsilon of 0, zeros become infinite, so that what is divided by them vanishes.

    Raises:
        UsageError: the stabilizer, which is the rule's ``option``, is negative, NaN, infinite, or has other keys.
        UsageTypeError: it is no number and no mapping.
    """
    margin = _margin(z, stabilizer, option)
    if margin is None:
        return z.masked_fill(z == 0, torch.inf)
    return torch.copysign(margin, z).add_(z)


def stabilized_sum(total: Tensor, stabilizer: Stabilizer) -> Tensor:
    """The same of sums of what is not negative, written into ``total``."""
    margin = _margin(total, stabilizer, "stabilizer")
    return total.masked_fill_(total == 0, torch.inf) if margin is None else total.add_(margin)


def looks_at_all(name: str) -> Callable[[Mapping[str, Any]], bool]:
    """Of a rule's parameters: whether the stabiliser by that name is relative, so that it depends on all outputs."""
    return lambda parameters: isinstance(parameters[name], Mapping) and bool(parameters[name].get("relative"))


def _margin(z: Tensor, stabilizer: Stabilizer, option: str) -> Tensor | None:
    """How far to move, for all or for each example; None where that is nowhere. An example of zeros moves to infinity."""
    epsilon, relative = (stabilizer, False) if isinstance(stabilizer, int | float) else _read(stabilizer, option)
    if not 0 <= epsilon < math.inf:
        raise UsageError(f"{option} must be a number of at least 0, got {epsilon}; a small one like 1e-6 is usual")
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


def _read(stabilizer: Mapping[str, float | bool], option: str) -> tuple[float, bool]:
    if not isinstance(stabilizer, Mapping):
        raise UsageTypeError(f"{option} must be a number, or a mapping of epsilon and relative, got {stabilizer!r}")
    if stray := stabilizer.keys() - {"epsilon", "relative"}:
        raise UsageError(f"{option} has no key {min(map(str, stray))!r}; give a number, or epsilon and relative")
    epsilon, relative = stabilizer.get("epsilon", 1e-6), stabilizer.get("relative", False)
    if not isinstance(epsilon, int | float) or not isinstance(relative, bool):
        raise UsageTypeError(f"{option} must have a number for epsilon and a bool for relative, got {dict(stabilizer)!r}")
    return epsilon, relative
