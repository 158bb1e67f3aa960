"""Noisy copies of the inputs."""

from collections.abc import Sequence
from typing import TypeAlias

from attrkit import Problem
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors

Deviations: TypeAlias = float | Sequence[float]


def deviations(stdevs: Deviations, count: int) -> tuple[float, ...]:
    """A standard deviation for each of ``count`` inputs, from one for all or one for each.

    Raises:
        UsageTypeError: neither a number nor a tuple of numbers.
        UsageError: another count, or a negative number.
    """
    each = tuple(stdevs) if isinstance(stdevs, Sequence) else (stdevs,) * count
    if any(isinstance(s, bool) or not isinstance(s, int | float) for s in each):
        raise UsageTypeError(f"stdevs must be a number, or a tuple of numbers, got {stdevs!r}")
    if len(each) != count:
        raise UsageError(f"stdevs has {len(each)} entries for {count} inputs; give one for each, or a single number")
    if any(not s >= 0 for s in each):
        raise UsageError(f"stdevs must be at least 0, got {stdevs!r}")
    return each


def noisy(problem: Problem, stdevs: tuple[float, ...], sample: int) -> Tensors:
    """The inputs with normal noise added; those without a deviation as they are.

    Raises:
        UsageTypeError: an input with a deviation holds integers, like numbers of tokens.
    """
    if not any(stdevs):
        return problem.inputs
    for x, s in zip(problem.inputs, stdevs, strict=True):
        if s and not x.is_floating_point():
            raise UsageTypeError(
                f"stdevs: noise cannot be added to an input of {x.dtype}; make it floating-point where it is a quantity, "
                "or set its stdevs to 0"
            )
    drawn = zip(problem.inputs, problem.normal(sample, problem.inputs), stdevs, strict=True)
    return tuple(x + s * e if s else x for x, e, s in drawn)
