"""Keeping denominators away from zero."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError

Stabilizer: TypeAlias = float | Mapping[str, float | bool]

#: The default: relative to what is stabilised, because an absolute one destroys the relevance of small activations.
RELATIVE: Stabilizer = {"epsilon": 1e-6, "relative": True}


def stabilized(z: Tensor, stabilizer: Stabilizer) -> Tensor:
    """``z`` moved away from zero: by ``epsilon``, or by epsilon times the root mean square of each example of z.

    The sign of 0 counts as positive. With an epsilon of 0, zeros become infinite, so that what is divided by them vanishes.
    """
    epsilon, relative = (stabilizer, False) if isinstance(stabilizer, int | float) else _read(stabilizer)
    if epsilon < 0:
        raise UsageError(f"a stabilizer must be at least 0, got {epsilon}")
    margin = torch.as_tensor(epsilon, dtype=z.dtype, device=z.device)
    if relative:
        margin = margin * z.reshape(len(z), -1).square().mean(1).sqrt().reshape(-1, *[1] * (z.dim() - 1))
    moved = z + torch.where(z < 0, -margin, margin)
    return torch.where(moved == 0, torch.inf, moved)


def _read(stabilizer: Mapping[str, float | bool]) -> tuple[float, bool]:
    if not isinstance(stabilizer, Mapping):
        raise UsageTypeError(f"stabilizer must be a number, or a mapping of epsilon and relative, got {stabilizer!r}")
    if stray := stabilizer.keys() - {"epsilon", "relative"}:
        raise UsageError(f"stabilizer has no key {min(stray)!r}; give a number, or epsilon and relative")
    return float(stabilizer.get("epsilon", 1e-6)), bool(stabilizer.get("relative", False))
