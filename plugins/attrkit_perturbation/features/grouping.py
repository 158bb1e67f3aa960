"""Groups of features, from what a caller says of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrkit import Features, Problem
from attrkit.errors import UsageError, UsageTypeError


def grouped(problem: Problem, features: Features, groups: Any) -> Tensor:
    """The group of each feature, numbers from 0, shape ``(features,)``, on the CPU.

    ``groups`` are lists of the features' numbers, of which those in none are alone; or what a mask of features may be, coarser
    than the features'. Without, each feature is alone.

    Raises:
        UsageError: a feature is in several groups, or there is none of that number.
        UsageTypeError: it is none of these.
    """
    if groups is None:
        return torch.arange(features.count)
    if isinstance(groups, list | tuple) and not any(isinstance(g, Tensor) for g in groups):
        found = _listed(features.count, groups)
    else:
        try:
            coarse = problem.game(groups).features
        except UsageError as error:  # which says feature_mask, as groups are one
            raise type(error)(f"groups{str(error).removeprefix('feature_mask')}") from None
        found = _covering(features, coarse)
    return renumbered(found)


def renumbered(groups: Tensor) -> Tensor:
    """The same groups, numbered without gaps."""
    numbers: Tensor = groups.unique(return_inverse=True)[1]
    return numbers


def _listed(count: int, groups: Any) -> Tensor:
    if not all(isinstance(g, list | tuple) and all(type(i) is int for i in g) for g in groups):
        raise UsageTypeError(f"groups must be lists of features' numbers, or a mask of group numbers, got {groups!r}")
    numbers = torch.tensor([i for g in groups for i in g], dtype=torch.int64)
    if len(numbers) and not bool(((numbers >= 0) & (numbers < count)).all()):
        raise UsageError(f"groups: features are numbered from 0 to {count - 1}, got {groups!r}")
    if len(numbers.unique()) < len(numbers):
        raise UsageError(f"groups: a feature is named twice in {groups!r}; each may be in one group")
    found = torch.arange(count)
    found[numbers] = count + torch.tensor([k for k, g in enumerate(groups) for _ in g], dtype=torch.int64)
    return found


def _covering(features: Features, coarse: Any) -> Tensor:
    """The group that all positions of each feature are in."""
    low = torch.full((features.count + 1,), torch.iinfo(torch.int64).max)
    high = torch.full((features.count + 1,), -1)
    for ids, groups in zip(features.ids, coarse.ids, strict=True):
        each, group = (t.flatten().cpu() for t in torch.broadcast_tensors(ids, groups))
        low.scatter_reduce_(0, each, group, "amin")
        high.scatter_reduce_(0, each, group, "amax")
    low, high = low[: features.count], high[: features.count]
    if several := torch.nonzero(low != high).flatten().tolist():
        raise UsageError(f"groups: feature {several[0]} is in several groups; a group must hold features as a whole")
    return low
