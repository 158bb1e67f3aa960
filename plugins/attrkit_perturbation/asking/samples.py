"""What estimators ask a game: the values with all features and with none, and those of a design, in few passes."""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import chain
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from attrkit import Estimate, Game, Rows
from attrkit.errors import ModelError, UsageError, warn
from attrkit_perturbation.designs.shapley import leverage

_KEPT = 2**26  # entries of coalitions that are asked for at once, and whose values are remembered


def drawing(game: Game) -> bool:
    """Whether what replaces features is drawn anew each time, without end."""
    return not isinstance(game.replacing, tuple | Rows)


def covers(game: Game, budget: int) -> bool:
    """Whether a budget is enough for every coalition, with every row of a background."""
    if drawing(game):
        return False
    return not game.count or (game.count < 63 and 2**game.count * game.rows <= budget)


def fixed(game: Game, estimator: str) -> None:
    """Raise UsageError where what replaces features is drawn anew each time."""
    if drawing(game):
        raise UsageError(
            f"estimator {estimator!r} compares coalitions that are replaced alike, but this replacement draws anew each time; "
            "use estimator='antithetic' or 'permutation', which average over its draws"
        )


def answers(game: Game, blocks: Iterable[Tensor], total: int, draws: Tensor | None) -> Iterator[Tensor]:
    """The values of coalitions in order, shape ``(k, batch, *outputs)``, float64; fewer where the user interrupts.

    As many as fit into memory are asked for at once and remembered; more are streamed.
    """
    if total * game.count * (game.rows if draws is None else 1) <= _KEPT:
        yield game.values(torch.cat(list(blocks)), draws, partial=True)
        return
    try:
        if draws is None:
            for values in game.stream(blocks, total):
                yield _finite(values.double().cpu())
        else:
            for block in blocks:
                part, draws = draws[: len(block)], draws[len(block) :]
                yield game.values(block, part, partial=True)
                if game.interrupted:
                    return
    except KeyboardInterrupt:
        game.interrupted = True


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ModelError(
            "the model returned NaN or infinity for coalitions of features, from which nothing can be estimated; choose a "
            "replacement (or baseline) that the model bears"
        )
    return values


def note_interrupt(done: int, wanted: int, least: int) -> None:
    """Warn that an estimate is made of fewer values than wanted; where not even ``least`` are there, the interrupt goes on."""
    if done < least:
        raise KeyboardInterrupt
    warn(f"interrupted after {done} of {wanted} evaluations; the estimate is made of these")


def warn_short(game: Game, budget: int) -> None:
    """Warn that there are fewer coalitions than scores to tell apart."""
    need = 1 + game.rows + 2 * game.rows * (game.count - 1)
    warn(
        f"n_samples={budget} is few for {game.count} features: of all scores that fit the evaluations, these are the smallest "
        f"or likeliest; give at least {need}, or group features by feature_mask"
    )


@attrs.frozen(eq=False)
class Sample:
    """The values of some coalitions with one replacement, flat over examples and outputs.

    ``coalitions`` are boolean, shape ``(k, features)``; ``values`` have shape ``(k, columns)``, ``full`` and ``empty`` shape
    ``(columns,)``.
    """

    coalitions: Tensor
    values: Tensor
    full: Tensor
    empty: Tensor

    @property
    def paired(self) -> bool:
        """Whether each coalition is followed by its complement."""
        return complements(self.coalitions)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """One coalition of each pair, at most half of the features, and half its value minus its complement's; none twice."""
        rows, kept, signs = halves(self.coalitions)
        return rows, self.differences(kept, signs)

    def differences(self, kept: Tensor, signs: Tensor) -> Tensor:
        """Half the value of a coalition minus its complement's, times a sign, of the pairs that are kept."""
        half: Tensor = (self.values[::2][kept] - self.values[1::2][kept]) * (0.5 * signs)
        return half


