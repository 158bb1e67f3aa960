"""Shapley values of a Gaussian process that interpolates the odd part of a game."""

from math import inf
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit import Estimate, Game, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import Sample, averaged, covers, fixed, samples, warn_short
from attrkit_perturbation.estimators.exact import enumerated
from attrkit_perturbation.estimators.odd_kernel import OddKernel, linear_part, odd_part

_MOST = 4096  # pairs, whose covariance is factorised
_FITTED = 256  # pairs that choose the kernel, and that tell how sure it is, at most
_COLUMNS = 64  # examples and outputs that do, at most
_NUGGET = 1e-8  # of the variance, for games that have no noise
_REACHES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # sums of rho: how many features interact at once
_TAUS = tuple(10.0**e for e in range(-6, 4))
_START = (2, 5)  # among these
_TOLD_LINEAR = 1.25  # pairs per feature below which values are always those of a linear game: the search stays above its start
_FLOOR = 0.1  # of its share, relative to the largest: a first score may be small by chance
_POWERS = (0.5, 1.0)  # of a feature's first score, for its share of the sum
_TOLD_APART = 2.5  # pairs per feature from which features may interact by different degrees


@estimator("odd_gp", references=("arXiv:1705.07874", "arXiv:2602.01399"))
def odd_gp(game: Game, budget: int, *, design: Any = "leverage") -> Estimate:
    """Interpolate paired coalitions by a Gaussian process, whose Shapley values have a closed form.

    Which features interact, and how much, is chosen by marginal likelihood for all examples and outputs at once, so that scores
    depend a little on what else is explained. They add up to the change of the value. Standard errors are those of the process,
    given the values. With a background each row has coalitions of its own.

    Args:
        design: which coalitions, the name of a design or a mapping of that to its options; they must come in pairs with their
            complements.

    Raises:
        UsageError: the budget is not enough for one pair, or too large for the covariance of its coalitions.
    """
    fixed(game, "odd_gp")
    if covers(game, budget):
        return enumerated(game)
    if budget > 2 * _MOST * game.rows or game.count > _MOST:
        raise UsageError(
            f"estimator 'odd_gp' takes at most {2 * _MOST * game.rows} evaluations and {_MOST} features, got {budget} and "
            f"{game.count}; use estimator='leverage', or shapley_value_sampling for many features"
        )
    found = samples(game, budget, design)
    if not all(sample.paired for sample in found):
        raise UsageError("estimator 'odd_gp' needs a design in which each coalition is followed by its complement")
    data = [_Data.of(sample) for sample in found]
    kernel = data[0].kernel()  # rows of a background are alike
    if len(data[0].z) < game.count:
        warn_short(game, budget)
    return averaged(game, [d.posterior(kernel) for d in data], sum(d.degrees for d in data), {"estimator": "odd_gp"})


