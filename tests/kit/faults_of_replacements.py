"""Replacements with one mistake each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrkit import Problem, replacement
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

Drawing = Callable[[Tensor], Tensors]


def _floating(problem: Problem) -> Tensors:
    if not all(x.is_floating_point() for x in problem.point):
        raise UsageError("this replacement needs inputs that are floating-point numbers")
    return problem.point


@replacement("torchs_noise")
def torchs_noise(problem: Problem) -> Tensors:
    """Noise of torch's own generator."""
    return tuple(map(torch.randn_like, _floating(problem)))


@replacement("one_after_another")
def one_after_another(problem: Problem) -> Drawing:
    """Noise of one generator for all draws, so that the order of asking decides."""
    point, generator = _floating(problem), problem.common_generator(0)

    def draw(numbers: Tensor) -> Tensors:
        return tuple(torch.randn(len(numbers), 1, *x.shape[1:], generator=generator, dtype=torch.float64).to(x) for x in point)

    return draw


@replacement("always_the_same")
def always_the_same(problem: Problem) -> Drawing:
    """Noise for which the number of the draw is forgotten."""
    point = _floating(problem)

    def draw(numbers: Tensor) -> Tensors:
        return tuple(e.expand(len(numbers), *e.shape).to(x) for e, x in zip(problem.normal(0), point, strict=True))

    return draw


@replacement("numbers_with_halves")
def numbers_with_halves(problem: Problem) -> Tensors:
    """The mean of each column, also of token numbers."""
    return tuple(x.double().mean(0, keepdim=True) for x in problem.point)


@replacement("inputs_centred")
def inputs_centred(problem: Problem) -> Tensors:
    """The inputs less their mean, taken away in place."""
    return tuple(x.sub_(x.mean(0, keepdim=True)).clone() for x in _floating(problem))


@replacement("in_units")
def in_units(problem: Problem) -> Tensors:
    """The inputs in units of the example's standard deviation, which may be 0."""
    return tuple(x / x.flatten(1).std(1).reshape(-1, *[1] * (x.dim() - 1)) for x in _floating(problem))


@replacement("flat")
def flat(problem: Problem) -> Tensors:
    """The mean of each example, without the dimensions that it was taken over."""
    return tuple(x.flatten(1).mean(1) for x in _floating(problem))


@replacement("one_tensor")
def one_tensor(problem: Problem) -> Tensors:
    """Zero for the first tensor alone."""
    return (torch.zeros_like(problem.point[0]),)


@replacement("squeezed")
def squeezed(problem: Problem) -> Drawing:
    """The inputs shifted by the number of the draw, dimensions of one left out."""
    point = _floating(problem)

    def draw(numbers: Tensor) -> Tensors:
        shifts = numbers.double()
        return tuple((x + shifts.to(x).reshape(-1, *[1] * x.dim())).squeeze(1) for x in point)

    return draw


@replacement("says_nothing")
def says_nothing(problem: Problem, *, value: float = 0.5) -> Tensors:
    """A constant."""
    return tuple(torch.full_like(x, value) for x in _floating(problem))


def _nested() -> Any:
    @replacement("nested")
    def nested(problem: Problem) -> Tensors:
        """Zero."""
        return tuple(map(torch.zeros_like, problem.point))

    return nested


nested = _nested()


@replacement("second_example")
def second_example(problem: Problem) -> Tensors:
    """The second example, of which there may be none."""
    return tuple(x[1:2] for x in problem.point)


@replacement("another_each_time")
def another_each_time(problem: Problem) -> Tensors:
    """Constants that take turns from one call to the next."""
    value = next(_TURNS)
    return tuple(torch.full_like(x, value) for x in _floating(problem))


_TURNS = itertools.cycle([0.0, 1.0, 2.0])


@replacement("means_by_view")
def means_by_view(problem: Problem) -> Tensors:
    """The mean of each example, by a view that inputs need not allow."""
    return tuple(x.view(len(x), -1).mean(1).reshape(-1, *[1] * (x.dim() - 1)) for x in _floating(problem))


@replacement("any_spread")
def any_spread(problem: Problem, *, spread: float = 1.0) -> Tensors:
    """The inputs and a little more, by a spread whose square may have no root.

    Args:
        spread: the square of how much.
    """
    return tuple(x + math.sqrt(spread) for x in _floating(problem))


@replacement("any_value")
def any_value(problem: Problem, *, value: Any = 0.5) -> Tensors:
    """A constant, or zero where that is no number.

    Args:
        value: the constant.
    """
    number = value if isinstance(value, float) and value == value else 0.0  # noqa: PLR0124 - which leaves NaN out
    return tuple(torch.full_like(x, number) for x in _floating(problem))
