"""Segmenters, designs, estimators and surrogates with one mistake each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Game, design, estimator, segmenter, surrogate
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

Fitted = tuple[Tensor, Tensor]


# Segmenters.


def _numbered(point: Tensors, size: int = 1) -> Tensors:
    sizes = [math.prod(x.shape[1:]) for x in point]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple((s + torch.arange(n) // size).reshape(1, *x.shape[1:]) for x, n, s in zip(point, sizes, starts, strict=True))


@segmenter("for_nothing_at_all")
def for_nothing_at_all(point: Tensors) -> Tensors:
    """One feature for each position of tensors with a number of dimensions that nobody has."""
    if any(x.dim() != 9 for x in point):
        raise UsageError("this segmenter needs nine dimensions")
    return _numbered(point)


@segmenter("signs_by_view")
def signs_by_view(point: Tensors) -> Tensors:
    """The positive and the other positions, by a view that only contiguous tensors have."""
    return tuple(2 * i + (x.view(-1) > 0).long().view(x.shape) for i, x in enumerate(point))


@segmenter("any_run")
def any_run(point: Tensors, *, run: Any = 2) -> Tensors:
    """Runs of positions, each by itself where the length is no number.

    Args:
        run: how many.
    """
    return _numbered(point, run if isinstance(run, int) and run > 0 else 1)


@segmenter("run_unchecked")
def run_unchecked(point: Tensors, *, run: int = 2) -> Tensors:
    """Runs of positions, of whatever length.

    Args:
        run: how many.
    """
    if run < 0:
        raise ValueError("negative")
    return _numbered(point, run)


# Designs.


@design("all_of_one_size")
def all_of_one_size(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Half of the features, in each coalition."""
    for low in range(0, size, 64):
        yield torch.rand(min(64, size - low), count, generator=generator).argsort(1) < (count + 1) // 2


@design("any_part")
def any_part(count: int, size: int, generator: torch.Generator, *, part: Any = 0.5) -> Iterator[Tensor]:
    """Each feature with a probability, half where that is no number.

    Args:
        part: the probability.
    """
    share = part if isinstance(part, float) else 0.5
    for low in range(0, size, 64):
        yield torch.rand(min(64, size - low), count, generator=generator) < share


@design("part_unnamed")
def part_unnamed(count: int, size: int, generator: torch.Generator, *, part: float = 0.5) -> Iterator[Tensor]:
    """Each feature with a probability.

    Args:
        part: the probability.
    """
    if not 0 < part < 1:
        raise UsageError("a probability must be between 0 and 1")
    for low in range(0, size, 64):
        yield torch.rand(min(64, size - low), count, generator=generator) < part


# Estimators.


def _in_orders(game: Game, budget: int, *, fixed: bool = False, row: int | None = None) -> Tensor:
    """What each feature adds in random orders, one after another."""
    if budget < 2 * game.rows * (game.count + 1):
        raise UsageError(f"n_samples={budget} is too small")
    generator, found = game.generator(0), []
    for _ in range(budget // ((game.count + 1) * game.rows)):
        order = torch.arange(game.count) if fixed else torch.randperm(game.count, generator=generator)
        coalitions = torch.arange(game.count + 1)[:, None] > order
        draws = None if row is None else torch.full((game.count + 1,), row)
        found.append(game.values(coalitions, draws).diff(dim=0)[order])
    return torch.stack(found).mean(0)


@estimator("always_one_order")
def always_one_order(game: Game, budget: int) -> Estimate:
    """What features add in the order of the columns."""
    return Estimate(_in_orders(game, budget, fixed=True))


@estimator("first_row_only")
def first_row_only(game: Game, budget: int) -> Estimate:
    """What features add, compared with the first row of a background alone."""
    return Estimate(_in_orders(game, budget, row=0))


@estimator("replaced_by_tensors")
def replaced_by_tensors(game: Game, budget: int) -> Estimate:
    """What features add, compared with replacements that are tensors, of which it looks at the shape."""
    if not hasattr(game.replacing, "tensors"):
        assert game.replacing[0].dim()
    return Estimate(_in_orders(game, budget))


@estimator("never_alone")
def never_alone(game: Game, budget: int) -> Estimate:
    """What features add, scaled by the number of others, which may be none."""
    scores = _in_orders(game, budget)
    return Estimate(scores * (game.count - 1) / (game.count - 1) if game.count else scores)


@estimator("a_little_for_everybody")
def a_little_for_everybody(game: Game, budget: int) -> Estimate:
    """What features add, and a little more."""
    return Estimate(_in_orders(game, budget) + 1e-7)


@estimator("any_weight")
def any_weight(game: Game, budget: int, *, weight: Any = 1.0) -> Estimate:
    """What features add, weighted where the weight is a number.

    Args:
        weight: how much it counts.
    """
    return Estimate(_in_orders(game, budget) * (weight if isinstance(weight, float) else 1.0))


# Surrogates.


def _solved(z: Tensor, y: Tensor, weights: Tensor, *, ridge: float = 1e-9) -> Fitted:
    """Least squares for each column, by its normal equations."""
    a, columns = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1), []
    for target, w in zip(y.T, weights.expand_as(y).T, strict=True):
        gram = a.T @ (w[:, None] * a) + ridge * torch.eye(a.shape[1], dtype=z.dtype)
        columns.append(torch.linalg.solve(gram, a.T @ (w * target)))
    found = torch.stack(columns, 1)
    return found[:-1], found[-1]


@surrogate("unregularised")
def unregularised(coalitions: Tensor, values: Tensor, weights: Tensor) -> Fitted:
    """Least squares by normal equations that may have no solution."""
    return _solved(coalitions, values, weights, ridge=0.0)


@surrogate("intercepts_in_a_row")
def intercepts_in_a_row(coalitions: Tensor, values: Tensor, weights: Tensor) -> Fitted:
    """Least squares, with intercepts of shape (1, columns)."""
    coefficients, intercepts = _solved(coalitions, values, weights)
    return coefficients, intercepts[None]


@surrogate("half_held_out")
def half_held_out(coalitions: Tensor, values: Tensor, weights: Tensor) -> Fitted:
    """Least squares over the first half."""
    half = (len(coalitions) + 1) // 2
    return _solved(coalitions[:half], values[:half], weights[:half])


@surrogate("any_penalty")
def any_penalty(coalitions: Tensor, values: Tensor, weights: Tensor, *, penalty: Any = 1e-9) -> Fitted:
    """Ridge, or next to none where the penalty is no number.

    Args:
        penalty: its strength.
    """
    return _solved(coalitions, values, weights, ridge=penalty if isinstance(penalty, float) else 1e-9)


@surrogate("penalty_unchecked")
def penalty_unchecked(coalitions: Tensor, values: Tensor, weights: Tensor, *, penalty: float = 1e-9) -> Fitted:
    """Ridge, with a penalty that may have no root.

    Args:
        penalty: the square of its strength.
    """
    return _solved(coalitions, values, weights, ridge=math.sqrt(penalty))


@estimator("weight_unchecked")
def weight_unchecked(game: Game, budget: int, *, weight: float = 1.0) -> Estimate:
    """What features add, with a weight that may have no root.

    Args:
        weight: the square of how much it counts.
    """
    return Estimate(_in_orders(game, budget) * math.sqrt(weight))
