"""Correct wrappers, written in many ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from attrkit import Problem, wrapper
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from tests.kit.variants import averaged as averaged

Inner = Callable[[Problem], Tensors]


@wrapper("halved", complete="no", linear=True)
def halved(problem: Problem, inner: Inner) -> Tensors:
    """Half of a method's attributions, which it is asked for at the same place."""
    return tuple(v / 2 for v in inner(problem.apart()))


@wrapper("of_both_signs", stochastic=True, times="2 * pairs")
def of_both_signs(problem: Problem, inner: Inner, *, pairs: int = 2, width: float = 0.1) -> Tensors:
    """The mean for inputs with noise and with the same noise taken away, drawn by a generator for each example.

    Args:
        pairs: how many.
        width: standard deviation of the noise.
    """
    if pairs < 1:
        raise UsageError(f"pairs must be at least 1, got {pairs}")
    if not 0 <= width < math.inf:
        raise UsageError(f"width must be a number of at least 0, got {width}")

    def moved(i: int) -> Tensors:
        noise = problem.normal(i // 2, problem.inputs)
        return tuple(x + (-1) ** i * width * e for x, e in zip(problem.inputs, noise, strict=True))

    total = problem.zeros()
    for found in problem.attributions(inner, map(moved, range(2 * pairs)), 2 * pairs):
        total = tuple(t + f for t, f in zip(total, found, strict=True))
    return tuple(t / (2 * pairs) for t in total)


@wrapper("at_seeds", applies_to="stochastic", stochastic=True, times="2", linear=True)
def at_seeds(problem: Problem, inner: Inner) -> Tensors:
    """The mean over two seeds of a method that draws."""
    generator = problem.common_generator(0)
    seeds = [int(torch.randint(2**31, (), generator=generator)) for _ in range(2)]
    one, other = (inner(problem.apart(seed)) for seed in seeds)
    return tuple((a + b) / 2 for a, b in zip(one, other, strict=True))


@wrapper("weighted", methods=(2, None), linear=True)
def weighted(problem: Problem, inners: Sequence[Inner]) -> Tensors:
    """The sum over methods, of which each counts half as much as the one before."""
    found = [inner(problem.apart()) for inner in inners]
    return tuple(sum(v / 2**k for k, v in enumerate(parts)) for parts in zip(*found, strict=True))


@wrapper("between_two", methods=(2, 2), outputs="one")
def between_two(problem: Problem, inners: tuple[Inner, Inner]) -> Tensors:
    """The geometric mean of two methods' sizes, which no method has to be complete for."""
    one, other = (inner(problem.apart()) for inner in inners)
    return tuple((a * b).abs().sqrt() for a, b in zip(one, other, strict=True))
