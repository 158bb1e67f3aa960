"""Linear surrogates in closed form with standard errors that hold where the model is only an approximation."""

import torch
from torch import Tensor

from attrkit_perturbation.surrogates.linear import CONDITIONED, solving
from attrkit_perturbation.surrogates.systems import System, columns_of, solved

_TOLD = 1e-6  # the ratio of pivots below which nothing is said of errors


def regressed(coalitions: Tensor, values: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """Coefficients and intercepts of weighted least squares with penalty ``alpha``, and standard errors of the coefficients.

    Those are the sandwich formula's, HC3, shape ``(features, columns)``: they estimate how the coefficients vary from one
    random set of coalitions to the next (doi:10.1016/0304-4076(85)90158-7). None where there are too few coalitions.
    """
    few, each = len(coalitions) < coalitions.shape[1] + 2, list[Tensor | None]()

    def solve(system: System) -> Tensor:
        factor, ratio = (system.a, 0.0) if few else _factor(system.a, alpha)
        if ratio <= _TOLD:
            each.append(None)
            return solving(alpha)(system)
        sure = alpha or ratio > CONDITIONED
        x = torch.cholesky_solve(system.a.mT @ system.b, factor) if sure else solving(alpha)(system)
        each.append(_errors(system, factor, x))
        return x

    coefficients, intercepts = solved(solve, coalitions, values, weights)
    known = [e for e in each if e is not None]
    return coefficients, intercepts, torch.cat(known, 1) if known and len(known) == len(each) else None


def _factor(a: Tensor, alpha: float) -> tuple[Tensor, float]:
    """The Cholesky factor of the normal equations, and the least ratio of its pivots; 0 where there is no such factor."""
    gram = a.mT @ a
    gram.diagonal(dim1=1, dim2=2).add_(alpha)
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal(dim1=1, dim2=2)
    return factor, 0.0 if bool(failed.any()) else float((pivots.amin(1) / pivots.amax(1)).amin())


def _errors(system: System, factor: Tensor, x: Tensor) -> Tensor:
    a, weights = system.a, system.weights
    pulls = a @ torch.cholesky_inverse(factor)  # of each coalition on each coefficient, (c, k, features)
    leverage = (a * pulls).sum(2) + weights / weights.sum(1, keepdim=True)
    residual = (system.b - a @ x) / (1 - leverage).clamp_min(1e-12)[..., None]
    return columns_of((pulls.square_().mT @ residual.square_()).sqrt())
