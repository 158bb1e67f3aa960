"""Shapley interactions: how features share the objective's change, alone and in pairs."""

from __future__ import annotations

from math import comb
from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Game, Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.rounds import in_rounds
from attrkit_perturbation.asking.samples import covers, drawing
from attrkit_perturbation.asking.spread import errors_of_mean
from attrkit_perturbation.estimators.exact import enumerated

_MOST = 20  # features, whose coalitions are listed
_BLOCK = 2**20  # entries that are multiplied at once


def _exact(game: Game) -> Estimate:
    """From all coalitions, of which each counts by its size and by how many of a pair are in it."""
    count = game.count
    shapley = enumerated(game).scores
    padded = [0.0, 0.0, *(1 / ((count - 1) * comb(count - 2, s)) for s in range(count - 1)), 0.0, 0.0]
    both, one, none = (torch.tensor(padded[start : start + count + 1], dtype=torch.float64) for start in range(3))
    every = torch.arange(2**count)[:, None] & 2 ** torch.arange(count) > 0
    values = game.values(every).flatten(1)
    values -= values[0].clone()  # what all coalitions have in common costs no digits
    found = torch.zeros(values.shape[1], count, count, dtype=torch.float64)
    step = max(1, _BLOCK // (count * max(1, values.shape[1])))
    for there, part in zip(every.split(step), values.split(step), strict=True):
        size, within = there.sum(1), there.double()
        together, apart, outside = (w[:, None] * part for w in ((both + 2 * one + none)[size], (one + none)[size], none[size]))
        single = apart.T @ within
        found += (together.T[:, None] * within.T) @ within + outside.sum(0)[:, None, None]
        found -= single[:, None] + single[:, :, None]
    pairs = found.movedim(0, -1).unflatten(-1, shapley.shape[1:])
    return _estimate(game, shapley[None], pairs[None], {"estimator": "exact"})


def _estimate(game: Game, shapley: Tensor, pairs: Tensor, details: dict[str, Any]) -> Estimate:
    """The mean over rounds of Shapley values, ``(rounds, count, ...)``, and interactions, ``(rounds, count, count, ...)``."""
    others = ~torch.eye(game.count, dtype=torch.bool).reshape(game.count, game.count, *[1] * (pairs.dim() - 3))
    pairs = pairs * others
    singles, rounds = shapley - pairs.sum(2) / 2, len(shapley)
    details |= {"interactions": _of_all(game, pairs.mean(0))}
    if rounds == 1:
        return Estimate(singles[0], details=details)
    errors, degrees = errors_of_mean(pairs.flatten(1, 2))
    details |= {"interaction_errors": _of_all(game, errors.unflatten(0, pairs.shape[1:3]) * others)}
    return Estimate(singles.mean(0), errors_of_mean(singles)[0], degrees, details)


def _of_all(game: Game, pairs: Tensor) -> Tensor:
    """Pairs of all features, 0 for those that do not matter, shape ``(batch, *outputs, features, features)``."""
    if game.players is not None:
        every = pairs.new_zeros(game.features.count, game.features.count, *pairs.shape[2:])
        every[game.players[:, None], game.players] = pairs
        pairs = every
    return pairs.movedim((0, 1), (-2, -1))


def _rounds(game: Game, budget: int) -> int:
    """How many rounds a budget allows, beside all features and none.

    Raises:
        UsageError: not even one.
    """
    arcs, own = game.count * (game.count - 1), int(drawing(game) or game.rows > 1)  # own: a replacement for each round
    rounds = (budget - 2 + own) // max(1, arcs + own)
    if rounds < 1:
        raise UsageError(
            f"n_samples={budget} is too small: the interactions of {game.count} features take {arcs + 2} evaluations at least; "
            "give that many, or group features by feature_mask"
        )
    return rounds


def _sampled(game: Game, budget: int) -> Estimate:
    """Rounds in which features sit on a circle, in random places: what changes as arcs grow on one side or on both.

    In a round each feature joins arcs of every size, and each pair is at both ends of two.
    """
    count, rounds = game.count, _rounds(game, budget)
    steps = torch.arange(count)
    place = torch.rand(rounds, count, generator=game.generator(0), dtype=torch.float64).argsort(1)
    ahead = (place[:, None] - steps[:, None]) % count  # of each start
    full, empty, values = in_rounds(game, (ahead[:, :, None] < steps[1:, None]).flatten(1, 2))
    done, shape = len(empty), full.shape
    none, every = (end.flatten(-len(shape)).expand(done, -1)[:, None, None].expand(-1, count, 1, -1) for end in (empty, full))
    inner = values.reshape(done, count, count - 1, none.shape[-1])
    shapley, pairs = _of_arcs(torch.cat([none, inner, every], 2))
    place, number = place[:done], torch.arange(done)[:, None]
    shapley, pairs = shapley[number, place], pairs[number[..., None], place[:, :, None], place[:, None]]
    return _estimate(game, shapley.unflatten(-1, shape), pairs.unflatten(-1, shape), {"estimator": "arcs", "rounds": done})


def _of_arcs(values: Tensor) -> tuple[Tensor, Tensor]:
    """Shapley values and interactions on a circle, from arcs' values, shape ``(rounds, start, 1 + size, columns)``."""
    rounds, count, _, columns = values.shape
    before = values.roll(1, 1)  # those that start a place earlier
    start, step = torch.arange(count)[:, None], torch.arange(count)
    ahead, behind = ((start + step) % count).flatten(), ((start - 1) % count).expand(-1, count).flatten()
    shapley = values.new_zeros(rounds, count, columns)
    shapley.index_add_(1, ahead, values.diff(dim=2).flatten(1, 2), alpha=0.5 / count)
    shapley.index_add_(1, behind, (before[:, :, 1:] - values[:, :, :-1]).flatten(1, 2), alpha=0.5 / count)
    change = (before[:, :, 2:] - before[:, :, 1:-1] - values[:, :, 1:-1] + values[:, :, :-2]).flatten(1, 2)
    number = (behind * count + ahead).reshape(count, count)[:, :-1].flatten()
    pairs = values.new_zeros(rounds, count**2, columns).index_add_(1, number, change, alpha=0.5).unflatten(1, (count, count))
    return shapley, pairs + pairs.transpose(1, 2)


@method(
    "shapley_interactions",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    linear=True,
    stochastic=True,
    forward_passes="min(n_samples, 2 ** features) + layer",
    references=("arXiv:2209.04012", "doi:10.1007/s001820050125"),
)
def shapley_interactions(
    problem: Problem, *, feature_mask: Any = None, replacement: Any = None, background: Any = None, n_samples: int = 1000
) -> Tensors:
    """What each feature changes by itself (n-Shapley values of order 2); what each pair changes beyond that is in the details.

    ``details["interactions"]`` has shape ``(batch, *outputs, features, features)``, is symmetric and 0 on the diagonal and for
    features that do not matter. What all features and all pairs (each once) change sums to the change of the objective; a
    feature and half of its pairs to its Shapley value. Where they are estimates, ``details["interaction_errors"]`` has their
    standard errors.

    Args:
        background: rows, over which the objective is averaged in place of one baseline; where the result is not exact, rounds
            take them in turns.
        n_samples: how many values the model may be asked for; where these are enough for all coalitions (with every row of a
            background), the result is exact. Else features * (features - 1) of them make one round of estimates,
            which are exact where no more than two features interact.

    Raises:
        UsageError: ``n_samples`` is not enough for one round.
    """
    game = problem.game(feature_mask, replacement, background)
    if not game.count:
        none = torch.zeros(0, *game.full.shape, dtype=torch.float64)
        return game.attributions(Estimate(none, details={"interactions": _of_all(game, none[None, :0])}))
    few = game.count <= _MOST and covers(game, n_samples) and not drawing(game)
    return game.attributions(_exact(game) if few else _sampled(game, n_samples))
