"""Several targets at once: what matters to all of them, or to one of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrkit import Problem, wrapper
from attrkit.errors import UsageError, UsageTypeError, did_you_mean
from attrkit.protocols import Tensors


def _largest(each: Tensor) -> Tensor:
    return each.gather(0, each.abs().argmax(0, keepdim=True))[0]


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda each: each.mean(0),
    "sum": lambda each: each.sum(0),
    "max_abs": _largest,
}


@wrapper("multi_target", applies_to="objective", where={"input", "layer"}, objective=False, outputs="one", times="len(targets)")
def multi_target(
    problem: Problem, inner: Callable[[Problem], Tensors], *, targets: Sequence[Any] = (), reduce: str = "mean"
) -> Tensors:
    """Sum up a method's attributions for several targets.

    All targets share forward passes, where the method does not propagate by rules and the model answers each example.

    Args:
        targets: a list of them, each of which is what ``target`` may be elsewhere: an int, a tuple of indices, or one of these
            for each example in a list.
        reduce: mean, sum, or max_abs: at each position the attribution that is largest in size, with its sign.

    Raises:
        UsageError: there are no targets, or ``target`` is given too, or there is no such reduction.
        UsageTypeError: ``targets`` is no list, or one of them is no target.
    """
    if reduce not in REDUCTIONS:
        raise UsageError(f"reduce must be {', '.join(REDUCTIONS)}, got {reduce!r}.{did_you_mean(reduce, REDUCTIONS)}")
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise UsageTypeError(f"targets must be a list of targets, like [0, 2], got {targets!r}")
    if not len(targets):
        raise UsageError("targets is empty; give a list of at least one, like [0, 2]")
    if problem.target.index is not None or problem.target.rows is not None:
        raise UsageError(f"target is {problem.target}, but multi_target explains those in targets= only; leave target out")
    each = problem.of_targets(inner, list(targets))
    return tuple(REDUCTIONS[reduce](torch.stack(parts)) for parts in zip(*each, strict=True))
