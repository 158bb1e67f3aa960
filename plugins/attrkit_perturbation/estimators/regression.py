"""Shapley values as the coefficients of a linear fit to the values of coalitions, which add up to the change of the value."""

from functools import lru_cache
from math import lgamma
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from attrkit import Estimate, Game, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import (
    Sample,
    averaged,
    complements,
    covers,
    distinct,
    fixed,
    halves,
    samples,
    warn_short,
)
from attrkit_perturbation.estimators.exact import enumerated

_MOST = 4096  # unknowns of a system, or coalitions, whichever are fewer
_ENTRIES = 2**28  # of the coalitions as numbers
_REMEMBERED = 2**16  # entries of coalitions whose equations are kept


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
    design = _design(sample.coalitions)
    y = design.beyond(sample, change)
    even = (change / max(sample.coalitions.shape[1], 1)).expand(sample.coalitions.shape[1], -1)
    if design.solving is None:
        return even + _smallest(design.x, y, design.weights), None, -1
    scores = design.solving @ y
    if not design.degrees and bool(design.left.any()):
        return even + scores, None, 0
    residuals = (y - design.x @ scores) / design.untouched[:, None]
    return even + scores, design.solving.square() @ (design.left[:, None] * residuals.square()), design.degrees


@attrs.frozen(eq=False)
class _Design:
    """What coalitions say of scores, whatever their values: an equation for each of them, or for each pair.

    A pair is one equation: of its two, the parts that differ say nothing about scores. ``x`` are coalitions less their means,
    ``left`` is the part of a size that was not asked for, ``solving`` takes values to scores, or is None where that leaves
    something open.
    """

    kept: Tensor
    signs: Tensor | None  # of pairs
    share: Tensor
    x: Tensor
    weights: Tensor
    left: Tensor
    solving: Tensor | None
    untouched: Tensor  # by its own value: 1 minus the leverage of each equation

    @property
    def degrees(self) -> int:
        """How many more equations there are than scores that can be chosen."""
        return len(self.x) - (self.x.shape[1] - 1)

    @classmethod
    def of(cls, coalitions: Tensor) -> "_Design":
        """The equations of coalitions, whose normal equations are solved."""
        count, signs = coalitions.shape[1], None
        if complements(coalitions):
            rows, kept, signs = halves(coalitions)
        else:
            kept = distinct(coalitions)
            rows = coalitions[kept]
        kernel, there = _sizes(count, signs is not None)
        inner = kernel[rows.sum(1)] > 0  # all features and none are known already
        rows, kept, signs = rows[inner], kept[inner], None if signs is None else signs[inner]
        size = rows.sum(1)
        asked = torch.bincount(size, minlength=count + 1).double()
        share = size[:, None].double() / max(count, 1)
        x, weights, left = rows.double() - share, (kernel / asked)[size], (1 - asked / there)[size]
        weights = weights / weights.max() if len(weights) else weights
        weighted = x * weights[:, None]
        factor = _factor(x, weighted) if len(x) >= count - 1 else None
        solving = None if factor is None else torch.cholesky_solve(weighted.T, factor)
        untouched = torch.ones(len(x)).double() if solving is None else (1 - (solving * x.T).sum(0)).clamp(min=1e-8)
        return cls(kept, signs, share, x, weights, left, solving, untouched)

    def beyond(self, sample: Sample, change: Tensor) -> Tensor:
        """What values are beyond an even share of the change."""
        if self.signs is None:
            return sample.values[self.kept] - sample.empty - self.share * change
        return sample.differences(self.kept, self.signs) + (0.5 - self.share) * change

    def relabelled(self, columns: Tensor) -> "_Design":
        """The equations where features have other columns of the coalitions."""
        solving = None if self.solving is None else self.solving.index_select(0, columns)
        return attrs.evolve(self, x=self.x.index_select(1, columns), solving=solving)


def _design(coalitions: Tensor) -> _Design:
    """The equations of coalitions; of a few they are remembered, whichever feature has which column, for the next example."""
    if not 0 < coalitions.numel() <= _REMEMBERED:
        return _Design.of(coalitions)
    packed = np.packbits(coalitions.T.contiguous().numpy(), axis=1)
    order = packed.view(f"V{packed.shape[1]}").reshape(-1).argsort()
    found = _design_before(coalitions.shape, packed[order].tobytes())
    return found.relabelled(torch.from_numpy(order.argsort()))


@lru_cache(32)
def _design_before(shape: tuple[int, int], packed: bytes) -> _Design:
    """The equations of coalitions of such a shape, of which each column is packed into bytes."""
    columns = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(shape[1], -1), axis=1, count=shape[0])
    return _Design.of(torch.from_numpy(columns.T.astype(bool)))


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
