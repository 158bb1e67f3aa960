"""Standard errors of regression coefficients that hold where the model is only an approximation."""

import torch
from torch import Tensor

from attrkit_perturbation.surrogates.systems import System, columns_of, systems


def standard_errors(coalitions: Tensor, values: Tensor, weights: Tensor, alpha: float) -> Tensor | None:
    """Those of weighted least squares with penalty ``alpha``, by the sandwich formula HC3, shape ``(features, columns)``.

    They estimate how the coefficients vary from one random set of coalitions to the next (doi:10.1016/0304-4076(85)90158-7).
    None where there are too few coalitions.
    """
    if not coalitions.shape[1]:
        return torch.zeros_like(values[:0])
    if len(coalitions) < coalitions.shape[1] + 2:
        return None
    each = [_errors(system, alpha) for system in systems(coalitions, values, weights)]
    known = [e for e in each if e is not None]
    return torch.cat(known, 1) if known and len(known) == len(each) else None


def _errors(system: System, alpha: float) -> Tensor | None:
    a, b = system.a, system.b
    gram = a.mT @ a
    gram.diagonal(dim1=1, dim2=2).add_(alpha)
    factor, failed = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal(dim1=1, dim2=2)
    if bool(failed.any()) or not bool((pivots.amin(1) > 1e-6 * pivots.amax(1)).all()):
        return None
    pulls = torch.cholesky_solve(a.mT, factor)  # of each coalition on each coefficient, (c, features, k)
    leverage = (a.mT * pulls).sum(1) + system.weights / system.weights.sum(1, keepdim=True)
    residual = (b - a @ (pulls @ b)) / (1 - leverage).clamp_min(1e-12)[..., None]
    return columns_of((pulls**2 @ residual**2).sqrt())
