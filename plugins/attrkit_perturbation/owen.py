"""Owen values: Shapley values of features that come in groups, which stay together in every order."""

from __future__ import annotations

from math import comb
from typing import Any

import torch
from torch import Tensor

from attrkit import Estimate, Features, Game, Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.rounds import in_rounds
from attrkit_perturbation.asking.samples import drawing, note_baseline
from attrkit_perturbation.asking.spread import errors_of_mean
from attrkit_perturbation.features.grouping import grouped, renumbered

_MOST = 20  # groups, or features of one, whose coalitions are listed


def _needed(sizes: list[int]) -> int:
    """How many coalitions have no more than one group in parts."""
    parts: int = sum(2**size - 2 for size in sizes)
    return (1 << (len(sizes) - 1)) * (2 + parts)


def _listed(count: int) -> Tensor:
    """Every coalition of so many."""
    return torch.arange(2**count)[:, None] & 2 ** torch.arange(count) > 0


def _weights(count: int) -> Tensor:
    """How much each coalition of the others counts in a Shapley value, by its size; 0 for that of all."""
    return torch.tensor([1 / (count * comb(count - 1, s)) for s in range(count)] + [0.0], dtype=torch.float64)


def _exact(game: Game, groups: list[Tensor]) -> Estimate:
    """The Shapley values, within each group, of the mean game over coalitions of the other groups."""
    members = torch.zeros(len(groups), game.count)
    for number, group in enumerate(groups):
        members[number, group] = 1
    others, asked = _listed(len(groups) - 1), [torch.tensor([[True], [False]]).expand(-1, game.count)]
    for number, group in enumerate(groups):
        around = others.float() @ torch.cat([members[:number], members[number + 1 :]]) > 0
        within = torch.zeros(2 ** len(group), game.count, dtype=torch.bool)
        within[:, group] = _listed(len(group))
        asked.append((around[:, None] | within).flatten(0, 1))
    values = game.values(torch.cat(asked))
    note_baseline(game, values[1:2])
    values -= values[1].clone()  # what all coalitions have in common costs no digits
    scores = torch.empty(game.count, *values.shape[1:], dtype=torch.float64)
    for group, found in zip(groups, values.split(list(map(len, asked)))[1:], strict=True):
        mean = torch.tensordot(_weights(len(groups))[others.sum(1)], found.unflatten(0, (len(others), -1)), 1)
        there = _listed(len(group))
        size, weights = there.sum(1, keepdim=True), _weights(len(group))
        scores[group] = torch.tensordot(torch.where(there, weights[size - 1], -weights[size]).T, mean, 1)
    return Estimate(scores, details={"estimator": "exact"})


def _orders(group: Tensor, pairs: int, generator: torch.Generator) -> Tensor:
    """The place of each feature in random orders that keep groups together, shape ``(pairs, features)``."""
    of_groups = torch.rand(pairs, int(group.max()) + 1, generator=generator, dtype=torch.float64).argsort(1)[:, group]
    within = torch.rand(pairs, len(group), generator=generator, dtype=torch.float64)
    return (of_groups + within).argsort(1).argsort(1)


def _pairs(game: Game, budget: int) -> int:
    """How many pairs of orders a budget allows; with a background as many for each row, where they are enough for all.

    Raises:
        UsageError: not even one.
    """
    pair, rows = 2 * (game.count - 1), game.rows
    each = (budget - 1 - rows) // (pair * rows) if pair else int(budget > rows)
    if not drawing(game) and each > 0:
        return each * rows
    alone = (budget - 1) // (pair + 1)
    if alone < 1:
        raise UsageError(
            f"n_samples={budget} is too small: an order of {game.count} features and the same backwards take {pair + 2}; give "
            "at least that"
        )
    return alone


def _sampled(game: Game, group: Tensor, budget: int) -> Estimate:
    """The mean over random orders, each followed by itself backwards, of what features change when they join in turn."""
    count = game.count
    rank = _orders(group, _pairs(game, budget), game.generator(0))
    rank = torch.stack([rank, count - 1 - rank], 1)
    begun = rank[:, :, None] < torch.arange(1, count)[:, None]
    full, empty, values = in_rounds(game, begun.flatten(1, 2))
    done, shape = len(empty), full.shape
    none, every = (end.flatten(-len(shape)).expand(done, -1)[:, None, None].expand(-1, 2, 1, -1) for end in (empty, full))
    path = torch.cat([none, values.reshape(done, 2, count - 1, none.shape[-1]), every], 2).diff(dim=2)
    each = path.gather(2, rank[:done, ..., None].expand_as(path)).mean(1).unflatten(-1, shape)
    errors, degrees = errors_of_mean(each) if done > 1 else (None, None)
    return Estimate(each.mean(0), errors, degrees, {"estimator": "antithetic orders", "orders": 2 * done})


@method(
    "owen",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    complete="exact",
    linear=True,
    stochastic=True,
    forward_passes="min(n_samples, 2 ** features) + layer",
    references=("doi:10.1007/978-3-642-45494-3_7", "arXiv:2104.12199"),
)
def owen(
    problem: Problem,
    *,
    groups: Any = None,
    feature_mask: Any = None,
    replacement: Any = None,
    background: Any = None,
    n_samples: int = 1000,
) -> Tensors:
    """Shapley values over the orders in which the features of a group follow one another: partition values.

    The scores of a group sum to the Shapley value that it has among groups, and all scores to the change of the objective.

    Args:
        groups: lists of the features' numbers, in the order of the mask's, of which those in none are groups of their own; or
            what feature_mask may be, coarser than that. Without, each feature is a group, and scores are Shapley values.
        background: rows, over which the objective is averaged in place of one baseline; where the result is not exact, pairs of
            orders take them in turns, of which there are fewer where ``n_samples`` is not enough for all.
        n_samples: how many values the model may be asked for; where these are enough for all coalitions that have no more than
            one group in parts (with every row of a background), the result is exact.

    Raises:
        UsageError: a feature is in several groups, or ``n_samples`` is not enough for an order and the same backwards.
    """
    game = problem.game(feature_mask, replacement, background)
    if not game.count:
        return game.attributions(Estimate(torch.zeros(0, *game.full.shape, dtype=torch.float64)))
    assert isinstance(game.features, Features)  # for the type checker: a mask is what it was made of
    group = grouped(problem, game.features, groups)
    group = group if game.players is None else renumbered(group[game.players])
    members = [torch.nonzero(group == g).flatten() for g in range(int(group.max()) + 1)]
    sizes = [len(m) for m in members]
    few = max(*sizes, len(sizes)) <= _MOST and _needed(sizes) * game.rows <= n_samples
    return game.attributions(_exact(game, members) if few and not drawing(game) else _sampled(game, group, n_samples))
