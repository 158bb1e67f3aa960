"""Functions of the caller's in the established protocol of LIME: what draws samples, and what compares them."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError, warn
from attrkit.protocols import Tensors


def alone(tensors: Tensors) -> Any:
    """A tensor where there is one, else the tuple."""
    return tensors[0] if len(tensors) == 1 else tensors


def samples(function: Callable[..., Any], inputs: Tensors, count: int, kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """What a function of the inputs returns each time that it is called, or a generator function yields, ``count`` times.

    Warns where a generator ends before that.
    """
    if not callable(function):
        raise UsageTypeError(f"perturb_func must be a function, got {type(function).__name__}")
    if not inspect.isgeneratorfunction(function):
        for _ in range(count):
            yield function(alone(inputs), **kwargs)
        return
    drawn = 0
    for drawn, sample in enumerate(islice(function(alone(inputs), **kwargs), count), 1):  # noqa: B007 - it counts
        yield sample
    if drawn < count:
        warn(f"perturb_func yielded {drawn} of {count} samples; the surrogate is fitted to those")


def similarity(
    function: Callable[..., Any], inputs: Tensors, perturbed: Tensors, interpretable: Any, kwargs: Mapping[str, Any]
) -> float:
    """The weight that a function gives to one sample.

    Raises:
        UsageTypeError: it is no function.
        UsageError: it returns something else than one number of at least zero.
    """
    if not callable(function):
        raise UsageTypeError(f"similarity_func must be a function, got {type(function).__name__}")
    found = function(alone(inputs), alone(perturbed), interpretable, **kwargs)
    number = found.item() if isinstance(found, Tensor) and found.numel() == 1 else found
    if not isinstance(number, int | float) or not 0 <= number < torch.inf:
        raise UsageError(f"similarity_func must return one number of at least 0, the sample's weight; it returned {found!r}")
    return float(number)


def row(interpretable: Any, name: str) -> Tensor:
    """A sample in the interpretable space as one row of numbers, shape ``(features,)``, float64 on the CPU.

    Raises:
        UsageError: ``name``, which made it, returned something else than a tensor of shape ``(1, features)``.
    """
    if isinstance(interpretable, Tensor) and interpretable.numel() == interpretable.shape[-1:].numel() > 0:
        return interpretable.detach().double().cpu().reshape(-1)
    got = tuple(interpretable.shape) if isinstance(interpretable, Tensor) else type(interpretable).__name__
    raise UsageError(f"{name} must return a tensor of shape (1, features), it returned {got}")


def instead(name: str, given: Any, **options: tuple[Any, Any]) -> None:
    """Raise UsageError where a function is given and an option, here with its default, that it takes the place of."""
    for option, (value, default) in options.items():
        if given is not None and value != default:
            raise UsageError(f"{name} takes the place of {option}: leave {option}={value!r} out, or {name}")
