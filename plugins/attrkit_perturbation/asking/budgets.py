"""How many evaluations a sampling method may spend: a number, or as many as a tolerance takes."""

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import torch

from attrkit import Estimate, Game
from attrkit.errors import UsageError, UsageTypeError, warn

TOL = 0.05  # of n_samples="auto", unless told otherwise
_FIRST, _MOST = 10, 1000  # evaluations per feature
_LEAST = 32  # evaluations, however few the features


def checked(n_samples: Any, tol: float) -> int:
    """A number of samples, beside which no tolerance was given.

    Raises:
        UsageTypeError: it is no whole number.
        UsageError: it is not positive, or ``tol`` is not the default.
    """
    if isinstance(n_samples, bool) or not isinstance(n_samples, int):
        raise UsageTypeError(f"n_samples must be a whole number or 'auto', got {n_samples!r}")
    if n_samples < 1:
        raise UsageError(f"n_samples must be at least 1, got {n_samples}")
    if tol != TOL:
        raise UsageError(f"tol={tol!r} has no effect beside a number of samples: leave it out, or give n_samples='auto'")
    return n_samples


def growing(game: Game) -> Iterator[int]:
    """Budgets of evaluations, each twice the one before, from 10 to 1000 for each feature."""
    budget, most = max(_LEAST, _FIRST * game.count) + game.rows, _MOST * max(1, game.count) + game.rows
    while budget < most:
        yield budget
        budget *= 2
    yield most


def until(game: Game, tol: float, estimate: Callable[[int], Estimate]) -> Estimate:
    """The estimate of the first budget whose standard errors are small enough, for every example and output.

    Small enough is no more than ``tol`` times the difference between the largest score and the smallest (arXiv:2012.01536).
    What was evaluated for one budget is not evaluated again for the next.

    Raises:
        UsageError: tol is not positive, or the estimator has no standard errors.
    """
    if not tol > 0:
        raise UsageError(f"tol must be a positive number, got {tol!r}")
    found, left = Estimate(torch.empty(0)), inf
    for budget in growing(game):
        found = estimate(budget)
        if found.details.get("estimator") == "exact" or game.interrupted:
            return found
        if found.errors is None and found.details.get("determined", True):
            raise UsageError("n_samples='auto' needs an estimator with standard errors; give a number of samples")
        left = inf if found.errors is None else _left(found)
        if left <= tol:
            return found
    warn(
        f"n_samples='auto': {game.spent} evaluations did not reach tol={tol:g}; the largest standard error is {left:.2g} of "
        "the range of scores"
    )
    return found


def _left(found: Estimate) -> float:
    """The largest standard error, relative to the range of its scores; 0 where scores are all alike."""
    if found.errors is None or not found.scores.numel():
        return 0.0
    errors, scores = found.errors.flatten(1), found.scores.flatten(1)
    rounding = 1e-9 * scores.abs().amax(0)
    relative = (errors.amax(0) - rounding).clamp(min=0) / (scores.amax(0) - scores.amin(0))
    return float(relative.nan_to_num(0.0, posinf=inf).max())
