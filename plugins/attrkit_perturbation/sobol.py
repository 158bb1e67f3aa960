"""Sobol's total indices: the share of the objective's variance over random masks that goes away when a feature is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Game, Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.samples import answers, drawing, note_interrupt

_BLOCK = 2**20  # entries of a block of coalitions


def _flipped(coalitions: Tensor) -> Iterator[Tensor]:
    """Each coalition, and after it those that differ from it in one feature, in blocks."""
    count = coalitions.shape[1]
    flips = torch.cat([torch.zeros(1, count, dtype=torch.bool), torch.eye(count, dtype=torch.bool)])
    for part in coalitions.split(max(1, _BLOCK // (count * (count + 1)))):
        yield (part[:, None] ^ flips).flatten(0, 1)


def _exact(game: Game) -> Estimate:
    """The indices from all coalitions."""
    numbers, bits = torch.arange(2**game.count), 2 ** torch.arange(game.count)
    values = game.values(numbers[:, None] & bits > 0)
    variance = values.var(0, correction=0)
    parts = torch.stack([((values[numbers ^ bit] - values) ** 2).mean(0) / 4 for bit in bits])
    return Estimate(_share(parts, variance))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """A fraction, 0 where nothing varies."""
    return torch.where(whole > 0, part / whole, 0.0)


def _sampled(game: Game, n: int) -> Estimate:
    """The indices from ``n`` coalitions and their neighbours; of the errors, the index is a ratio of two means."""
    count, total = game.count, n * (game.count + 1)
    coalitions = torch.rand(n, count, generator=game.generator(0)) < 0.5
    draws = torch.arange(n).repeat_interleave(count + 1) if drawing(game) else None
    values = torch.cat(list(answers(game, _flipped(coalitions), total, draws)))
    done = len(values) // (count + 1)
    if done < n:
        note_interrupt(len(values), total, 2 * (count + 1))
    values = values[: done * (count + 1)].unflatten(0, (done, count + 1))
    within = ((values - values.mean((0, 1))) ** 2).mean(1)
    variance = within.mean(0) + values.mean(1).var(0) / done  # what the mean of few coalitions takes from it is given back
    parts = (values[:, 1:] - values[:, :1]) ** 2 / 4
    indices = _share(parts.mean(0), variance)
    errors = _share((parts - indices * within[:, None]).std(0), variance) / done**0.5
    return Estimate(indices, errors, done - 1)


@method(
    "sobol",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    stochastic=True,
    forward_passes="min(n_samples * (1 + features), 2 ** features) + layer",
    references=("arXiv:2111.04138", "doi:10.1016/S0010-4655(98)00154-4"),
)
def sobol(
    problem: Problem, *, feature_mask: Any = None, replacement: Any = None, background: Any = None, n_samples: int = 32
) -> Tensors:
    """Sobol's total index of each feature: its share, alone and with others, in the objective's variance over random masks.

    In a mask each feature is there or replaced with the same probability. Jansen's estimator changes one feature of a mask at a
    time: where the paper draws it anew, which half of the time changes nothing, it is always changed here, which has the same
    mean and less variance. Indices are not negative, and sum to 1 where features do not interact; 0 where nothing varies.

    Args:
        n_samples: masks, each of which is changed in one feature at a time; where there are no more coalitions than that takes,
            each is asked for once, and the result is exact.

    Raises:
        UsageError: ``n_samples`` is less than 2.
    """
    if n_samples < 2:
        raise UsageError(f"n_samples must be at least 2, got {n_samples}")
    game = problem.game(feature_mask, replacement, background)
    if not game.count:
        return game.attributions(Estimate(torch.zeros(0, *game.full.shape, dtype=torch.float64)))
    few = game.count < 31 and 2**game.count <= n_samples * (game.count + 1)
    return game.attributions(_exact(game) if few and not drawing(game) else _sampled(game, n_samples))
