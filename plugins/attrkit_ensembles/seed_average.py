"""Averaging over seeds: how much of a stochastic method's attributions is chance."""

from collections.abc import Callable

import torch

from attrkit import Problem, wrapper
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

_SEEDS = 2**31


@wrapper(
    "seed_average",
    applies_to="stochastic",
    complete="exact",
    linear=True,
    stochastic=True,
    times="n_seeds",
    references=("doi:10.2307/1266577",),
)
def seed_average(problem: Problem, inner: Callable[[Problem], Tensors], *, n_seeds: int = 5) -> Tensors:
    """Run a stochastic method with several seeds, and average; the result has standard errors.

    The standard errors are those of the mean, from the spread between seeds, with ``n_seeds - 1`` degrees of freedom. The
    seeds, which ``seed`` determines, are in ``details["seeds"]``: a run with each gives what was averaged.

    Args:
        n_seeds: how many seeds, at least 2.

    Raises:
        UsageError: ``n_seeds`` is less than 2.
    """
    if n_seeds < 2:
        raise UsageError(f"n_seeds must be at least 2, got {n_seeds}: one seed has no spread; use the method by itself")
    generator = problem.common_generator(0)
    seeds = [int(torch.randint(_SEEDS, (), generator=generator)) for _ in range(n_seeds)]
    mean: Tensors = ()
    squares: Tensors = ()  # of deviations from the mean so far (Welford), which keep their digits where these are small
    for count, seed in enumerate(seeds, 1):
        found = tuple(v.to(torch.promote_types(v.dtype, torch.float32)) for v in inner(problem.apart(seed)))
        before = mean or tuple(map(torch.zeros_like, found))
        mean = tuple(m + (v - m) / count for m, v in zip(before, found, strict=True))
        added = tuple((v - b) * (v - m) for v, b, m in zip(found, before, mean, strict=True))
        squares = tuple(map(torch.add, squares, added)) if squares else added
    problem.errors = tuple((s / (n_seeds - 1) / n_seeds).sqrt() for s in squares)
    problem.details |= {"seeds": seeds, "degrees_of_freedom": n_seeds - 1}
    return mean
