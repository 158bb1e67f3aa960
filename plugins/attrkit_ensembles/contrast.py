"""Contrast: why this output rather than that one."""

from collections.abc import Callable
from typing import Any

from attrkit import Problem, wrapper
from attrkit.errors import UsageError
from attrkit.protocols import Tensors


@wrapper(
    "contrast",
    applies_to="objective",
    where={"input", "layer"},
    outputs="one",
    linear=True,
    times="2",
    references=("arXiv:2202.10419", "arXiv:1812.02100"),
)
def contrast(problem: Problem, inner: Callable[[Problem], Tensors], *, against: Any = None) -> Tensors:
    """Explain why the target rather than another one: the attributions for it minus those for the other.

    Of a method that is linear in the output that is the attribution of their difference. Both targets share forward passes,
    where the method does not propagate by rules and the model answers each example.

    Args:
        against: the other target, whatever ``target`` may be: an int, a tuple of indices, or one of these for each example in a
            list.

    Raises:
        UsageError: ``against`` is missing, or does not fit the model's output.
        UsageTypeError: ``against`` is no target.
    """
    if against is None:
        raise UsageError("against is missing: give the target to contrast with, like against=2")
    found, other = problem.of_targets(inner, [None, against], "against")
    return tuple(f - o for f, o in zip(found, other, strict=True))
