"""Coalitions in rounds, each of which is replaced alike: by one row of a background, or one draw."""

from __future__ import annotations

import torch
from torch import Tensor

from attrkit import Game, Rows
from attrkit_perturbation.asking.samples import drawing, note_baseline, note_interrupt

_ROWS = 1  # the draw of the rows' order


def turns(game: Game, rounds: int) -> Tensor:
    """The row, or the draw, of each round, shape ``(rounds,)``: rows take turns in random order; 0 where there is but one."""
    if isinstance(game.replacing, Rows):
        return torch.randperm(game.rows, generator=game.generator(_ROWS))[torch.arange(rounds) % game.rows]
    return torch.arange(rounds) if drawing(game) else torch.zeros(rounds, dtype=torch.int64)


def in_rounds(game: Game, coalitions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The value with all features; those with none, of each round; and those of coalitions, shape ``(rounds, k, features)``.

    Shapes are ``(batch, *outputs)``, ``(rounds, batch, *outputs)`` and ``(rounds, k, batch, *outputs)``. Where the user
    interrupts, there are as many rounds as are complete. What attributions compare with, the mean of the second, is noted.
    """
    rounds, each, count = coalitions.shape
    draw = turns(game, rounds)
    used, which = draw.unique(return_inverse=True)
    ends = torch.arange(1 + len(used))[:, None].expand(-1, count) == 0
    draws = None if isinstance(game.replacing, tuple) else torch.cat([used[:1], used, draw.repeat_interleave(each)])
    values = game.values(torch.cat([ends, coalitions.flatten(0, 1)]), draws, partial=True)
    total, inner = len(ends) + rounds * each, values[len(ends) :]
    done = len(inner) // each if each else rounds
    if len(values) < total:
        note_interrupt(len(values), total, len(ends) + each)
    empty = values[1 + which[:done]]
    note_baseline(game, empty)
    return values[0], empty, inner[: done * each].unflatten(0, (done, each))
