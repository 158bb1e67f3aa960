"""RISE: the mean of the objective over random masks that leave a position in place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit import Estimate, Game, Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.blockwise import valued
from attrkit_perturbation.asking.samples import note_interrupt

_GRID = 7


def _cells(point: Tensors) -> Tensors:
    """Which positions come and go together: those of all channels of an image, those of a token or a column of others."""
    ids, start = [], 0
    for x in point:
        shape = (1, *x.shape[2:]) if x.dim() > 3 else (x.shape[1], *[1] * (x.dim() - 2)) if x.dim() > 1 else ()
        ids.append(torch.arange(start, start + math.prod(shape), device=x.device).reshape(1, *shape))
        start += math.prod(shape)
    return tuple(ids)


def _shifted(sizes: tuple[int, ...], grid: int, share: float, k: int, generator: torch.Generator) -> Tensor:
    """Which positions are there when each cell of a grid is with the same probability, shape ``(k, positions)``.

    The grid is as large as it is asked for and shifted by a random number of positions each time.
    """
    widths = [-(-size // grid) for size in sizes]
    cells = torch.rand(k, *(grid + 1 for _ in sizes), generator=generator) < share
    places: list[Tensor] = [torch.arange(k).reshape(k, *[1] * len(sizes))]
    for dim, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        shift = torch.randint(width, (k, 1), generator=generator)
        place = (torch.arange(size) + shift).div(width, rounding_mode="floor")
        places.append(place.reshape(k, *(size if d == dim else 1 for d in range(len(sizes)))))
    return cells[tuple(places)].flatten(1)


def _masks(game: Game, point: Tensors | None, n: int, grid: int, share: float) -> Iterator[Tensor]:
    """Blocks of ``n`` masks in all; without tensors each feature is there independently of the others."""
    generator = game.generator(0)
    for run in game.blocks(n):
        k = len(run)
        if point is None:
            yield torch.rand(k, game.count, generator=generator) < share
            continue
        parts = []
        for x in point:
            if x.dim() > 3 and x[0].numel():
                parts.append(_shifted(tuple(x.shape[2:]), grid, share, k, generator))
            else:
                parts.append(torch.rand(k, x.shape[1] if x.dim() > 1 else 1, generator=generator) < share)
        yield torch.cat(parts, 1)


@attrs.define(eq=False)
class _Tally:
    """The sum of values, and of their squares, over the masks in which each feature is there."""

    done: int = 0
    _shift: Tensor | None = None  # about their mean, so that squares lose no digits
    _sums: Tensor = attrs.field(factory=lambda: torch.zeros(()))

    def add(self, there: Tensor, values: Tensor) -> None:
        """Count further masks, shape ``(features, k)``, and their values."""
        if self._shift is None:
            self._shift, self._sums = values.mean(0), torch.zeros((), dtype=torch.float64)
        change = (values - self._shift).flatten(1)
        self._sums = self._sums + there @ torch.cat([change, change**2, change.new_ones(len(change), 1)], 1)
        self.done += len(values)

    def estimate(self) -> Estimate:
        """The mean for each feature.

        Raises:
            UsageError: one is in no mask.
        """
        assert self._shift is not None  # for the type checker: there was a mask
        times, shape = self._sums[:, -1:], (len(self._sums), *self._shift.shape)
        if never := int((times == 0).sum()):
            raise UsageError(
                f"n_samples={self.done} masks are too few: {never} of {len(times)} features are in none; give more"
            )
        mean, square = (self._sums[:, :-1] / times).chunk(2, 1)
        variance = (square - mean**2).clamp_min(0) / (times - 1).clamp_min(0)
        errors = torch.where(times > 1, variance.sqrt(), torch.inf)
        return Estimate(mean.reshape(shape) + self._shift, errors.reshape(shape), float(self.done - 1))


@method(
    "rise",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    linear=True,
    stochastic=True,
    forward_passes="n_samples + layer",
    references=("arXiv:1806.07421",),
)
def rise(
    problem: Problem,
    *,
    feature_mask: Any = None,
    replacement: Any = None,
    background: Any = None,
    n_samples: int = 1000,
    share: float = 0.5,
    grid: int = _GRID,
) -> Tensors:
    """Mean of the objective over random masks in which a position is there, the absent ones replaced.

    Tensors with two dimensions or more after batch and channels are masked by coarse grids, shifted by random numbers of
    positions; of others each position of the first dimension after the batch, a column or a token, is a cell. A position is
    there or replaced, nothing between, where the paper fades by smooth masks: so token numbers, booleans and baselines of minus
    infinity are fine too, and the model sees no blends; the shifts make the result smooth. Scores are means of the objective
    itself: compare them with one another, not with 0.

    Args:
        feature_mask: integer tensors, one per tensor: positions of one number are one feature; or the name of a segmenter, or a
            mapping of that to its options. Each feature is then there independently of the others, and there are no grids.
        n_samples: how many masks there are.
        share: with which probability a cell is there.
        grid: cells along each dimension.

    Raises:
        UsageError: a number is out of its range, or some position is in no mask.
    """
    if n_samples < 1 or grid < 1 or not 0 < share < 1:
        raise UsageError(
            f"n_samples and grid must be at least 1, and share between 0 and 1, got n_samples={n_samples}, grid={grid}, "
            f"share={share}"
        )
    if feature_mask is not None and grid != _GRID:
        raise UsageError(f"grid={grid} has no effect beside feature_mask, whose features are the cells; leave one of them out")
    cells = _cells(problem.point) if feature_mask is None else feature_mask
    game = attrs.evolve(
        problem.game(cells, replacement, background), players=None
    )  # one that equals its replacement counts too
    point = problem.point if feature_mask is None else None
    tally = _Tally()
    for masks, values in valued(game, _masks(game, point, n_samples, grid, share), n_samples):
        tally.add(masks.double().T, values)
    if game.interrupted:
        note_interrupt(tally.done, n_samples, 2)
    return game.attributions(tally.estimate())
