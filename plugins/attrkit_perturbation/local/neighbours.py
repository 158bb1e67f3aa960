"""Coalitions around an example, what the model says of them, and how much each counts."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit import Features, Game
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import note_interrupt
from attrkit_perturbation.local.calling import row, samples, similarity
from attrkit_perturbation.local.similarity import perturbed

_DESIGN = 2**32  # the number of the design's draw, past those of replacements


@attrs.frozen(eq=False)
class Neighbours:
    """Samples of a game.

    ``coalitions`` are of all features, float64 (1 where one is there), shape ``(k, features)``, or ``(k, batch, features)``
    where each example has its own, and ``there`` the same as booleans; ``values`` have shape ``(k, batch, *outputs)``.
    ``draws`` number what replaced the absent features, where that differs from one to the next.
    """

    game: Game
    coalitions: Tensor
    there: Tensor
    values: Tensor
    draws: Tensor | None

    @property
    def joined(self) -> bool:
        """Whether there is one value for the whole batch."""
        return self.values.shape[1] != len(self.game.problem.point[0])

    def moved(self) -> Tensor:
        """Which features make a difference to which example, boolean, shape ``(batch or 1, features)``."""
        features, point, replaced = self.game.features, self.game.problem.point, self.game.replacing
        if not isinstance(features, Features):
            return torch.ones(self.values.shape[1], features.count, dtype=torch.bool)
        pairs = zip(point, replaced, strict=True) if isinstance(replaced, tuple) else ()
        differ = tuple(x != b for x, b in pairs) or tuple(torch.ones_like(x, dtype=torch.bool) for x in point)
        found = features.totals(differ).cpu() > 0
        return found.any(0, keepdim=True) if self.joined else found


def drawn(game: Game, design: Any, count: int) -> Neighbours:
    """The coalition of all features, and others that a design draws."""
    propose = game.problem.part("designs", design, "design")
    blocks = propose(game.count, count - 1, game.generator(_DESIGN))
    asked = torch.cat([torch.ones(1, game.count, dtype=torch.bool), *blocks])
    draws = None if isinstance(game.replacing, tuple) else torch.arange(len(asked))
    values = _asked(game, asked, draws)
    there = asked[: len(values)]
    if game.players is not None:
        every = there.new_ones(len(values), game.features.count)
        every[:, game.players] = there
        there = every
    return Neighbours(game, there.double(), there, values, None if draws is None else draws[: len(values)])


def called(game: Game, perturb_func: Callable[..., Any], count: int) -> Neighbours:
    """Coalitions that a function of the caller's draws, one after the other, for each example apart."""
    batch = len(game.problem.point[0])
    joined = batch > 1 and len(game.full) != batch  # one value for the whole batch, which is one example then
    parts = [slice(None)] if joined else [slice(i, i + 1) for i in range(batch)]
    each = [_called(game, perturb_func, count, part) for part in parts]
    least = min(map(len, each), default=0)
    if least == 0:
        raise UsageError("perturb_func gave no sample at all; the surrogate needs some")
    draws = None if isinstance(game.replacing, tuple) else torch.arange(least)
    if len(each) == 1:
        coalitions, values = each[0], _asked(game, _of_players(game, each[0] != 0), draws)
    else:
        coalitions, apart = torch.stack([rows[:least] for rows in each], 1), _apart(game)
        values = _asked(apart, (coalitions != 0).flatten(1), draws)
        game.spent += apart.spent
    coalitions = coalitions[: len(values)]
    return Neighbours(game, coalitions, coalitions != 0, values, None if draws is None else draws[: len(values)])


def _asked(game: Game, coalitions: Tensor, draws: Tensor | None) -> Tensor:
    """The values of coalitions; of the first ones where the user interrupts."""
    values = game.values(coalitions, draws, partial=True)
    if len(values) < len(coalitions):
        note_interrupt(len(values), len(coalitions), 2)
    return values


def _of_players(game: Game, coalitions: Tensor) -> Tensor:
    """Coalitions of all features as those of the features that matter."""
    return coalitions if game.players is None else coalitions[:, game.players]


def _called(game: Game, perturb_func: Callable[..., Any], count: int, part: slice) -> Tensor:
    """The coalitions for a part of the batch, shape ``(k, features)``."""
    inputs = tuple(x[part] for x in game.problem.point)
    found = [row(sample, "perturb_func") for sample in samples(perturb_func, inputs, count, _told(game, part))]
    for each in found:
        if len(each) != game.features.count:
            raise UsageError(
                f"perturb_func must return shape (1, {game.features.count}), a number for each feature, got {len(each)}"
            )
    return torch.stack(found) if found else torch.zeros(0, game.features.count, dtype=torch.float64)


def _apart(game: Game) -> Game:
    """The same game in which each example has features of its own, so that one coalition tells one for each example."""
    features = game.features
    if not isinstance(features, Features):
        raise UsageError("perturb_func needs features that share no position; give a feature_mask")
    count, examples = features.count, len(game.problem.point[0])
    first = count * torch.arange(examples)

    def own(ids: Tensor) -> Tensor:
        shift = first.to(ids.device).reshape(-1, *[1] * (ids.dim() - 1))
        return torch.where(ids == count, count * examples, ids + shift)

    return Game(game.problem, Features(tuple(map(own, features.ids)), count * examples, features.fixed), game.replacing)


def compared(neighbours: Neighbours, similarity_func: Callable[..., Any]) -> Tensor:
    """The weights that a function of the caller's gives to each sample of each example, shape ``(k, batch)``."""
    game = neighbours.game
    point, z = game.problem.point, neighbours.coalitions
    parts = [slice(None)] if neighbours.joined else [slice(i, i + 1) for i in range(len(point[0]))]
    told = [_told(game, part) for part in parts]
    whole = z if z.dim() == 3 else z[:, None].expand(-1, len(parts), -1)
    blocks = perturbed(game, neighbours.there, neighbours.draws)
    each = chain.from_iterable(zip(*(t.unbind(0) for t in block), strict=True) for block in blocks)

    def weight(i: int, built: Any, rows: Tensor) -> float:
        inputs, changed = (tuple(t[parts[i]] for t in tensors) for tensors in (point, built))
        return similarity(similarity_func, inputs, changed, rows[i : i + 1].to(point[0].device), told[i])

    rows = [[weight(i, built, rows) for i in range(len(parts))] for built, rows in zip(each, whole, strict=True)]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(z), len(parts))


def _told(game: Game, part: slice) -> dict[str, Any]:
    """What functions of the caller's are told by name, about a part of the batch."""
    features, replaced = game.features, game.replacing

    def those(tensors: Any) -> Any:
        found = tuple(t if len(t) == 1 else t[part] for t in tensors)
        return found[0] if len(found) == 1 else found

    return {
        "feature_mask": those(features.ids) if isinstance(features, Features) else None,
        "baselines": those(replaced) if isinstance(replaced, tuple) else None,
        "num_interp_features": features.count,
    }
