"""Wrappers with one mistake each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from attrkit import Problem, wrapper
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit.registry import registry

Inner = Callable[[Problem], Tensors]


def _noisy(problem: Problem, copies: int, spread: float = 0.1) -> Iterator[Tensors]:
    for i in range(copies):
        yield tuple(x + spread * e for x, e in zip(problem.inputs, problem.normal(i, problem.inputs), strict=True))


def _mean(problem: Problem, inner: Inner, inputs: Iterator[Tensors], count: int) -> Tensors:
    sums: Tensors = ()
    for found in problem.attributions(inner, inputs, count):
        sums = tuple(map(torch.add, sums, found)) if sums else found
    return tuple(s / count for s in sums)


# The methods that it is given.


@wrapper("always_the_same_method")
def always_the_same_method(problem: Problem, inner: Inner) -> Tensors:
    """The method that its author tried it with."""
    return registry.method("saliency").function(problem.apart())


@wrapper("first_of_several", methods=(2, None))
def first_of_several(problem: Problem, inners: Sequence[Inner]) -> Tensors:
    """The mean over methods, of which it asks the first each time."""
    found = [inners[0](problem.apart()) for _ in inners]
    return tuple(sum(parts) / len(inners) for parts in zip(*found, strict=True))


@wrapper("last_of_several", methods=(2, 3))
def last_of_several(problem: Problem, inners: Sequence[Inner]) -> Tensors:
    """The largest over methods, of which the last overwrites what there was."""
    largest: Tensors = ()
    for inner in inners:
        largest = inner(problem.apart())
    return largest


@wrapper("past_its_options")
def past_its_options(problem: Problem, inner: Any) -> Tensors:
    """A method, called past the options that were bound to it."""
    return inner.method.function(problem.apart())


@wrapper("an_option_for_the_method")
def an_option_for_the_method(problem: Problem, inner: Any) -> Tensors:
    """A method, for which it chooses how many steps it has."""
    few = {name: 2 if name in ("n_steps", "n_samples") else value for name, value in inner.options.items()}
    return inner.method.function(problem.apart(), **few)


# Draws.


@wrapper("torchs_noise", stochastic=True, times="n_copies")
def torchs_noise(problem: Problem, inner: Inner, *, n_copies: int = 3) -> Tensors:
    """The mean for noisy copies, whose noise the seed does not decide.

    Args:
        n_copies: how many.
    """
    if n_copies < 1:
        raise UsageError(f"n_copies must be at least 1, got {n_copies}")
    noisy = (tuple(x + 0.1 * torch.randn(x.shape, dtype=x.dtype) for x in problem.inputs) for _ in range(n_copies))
    return _mean(problem, inner, noisy, n_copies)


@wrapper("noise_of_the_batch", stochastic=True, times="3")
def noise_of_the_batch(problem: Problem, inner: Inner) -> Tensors:
    """The mean for three noisy copies, whose noise belongs to places in the batch."""

    def copy(i: int) -> Tensors:
        generator = problem.common_generator(i)
        return tuple(x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in problem.inputs)

    return _mean(problem, inner, map(copy, range(3)), 3)


@wrapper("draws_undeclared", times="3")
def draws_undeclared(problem: Problem, inner: Inner) -> Tensors:
    """The mean for three noisy copies."""
    return _mean(problem, inner, _noisy(problem, 3), 3)


@wrapper("the_same_noise_each_time", stochastic=True, times="3")
def the_same_noise_each_time(problem: Problem, inner: Inner) -> Tensors:
    """The mean for three noisy copies, with noise that no seed changes."""
    generators = (torch.Generator().manual_seed(i) for i in range(3))
    noisy = (tuple(x + 0.1 * torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for x in problem.inputs) for g in generators)
    return _mean(problem, inner, noisy, 3)


# What becomes of attributions.


@wrapper("scaled_over_the_batch")
def scaled_over_the_batch(problem: Problem, inner: Inner) -> Tensors:
    """A method's attributions, divided by the largest of the batch."""
    return tuple(v / v.abs().max().clamp_min(1e-6) for v in inner(problem.apart()))


@wrapper("complete_by_squares", complete="exact", linear=True)
def complete_by_squares(problem: Problem, inner: Inner) -> Tensors:
    """The squares of a method's attributions, which do not add up."""
    return tuple(v.square() for v in inner(problem.apart()))


@wrapper("through_float32")
def through_float32(problem: Problem, inner: Inner) -> Tensors:
    """A method's attributions in single precision."""
    return tuple(v.float() for v in inner(problem.apart()))


# Costs and options.


@wrapper("times_forgotten", linear=True)
def times_forgotten(problem: Problem, inner: Inner) -> Tensors:
    """The mean of two runs, of which its declaration says one."""
    found = [inner(problem.apart()) for _ in range(2)]
    return tuple((a + b) / 2 for a, b in zip(*found, strict=True))


@wrapper("no_copy_at_all", stochastic=True, times="n_copies")
def no_copy_at_all(problem: Problem, inner: Inner, *, n_copies: int = 3) -> Tensors:
    """The mean for noisy copies, also of none.

    Args:
        n_copies: how many.
    """
    return _mean(problem, inner, _noisy(problem, n_copies), n_copies)


@wrapper("any_power")
def any_power(problem: Problem, inner: Inner, *, power: Any = 1.0) -> Tensors:
    """A power of a method's attributions, whatever is taken for one.

    Args:
        power: which.
    """
    exponent = power if isinstance(power, int | float) else 1.0
    return tuple(v.abs() ** exponent for v in inner(problem.apart()))


@wrapper("no_copy_said", stochastic=True, times="n_copies")
def no_copy_said(problem: Problem, inner: Inner, *, n_copies: int = 3) -> Tensors:
    """The mean for noisy copies, of which it takes any number for granted.

    Args:
        n_copies: how many.
    """
    found = [inner(problem.apart()) for _ in range(n_copies)]
    return tuple(torch.stack(parts).mean(0) for parts in zip(*found, strict=True)) if found else (found[0],)


# What is said of it.


@wrapper("silent")
def silent(problem: Problem, inner: Inner, *, factor: float = 1.0) -> Tensors:
    """Multiplies"""  # noqa: D415 - which is the fault
    return tuple(v * factor for v in inner(problem.apart()))


def _made() -> object:
    @wrapper("made")
    def made(problem: Problem, inner: Inner) -> Tensors:
        """A method, in a function that no worker finds."""
        return inner(problem.apart())

    return made


made_here = _made()
