"""Linear surrogates in closed form: least squares and ridge."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from attrkit import surrogate
from attrkit.errors import UsageError
from attrkit_perturbation.surrogates.systems import System, solved

CONDITIONED = 1e-3  # normal equations square the condition number: below this ratio of pivots they lose too many digits


def check_alpha(alpha: float) -> None:
    """Raise UsageError where a penalty is no number, or negative."""
    if not (math.isfinite(alpha) and alpha >= 0):
        raise UsageError(f"alpha must be a number of at least 0, got {alpha!r}")


@surrogate("least_squares")
def least_squares(coalitions: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares with an intercept; of several solutions that with the smallest coefficients."""
    return solved(minimum_norm, coalitions, values, weights)


def minimum_norm(system: System) -> Tensor:
    """The solution of least squares; of several the smallest."""
    a, b = system.a, system.b
    factor, failed = torch.linalg.cholesky_ex(a.mT @ a)
    pivots = factor.diagonal(dim1=1, dim2=2)
    if not bool(failed.any()) and bool((pivots.amin(1) > CONDITIONED * pivots.amax(1)).all()):
        return torch.cholesky_solve(a.mT @ b, factor)
    found: Tensor = torch.linalg.lstsq(a, b, driver="gelsd").solution
    return found


@surrogate("ridge", references=("doi:10.1080/00401706.1970.10488634",))
def ridge(coalitions: Tensor, values: Tensor, weights: Tensor, *, alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    """Weighted ridge regression; the intercept is not penalised.

    It minimises the weighted sum of squared errors plus ``alpha`` times the sum of squared coefficients.

    Args:
        alpha: the strength of the penalty; with 0 it is least squares.

    Raises:
        UsageError: alpha is negative.
    """
    check_alpha(alpha)
    return solved(solving(alpha), coalitions, values, weights)


def solving(alpha: float) -> Callable[[System], Tensor]:
    """What solves a system with a penalty."""

    def solve(system: System) -> Tensor:
        gram = system.a.mT @ system.a
        gram.diagonal(dim1=1, dim2=2).add_(alpha)
        return torch.cholesky_solve(system.a.mT @ system.b, torch.linalg.cholesky(gram))

    return solve if alpha else minimum_norm
