"""Correct rules, replacements and executors, written in other ways than attrkit's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from attrkit import Problem, Rows, replacement, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step, Tensors


def _away_from_zero(z: Tensor, margin: float) -> Tensor:
    return z + torch.where(z < 0, -margin, margin)


@rule("by_contribution", operations={"linear", "conv2d"}, conserves="without_bias")
def by_contribution(step: Step, relevance: Tensor, *, margin: float = 1e-9) -> Tensor:
    """Shares relevance by contribution.

    Args:
        margin: how far denominators are kept from zero.
    """
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not margin > 0:
        raise UsageError(f"margin must be a positive number, got {margin!r}")
    return step.input * step.transpose(relevance / _away_from_zero(step.output, margin))


@rule("by_contribution_without_bias", operations={"linear"}, returns="quotient", conserves="yes")
def by_contribution_without_bias(step: Step, relevance: Tensor) -> Tensor:
    """Shares relevance by contribution, all of it among the inputs."""
    return step.transpose(relevance / _away_from_zero(step.forward(step.input), 1e-9))


@rule("by_squares", operations={"linear"}, conserves="yes", all_outputs=False)
def by_squares(step: Step, relevance: Tensor) -> Tensor:
    """Shares relevance by squared weights, whatever the inputs are."""
    whole = step.forward(torch.ones_like(step.input), torch.square)
    return step.transpose(relevance / whole, torch.square)


@rule("untouched", operations={"relu", "tanh", "gelu"}, identity=True, all_outputs=False, conserves="yes")
def untouched(step: Step, relevance: Tensor) -> Tensor:
    """Hands relevance on as it is."""
    return relevance


@rule("halves", operations={"mul", "matmul"}, returns="shares", conserves="yes")
def halves(step: Step) -> tuple[float, ...]:
    """Half to each factor."""
    return (0.5,) * len(step.inputs)


@rule("rectified", operations={"relu", "tanh"}, carries="gradient")
def rectified(step: Step, gradient: Tensor) -> Tensor:
    """The gradient where it is positive, times the operation's own."""
    return step.vjp(gradient.clamp(min=0))


@replacement("zero")
def zero(problem: Problem) -> Tensors:
    """Zero, one for all examples."""
    return tuple(torch.zeros_like(x[:1]) if len(x) else torch.zeros_like(x) for x in problem.point)


@replacement("half")
def half(problem: Problem) -> Tensors:
    """One half for everything, in a tensor without dimensions."""
    if not all(x.is_floating_point() for x in problem.point):
        raise UsageError("there is no half of an integer; choose another replacement")
    return tuple(x.new_full((), 0.5) for x in problem.point)


@replacement("sign_flipped")
def sign_flipped(problem: Problem) -> Tensors:
    """The negative of each value, of signed numbers."""
    if any(x.dtype is torch.bool for x in problem.point):
        raise UsageError("flags have no negative; choose another replacement")
    return tuple(-x for x in problem.point)


@replacement("jitter")
def jitter(problem: Problem, *, size: float = 0.1) -> Callable[[Tensor], Tensors]:
    """The inputs with noise, each draw its own.

    Args:
        size: standard deviation of the noise.
    """
    if not all(x.is_floating_point() for x in problem.point):
        raise UsageError("noise cannot be added to integers; choose another replacement")

    def draw(numbers: Tensor) -> Tensors:
        each = [problem.normal(int(n)) for n in numbers]
        return tuple(x + size * torch.stack(e) for x, e in zip(problem.point, zip(*each, strict=True), strict=True))

    return draw


@replacement("ramp")
def ramp(problem: Problem) -> Rows:
    """Five constants that take turns."""
    if any(x.dtype is torch.bool for x in problem.point):
        raise UsageError("flags have no five constants; choose another replacement")
    levels = torch.arange(5)
    return Rows(tuple(levels.to(x).reshape(-1, *[1] * (x.dim() - 1)).expand(5, *x.shape[1:]) for x in problem.point))


class OneByOne:
    """Does each piece where its result is asked for."""

    def run(self, work: Iterable[Any], do: Callable[[Any], Any]) -> Iterator[Any]:
        for piece in work:
            yield do(piece)


class FewAhead:
    """A thread beside this one, and four pieces ahead of what is asked for."""

    def run(self, work: Iterable[Any], do: Callable[[Any], Any]) -> Iterator[Any]:
        pieces = iter(work)
        pool = ThreadPoolExecutor(1)
        try:
            waiting = deque(pool.submit(do, piece) for piece in islice(pieces, 4))
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(do, piece) for piece in islice(pieces, 1))
                yield found
        finally:
            pool.shutdown(cancel_futures=True)
