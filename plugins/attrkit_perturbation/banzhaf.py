"""Banzhaf values: what a feature changes on average over all coalitions of the others, each equally likely."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Game, Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.rounds import turns
from attrkit_perturbation.asking.samples import covers, drawing, note_interrupt

_LISTED = 20  # features, of whose coalitions none is drawn again before all were
_ENOUGH = 3  # coalitions for each feature, from which least squares do better than means


def _coalitions(count: int, pairs: int, generator: torch.Generator) -> Tensor:
    """One coalition of each pair of complements, all pairs equally likely, boolean, shape ``(pairs, count)``."""
    if count > _LISTED:
        return torch.rand(pairs, count, generator=generator) < 0.5
    every = 2 ** (count - 1)
    numbers = torch.cat([torch.randperm(every, generator=generator) for _ in range(-(-pairs // every))])[:pairs]
    return numbers[:, None] & 2 ** torch.arange(count) > 0


def _regressed(signs: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of changes on signs, and the variances of the coefficients."""
    inverse = torch.linalg.pinv(signs.T @ signs, hermitian=True)
    scores = inverse @ (signs.T @ changes)
    influence = signs @ inverse
    left = (changes - signs @ scores) / (1 - (influence * signs).sum(1, keepdim=True)).clamp_min(1e-6)  # of each by the others
    return scores, (influence**2).T @ left**2


def _reused(signs: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """The mean change to where a feature is, and its variance."""
    scores = signs.T @ changes / len(signs)
    square = (changes**2).mean(0)
    return scores, (square - scores**2).clamp_min(0) / max(1, len(signs) - 1)


def _estimate(game: Game, budget: int) -> Estimate:
    """All pairs of coalitions, or as many as the budget allows."""
    count, exact = game.count, covers(game, budget) and not drawing(game)
    every = 2 ** (count - 1)
    pairs = every if exact else (budget - 2) // 2
    draws = None if exact or isinstance(game.replacing, tuple) else turns(game, pairs)
    listed = draws is None and count <= _LISTED
    pairs = min(pairs, every) if listed else pairs
    first = _coalitions(count, pairs, game.generator(0))
    together = torch.stack([first, ~first], 1).flatten(0, 1)
    ends = torch.tensor([[True], [False]])[: 2 if draws is None else 1].expand(-1, count)
    taken = None if draws is None else torch.cat([draws[:1], draws.repeat_interleave(2)])
    values = game.values(torch.cat([ends, together]), taken, partial=True)
    done = max(0, len(values) - len(ends)) // 2
    if done < pairs:
        note_interrupt(len(values), len(ends) + 2 * pairs, len(ends) + 2)
    changes = values[len(ends) : len(ends) + 2 * done].unflatten(0, (done, 2)).diff(dim=1).neg().flatten(1)
    whole = listed and done == every
    fitted = whole or 2 * done >= _ENOUGH * count
    scores, variances = (_regressed if fitted else _reused)(2 * first[:done].double() - 1, changes)
    shape, details = (count, *values.shape[1:]), {"estimator": "regression" if fitted else "sample reuse"}
    if whole:
        return Estimate(scores.reshape(shape), details={"estimator": "exact"})
    if done == 1:
        return Estimate(scores.reshape(shape), details=details)
    left = 1 - done / every if listed else 1.0  # of a variance, where pairs are drawn without replacement
    errors = (variances * left).sqrt().reshape(shape)
    return Estimate(scores.reshape(shape), errors, done - count if fitted else done - 1, details)


@method(
    "banzhaf",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    linear=True,
    stochastic=True,
    forward_passes="min(n_samples, 2 ** features) + layer",
    references=("arXiv:2205.15466", "arXiv:2410.08336"),
)
def banzhaf(
    problem: Problem, *, feature_mask: Any = None, replacement: Any = None, background: Any = None, n_samples: int = 1000
) -> Tensors:
    """Mean change of the objective by each feature over all coalitions of the others, each of them equally likely.

    Coalitions are asked for in pairs of complements, and each of them serves all features: by least squares of the changes
    within pairs, which is exact where features do not interact, or, with fewer than 3 coalitions for each feature, by their
    means. Values do not sum to the change of the objective.

    Args:
        background: rows, over which the objective is averaged in place of one baseline; pairs take them in turns.
        n_samples: how many values the model may be asked for; where these are enough for all coalitions (with every row of a
            background), the result is exact.

    Raises:
        UsageError: ``n_samples`` is less than 4, and not enough for all coalitions.
    """
    game = problem.game(feature_mask, replacement, background)
    if not game.count:
        return game.attributions(Estimate(torch.zeros(0, *game.full.shape, dtype=torch.float64)))
    if n_samples < 4 and not covers(game, n_samples):
        raise UsageError(f"n_samples={n_samples} is too small: give at least 4, all features, none, and a pair of coalitions")
    return game.attributions(_estimate(game, n_samples))
