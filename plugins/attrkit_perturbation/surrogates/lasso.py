"""The lasso, solved exactly: by the sign that each coefficient has, found one after the other."""

import torch
from torch import Tensor

from attrkit import surrogate
from attrkit.errors import warn
from attrkit_perturbation.surrogates.linear import check_alpha, minimum_norm
from attrkit_perturbation.surrogates.systems import System, solved

_RIDGE = 1e-12  # added to the features' products, relative to the largest, so that features which say the same are no trouble


@surrogate("lasso", references=("doi:10.1111/j.2517-6161.1996.tb02080.x", "doi:10.7551/mitpress/7503.003.0105"))
def lasso(coalitions: Tensor, values: Tensor, weights: Tensor, *, alpha: float = 0.01) -> tuple[Tensor, Tensor]:
    """Weighted lasso with an intercept: many coefficients are zero.

    It minimises half the weighted mean of squared errors plus ``alpha`` times the sum of absolute coefficients, so that with
    values that vary by less than about ``2 * alpha`` all coefficients are zero.

    Args:
        alpha: the strength of the penalty; with 0 it is least squares.

    Raises:
        UsageError: alpha is negative.
    """
    check_alpha(alpha)

    def solve(system: System) -> Tensor:
        each = [torch.stack([_searched(a, y, alpha) for y in b.unbind(1)], 1) for a, b in zip(system.a, system.b, strict=True)]
        return torch.stack(each)

    return solved(solve if alpha else minimum_norm, coalitions, values, weights / weights.sum(0))


def _searched(a: Tensor, y: Tensor, alpha: float) -> Tensor:
    """What minimises ``|a x - y|^2 / 2 + alpha |x|``, by feature-sign search.

    Of the features that are out, those come in whose gradients are largest; then all that are in take the values that are best
    for their signs, as far as it is better to change signs.
    """
    target, x = a.T @ y, a.new_zeros(a.shape[1])
    slack = 1e-10 * max(float(torch.linalg.vector_norm(target, torch.inf)) if len(target) else 0.0, alpha)
    least = 0.5 if 2 * a.shape[1] > len(a) else 0.0  # with many samples hardly any comes in that has to leave again
    inside = torch.zeros(0, dtype=torch.int64)
    products = a.new_zeros(0, a.shape[1])  # of each feature that is in with all
    for _ in range(20 * a.shape[1] + 100):
        gradient, signs = target - x[inside] @ products, x[inside].sign()
        if bool(((gradient[inside] - alpha * signs).abs() <= slack).all()):
            excess = (gradient.abs() - alpha).index_fill(0, inside, 0)
            if bool((excess <= slack).all()):
                return x
            new = torch.nonzero(excess > least * excess.max()).flatten()
            inside, signs = torch.cat([inside, new]), torch.cat([signs, gradient[new].sign()])
            products = torch.cat([products, a[:, new].T @ a])
        values = _stepped(products[:, inside], gradient[inside], x[inside], signs, alpha)
        x[inside] = values
        inside, products = inside[values != 0], products[values != 0]
    warn("the lasso did not settle; use more samples than features, a larger alpha, or surrogate='ridge'")
    return x


def _stepped(gram: Tensor, gradient: Tensor, x: Tensor, signs: Tensor, alpha: float) -> Tensor:
    """The best point on the way to what is best for the signs, among its end and where a coefficient crosses zero."""
    moving, wanted = torch.arange(len(x)), gradient - alpha * signs
    ridge = _RIDGE * gram.diagonal().max() * torch.eye(len(x), dtype=x.dtype)
    while True:
        part = gram[moving][:, moving]
        factor = torch.linalg.cholesky(part + ridge[: len(moving), : len(moving)])
        way = torch.cholesky_solve(wanted[moving, None], factor)[:, 0]
        right = (x[moving] != 0) | (way.sign() == signs[moving])  # what comes in does so by its sign
        if bool(right.all()):
            break
        moving = moving[right]
    start = x[moving]
    end = start + way
    crossing = torch.nonzero((end.sign() != start.sign()) & (start != 0)).flatten()
    places = torch.cat([-start[crossing] / way[crossing], x.new_ones(1)])
    points = start + places[:, None] * way
    points[torch.arange(len(crossing)), crossing] = 0
    bend = (way @ part @ way).clamp_min(0)
    costs = places**2 * bend / 2 - places * (way @ gradient[moving]) + alpha * (points.abs() - start.abs()).sum(1)
    return x.index_copy(0, moving, points[costs.argmin()])
