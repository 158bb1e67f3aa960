"""Rank agreement: what several methods agree on, and how far they do."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from attrkit import Problem, wrapper
from attrkit.errors import UsageError
from attrkit.protocols import Tensors


def ranks(values: Tensor) -> Tensor:
    """The ranks of a row's entries, from 1 for the smallest; those that tie share the mean of theirs. Shape (rows, entries)."""
    ordered = values.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (below + up_to + 1).to(torch.float64) / 2


def concordance(each: Tensor) -> Tensor:
    """Kendall's W of ranks of shape (methods, rows, entries): what share of their variance the methods have in common.

    It is 1 where all rank alike, near 1 / methods where ranks are unrelated, and NaN where none tells entries apart.
    """
    centred = each - each.mean(-1, keepdim=True)
    return centred.mean(0).square().sum(-1) / centred.square().sum(-1).mean(0)


@wrapper(
    "rank_agreement",
    methods=(2, None),
    outputs="one",
    references=("arXiv:2202.01602", "doi:10.1214/aoms/1177732186"),
)
def rank_agreement(problem: Problem, inners: Sequence[Callable[[Problem], Tensors]], *, absolute: bool = True) -> Tensors:
    """Rank the features of each example by several methods, and average the ranks.

    Ranks go from near 0 to 1, the most important; they are within each tensor: each input, or each layer's value. How far the
    methods agree on an example is in ``details["agreement"]``: Kendall's W, the mean over those of its tensors
    whose entries some method tells apart, shape ``(batch,)``.

    Args:
        absolute: rank by size whatever the sign, else from the most negative to the most positive.

    Raises:
        UsageError: the methods' attributions have different shapes.
    """
    found = [inner(problem.apart()) for inner in inners]
    for one, other in pairwise(found):
        shapes = [[tuple(v.shape) for v in each] for each in (one, other)]
        if shapes[0] != shapes[1]:
            raise UsageError(f"the methods' attributions have shapes {shapes[0]} and {shapes[1]}, whose ranks do not compare")
    rows = [torch.stack([v.reshape(len(v), v.shape[1:].numel()) for v in parts]) for parts in zip(*found, strict=True)]
    each = [ranks(t.abs() if absolute else t) for t in rows]
    problem.details["agreement"] = torch.stack([concordance(r) for r in each]).nanmean(0)
    averaged = (r.mean(0) / r.shape[-1] for r in each)
    return tuple(a.reshape(v.shape).to(v.dtype) for a, v in zip(averaged, found[0], strict=True))