@attrs.frozen(eq=False)
class _Data:
    """Half the differences ``y``, shape ``(pairs, columns)``, between coalitions ``z`` of +1 and -1 and their complements."""

    z: Tensor
    y: Tensor
    noise: float  # of a value, relative to what the process would have

    @classmethod
    def of(cls, sample: Sample) -> "_Data":
        """Pairs of a sample, after that of all features and none."""
        rows, half = sample.pairs()
        y = torch.cat([((sample.full - sample.empty) / 2)[None], half])
        z = torch.cat([torch.ones(1, rows.shape[1], dtype=torch.float64), rows.double() * 2 - 1])
        values = torch.cat([sample.values, sample.full[None]])
        rounding = (_precision(values) * values.abs().max(0).values) ** 2 / y.var(0, correction=0)
        return cls(z, y, max(_NUGGET, float(rounding[rounding.isfinite()].max()) if rounding.isfinite().any() else 0.0))

    def factor(self, kernel: OddKernel) -> Tensor | None:
        """The Cholesky factor of the covariance."""
        return self.factor_of(kernel.covariance(self.z, self.z), kernel.tau)

    def factor_of(self, covariance: Tensor, tau: float) -> Tensor | None:
        """The Cholesky factor of a covariance, to which the noise is added in place; None where it has none."""
        covariance.diagonal().add_(self.noise * (1 + tau))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        return None if int(failed) else factor

    def kernel(self) -> OddKernel:
        """The kernel of the largest marginal likelihood, first with all features alike, then by their first scores."""
        columns = self.y[:_FITTED]
        columns = columns[:, (columns != 0).any(0)]
        step = -(-max(1, columns.shape[1]) // _COLUMNS)
        part = _Data(self.z[:_FITTED], columns[:, ::step], self.noise)
        count = self.z.shape[1]
        search = _Search(part, torch.full((count,), 1 / count, dtype=torch.float64))
        place = search.climb(_START)
        best, cost = search.kernel(place), search.cost(place)
        if len(self.z) < _TOLD_APART * count:
            return best
        first = part.posterior(best)[0].square().mean(1).sqrt()
        for power in _POWERS:
            share = (first / first.max()).clamp(min=_FLOOR).nan_to_num(1.0) ** power
            search = _Search(part, share / share.sum())
            at = search.climb(place)
            if search.cost(at) < cost:
                best, cost = search.kernel(at), search.cost(at)
        return best

    def posterior(self, kernel: OddKernel) -> tuple[Tensor, Tensor]:
        """The mean of the Shapley values, and their variances, as large as each value's error when the others predict it."""
        factor = self.factor(kernel)
        assert factor is not None  # the kernel was chosen among those that have one
        across = kernel.shapley(self.z)
        whitened = torch.linalg.solve_triangular(factor, across, upper=False)
        y = torch.linalg.solve_triangular(factor, self.y, upper=False)
        scores = whitened.T @ y
        left = (kernel.variance() - whitened.square().sum(0)).clamp(min=0)
        return scores + (2 * self.y[0] - scores.sum(0)) / len(scores), left[:, None] * self._scale(factor, y)

    def _scale(self, factor: Tensor, whitened: Tensor) -> Tensor:
        """How much larger the game's variance is than the kernel's, shape ``(columns,)``.

        As the values themselves have it; or where that is more, as errors have it with which each of the last ones is predicted
        from all others (doi:10.1162/08997660151134343): a game that is rougher than any kernel here has larger ones.
        """
        last = factor[-_FITTED:, -_FITTED:]  # the end of the inverse of the whole is that of this alone
        missed = torch.linalg.solve_triangular(last.T, whitened[-_FITTED:], upper=True).square()
        missed = missed / torch.cholesky_inverse(last).diagonal()[:, None]
        return torch.maximum(whitened.square().sum(0) / self.degrees, missed.mean(0))

    @property
    def degrees(self) -> float:
        """Of freedom of the scale: what choosing a share for each feature leaves."""
        return len(self.z) - min(self.z.shape[1], len(self.z) / 2)


@attrs.define
class _Search:
    """The negative logarithm of the marginal likelihood over a lattice of kernels, for one share of each feature."""

    data: _Data
    share: Tensor
    _known: dict[tuple[int, int], float] = attrs.field(factory=dict)
    _odd: dict[int, Tensor] = attrs.field(factory=dict)  # parts of the covariance, which only reaches change
    _linear: Tensor = attrs.field(
        init=False, default=attrs.Factory(lambda self: linear_part(self.data.z, self.data.z), takes_self=True)
    )

    def kernel(self, place: tuple[int, int]) -> OddKernel:
        """The kernel at a place of the lattice."""
        return OddKernel((_REACHES[place[0]] * self.share).clamp(1e-6, 0.95), _TAUS[place[1]])

    def cost(self, place: tuple[int, int]) -> float:
        """How unlikely the data are, up to a constant; infinite outside of the lattice."""
        if place not in self._known:
            self._known[place] = self._cost(place)
        return self._known[place]

    def _cost(self, place: tuple[int, int]) -> float:
        least = _START if len(self.data.z) < _TOLD_LINEAR * self.data.z.shape[1] else (0, 0)
        if not (least[0] <= place[0] < len(_REACHES) and least[1] <= place[1] < len(_TAUS)):
            return inf
        kernel = self.kernel(place)
        if place[0] not in self._odd:
            self._odd[place[0]] = odd_part(kernel.rho, self.data.z, self.data.z)
        factor = self.data.factor_of(torch.add(self._linear, self._odd[place[0]], alpha=kernel.tau), kernel.tau)
        if factor is None:
            return inf
        y = torch.linalg.solve_triangular(factor, self.data.y, upper=False)
        fit = len(y) / 2 * y.square().mean(0).log().sum()
        return float(fit + y.shape[1] * factor.diagonal().log().sum())

    def climb(self, place: tuple[int, int]) -> tuple[int, int]:
        """Step to the best neighbour until there is none."""
        while True:
            for steps in (((1, 0), (-1, 0), (0, 1), (0, -1)), ((1, 1), (-1, -1), (1, -1), (-1, 1))):
                best = min([place, *((place[0] + a, place[1] + b) for a, b in steps)], key=self.cost)
                if self.cost(best) < self.cost(place):
                    place = best
                    break
            else:
                return place


def _precision(values: Tensor) -> float:
    """How fine values are, of whatever type they were; whole numbers are exact."""
    if bool((values == values.round()).all()):
        return 0.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if bool((values.to(dtype).double() == values).all()):
            return torch.finfo(dtype).eps
    return torch.finfo(values.dtype).eps
