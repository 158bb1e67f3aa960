"""Coalitions in which each feature is there with the same probability, independently of the others."""

from collections.abc import Iterator

import torch
from torch import Tensor

from attrkit import design
from attrkit.errors import UsageError

_BLOCK = 2**20  # entries of a block, at most


@design("bernoulli", references=("arXiv:1602.04938",))
def bernoulli(count: int, size: int, generator: torch.Generator, *, share: float = 0.5) -> Iterator[Tensor]:
    """Each feature is there with the same probability, independently of the others.

    Args:
        share: that probability.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share!r}")
    step = max(1, _BLOCK // max(1, count))
    for low in range(0, size, step):
        yield torch.rand(min(step, size - low), count, generator=generator) < share