def halves(coalitions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One coalition of each pair, at most half of the features, and none twice; the pairs' numbers, and -1 for the second one.

    Signs have shape ``(pairs, 1)``.
    """
    first = coalitions[::2]
    size, count = first.sum(1), first.shape[1]
    swap = (2 * size > count) | ((2 * size == count) & ~first[:, 0])
    rows = first ^ swap[:, None]
    kept = distinct(rows)
    return rows[kept], kept, torch.where(swap[kept], -1.0, 1.0).double()[:, None]


def complements(coalitions: Tensor) -> bool:
    """Whether each coalition is followed by its complement."""
    return len(coalitions) % 2 == 0 and bool((coalitions[::2] ^ coalitions[1::2]).all())


def distinct(coalitions: Tensor) -> Tensor:
    """The numbers of the coalitions that do not come earlier."""
    packed = np.ascontiguousarray(np.packbits(coalitions.numpy(), axis=1))
    _, first = np.unique(packed.view(f"V{packed.shape[1]}").reshape(-1), return_index=True)
    return torch.from_numpy(np.sort(first))


def samples(game: Game, budget: int, design: Any) -> list[Sample]:
    """The values of a design; with a background, of one for each of its rows.

    All of them are asked for at once, the designs of all rows in turns, so that of an interrupted run each has a part. A design
    is what an option names; "leverage" is known here, which spares loading other plugins.

    Raises:
        UsageError: the budget is not even enough for all features, none, and one pair; with a background for each row.
    """
    draw: Callable[..., Iterable[Tensor]]
    draw = game.problem.part("designs", leverage if design == "leverage" else design, "design")
    count, rows = game.count, game.rows
    least = 1 + rows + (2 * rows if count > 1 else 0)
    if budget < least:
        background = f" with each of the {rows} rows of the background" if rows > 1 else ""
        raise UsageError(
            f"n_samples={budget} is too small: all features, none, and one coalition and its complement{background} are "
            f"{least} evaluations; give at least that"
        )
    each = (budget - 1 - rows) // rows
    drawn = [torch.cat([*draw(count, each, game.generator(r)), _none(count, 0)]) for r in range(rows)]
    turn = 1 if rows == 1 else 2  # pairs stay together
    length = min(map(len, drawn)) // turn * turn
    inner = drawn[0] if rows == 1 else torch.stack([d[:length] for d in drawn]).unflatten(1, (-1, turn)).transpose(0, 1)
    asked = torch.cat([~_none(count, 1), _none(count, rows), inner.reshape(-1, count)])
    draws = None
    if not isinstance(game.replacing, tuple):
        row = torch.arange(rows)
        draws = torch.cat([row[:1], row, row.repeat_interleave(turn).repeat(length // turn)])
    values = game.values(asked, draws, partial=True)
    whole = (len(values) - 1 - rows) // (rows * turn) * turn
    if len(values) < len(asked):
        note_interrupt(len(values), len(asked), least)
        whole -= whole % 2 if complements(drawn[0]) else 0
    note_baseline(game, values[1 : 1 + rows])
    found = values.flatten(1)
    used = found[1 + rows : 1 + rows + whole * rows].reshape(-1, rows, turn, found.shape[1])
    return [Sample(drawn[r][:whole], used[:, r].flatten(0, 1), found[0], found[1 + r]) for r in range(rows)]


def _none(count: int, k: int) -> Tensor:
    return torch.zeros(k, count, dtype=torch.bool)


def note_baseline(game: Game, empties: Tensor) -> None:
    """Note the mean value without features, shape ``(rows, batch, *outputs)``, which attributions compare with."""
    outputs = game.problem.outputs
    if not isinstance(game.replacing, tuple) or "baseline" not in outputs:
        outputs["baseline"] = empties.mean(0).to(outputs["point"])


def averaged(game: Game, parts: list[tuple[Tensor, Tensor | None]], degrees: float | None, details: dict[str, Any]) -> Estimate:
    """The mean of scores and their variances, shape ``(features, columns)``, over the rows of a background."""
    shape = (game.count, *game.problem.outputs["point"].shape)
    scores = reduce(torch.add, [scores for scores, _ in parts]) / len(parts)
    known = [variances for _, variances in parts if variances is not None]
    if len(known) < len(parts):
        return Estimate(scores.reshape(shape), details=details)
    errors = reduce(torch.add, known).clamp(min=0).sqrt().reshape(shape) / len(parts)
    return Estimate(scores.reshape(shape), errors, degrees, details)


def with_ends(blocks: Iterable[Tensor], count: int, empties: int) -> Iterator[Tensor]:
    """The coalition of all features, that of none a number of times, then others."""
    return chain([~_none(count, 1), _none(count, empties)], blocks)
