"""From multipliers to attributions: times the change of what they multiply, or whatever a caller makes of the three."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors

Contribute: TypeAlias = Callable[[Tensors, Tensors, Tensors], Tensors]


def contributing(function: Any, *, multiply: bool) -> Contribute:
    """A function of multipliers, values and the values compared with, which gives the attributions.

    Args:
        function: the caller's own, of the multipliers, or also of the inputs, or also of the baselines, all of them tuples.
        multiply: without such a function, give contributions and not the multipliers themselves.

    Raises:
        UsageTypeError: the function is none, or takes another number of arguments.
    """
    if function is None:
        return _contributions if multiply else _multipliers
    if not callable(function):
        raise UsageTypeError(f"custom_attribution_func must be a function, got {type(function).__name__}")
    count = _count(function)

    def contribute(*known: Tensors) -> Tensors:
        return _own(function(*known[:count]), known[0])

    return contribute


def _count(function: Callable[..., Any]) -> int:
    """How many arguments a caller's function takes."""
    parameters = inspect.signature(function).parameters.values()
    places = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    if len(places) not in (1, 2, 3):
        raise UsageTypeError(
            f"custom_attribution_func takes {len(places)} arguments; it must take the multipliers, and may take the inputs and "
            "then the baselines too"
        )
    return len(places)


def _own(found: Any, multipliers: Tensors) -> Tensors:
    fits = isinstance(found, tuple) and all(isinstance(t, Tensor) for t in found)
    if not fits or [len(t) for t in found] != [len(m) for m in multipliers]:
        got = tuple(tuple(t.shape) for t in found) if fits else type(found).__name__
        raise UsageError(
            f"custom_attribution_func must return a tuple with one tensor for each of the multipliers, of shapes "
            f"{tuple(tuple(m.shape) for m in multipliers)}, it returned {got}"
        )
    return found  # type: ignore[no-any-return]


def _multipliers(multipliers: Tensors, _: Tensors, __: Tensors) -> Tensors:
    return multipliers


def _contributions(multipliers: Tensors, point: Tensors, baseline: Tensors) -> Tensors:
    return tuple(m * (x - b) for m, x, b in zip(multipliers, point, baseline, strict=True))
