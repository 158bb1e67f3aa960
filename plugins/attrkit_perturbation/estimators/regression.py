"""Shapley values as the coefficients of a linear fit to the values of coalitions, which add up to the change of the value."""

from functools import lru_cache
from math import lgamma
from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Game, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import Sample, averaged, covers, distinct, fixed, samples, warn_short
from attrkit_perturbation.estimators.exact import enumerated

_MOST = 4096  # unknowns of a system, or coalitions, whichever are fewer
_ENTRIES = 2**28  # of the coalitions as numbers


@estimator("leverage", references=("arXiv:1705.07874", "arXiv:2012.01536", "arXiv:2410.01917"))
def leverage(game: Game, budget: int, *, design: Any = "leverage") -> Estimate:
    """Least squares over paired coalitions of all sizes alike, with the weights of the Shapley kernel.

    Scores add up to the change of the value. Standard errors are those of a heteroscedastic fit (HC3), over pairs, with what is
    known of exhausted sizes taken into account. With a background each row has coalitions of its own.

    Args:
        design: which coalitions, the name of a design or a mapping of that to its options.

    Raises:
        UsageError: the budget is not enough for one pair, or the system is too large to solve.
    """
    fixed(game, "leverage")
    if covers(game, budget):
        return enumerated(game)
    _check_size(game, budget)
    found = [fitted(sample) for sample in samples(game, budget, design)]
    short = [degrees for _, _, degrees in found if degrees < 0]
    if short:
        warn_short(game, budget)
    degrees = float(max(1, sum(degrees for _, _, degrees in found)))
    details = {"estimator": "leverage", "determined": not short}
    return averaged(game, [(scores, variances) for scores, variances, _ in found], degrees, details)


def _check_size(game: Game, budget: int) -> None:
    pairs = budget // (2 * game.rows)
    if min(pairs, game.count) > _MOST or pairs * game.count > _ENTRIES:
        raise UsageError(
            f"a regression on {game.count} features with {budget} evaluations is too large to solve; group features by "
            "feature_mask, or use shapley_value_sampling (estimator='antithetic'), which grows with neither"
        )


def fitted(sample: Sample) -> tuple[Tensor, Tensor | None, int]:
    """Scores, their variances where they can be known, both of shape ``(features, columns)``, and degrees of freedom."""
    change = sample.full - sample.empty
    count = sample.coalitions.shape[1]
    x, y, weights, left = _system(sample, change)
    even = (change / max(count, 1)).expand(count, -1)
    degrees = len(x) - (count - 1)
    weighted = x * weights[:, None]
    factor = _factor(x, weighted) if degrees >= 0 else None
    if factor is None:
        return even + _smallest(x, y, weights), None, -1
    solving = torch.cholesky_solve(weighted.T, factor)  # from values to scores
    scores = solving @ y
    if not degrees and bool(left.any()):
        return even + scores, None, 0
    untouched = (1 - (solving * x.T).sum(0)).clamp(min=1e-8)
    residuals = (y - x @ scores) / untouched[:, None]
    return even + scores, solving**2 @ (left[:, None] * residuals**2), degrees


def _system(sample: Sample, change: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coalitions less their means, what values are beyond an even share, weights, and which part of a size is left out.

    A pair is one equation: of its two, the parts that differ say nothing about scores.
    """
    count = sample.coalitions.shape[1]
    if sample.paired:
        rows, values = sample.pairs()
        even = 0.5 * change
    else:
        kept = distinct(sample.coalitions)
        rows, values = sample.coalitions[kept], sample.values[kept] - sample.empty
        even = torch.zeros_like(change)
    size = rows.sum(1)
    share = size[:, None].double() / max(count, 1)
    y = values + even - share * change
    kernel, there = _sizes(count, sample.paired)
    asked = torch.bincount(size, minlength=count + 1).double()
    weights, left = (kernel / asked)[size], (1 - asked / there)[size]
    x = rows.double() - share
    inner = weights > 0
    if not bool(inner.all()):  # all features and none are known already
        x, y, weights, left = x[inner], y[inner], weights[inner], left[inner]
    return x, y, weights / weights.max() if len(weights) else weights, left


@lru_cache(64)
def _sizes(count: int, paired: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001 - a key of the cache
    """By size: the weight of all its coalitions together, 0 for all features and none; and how many there are."""
    size = torch.arange(count + 1, dtype=torch.float64)
    middle = 1 - ((2 * size == count) & paired).double() / 2  # of pairs there are half as many
    kernel = torch.where((size > 0) & (size < count), middle / (size * (count - size)), 0)
    logs = lgamma(count + 1) - torch.lgamma(size + 1) - torch.lgamma(count - size + 1)
    return kernel, middle * logs.exp().round()


def _factor(x: Tensor, weighted: Tensor) -> Tensor | None:
    """The Cholesky factor of the normal equations, on what adds up to zero; None where they leave something open."""
    normal = weighted.T @ x
    scale = normal.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
    factor, failed = torch.linalg.cholesky_ex(normal + scale / len(normal))
    sure = not int(failed) and float((factor.diagonal() ** 2).min() / scale) > 1e-11
    return factor if sure else None


def _smallest(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Of all least-squares solutions the one with the smallest squares."""
    root = weights.sqrt()[:, None]
    wide, right = x * root, y * root
    if len(x) <= x.shape[1]:
        found: Tensor = wide.T @ (torch.linalg.pinv(wide @ wide.T, hermitian=True, rtol=1e-10) @ right)
    else:
        found = torch.linalg.pinv(wide.T @ wide, hermitian=True, rtol=1e-10) @ (wide.T @ right)
    return found
