"""The game: the model's value for any set of features, the others replaced, for all examples and outputs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import chain, count, islice
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
import torch
from torch import Tensor

from attrkit.baselines import distribution
from attrkit.choosing import chosen
from attrkit.coalitions.estimate import Estimate
from attrkit.coalitions.features import Features, Players
from attrkit.coalitions.memory import Memory
from attrkit.coalitions.rows import Rows
from attrkit.coalitions.selecting import selected
from attrkit.errors import AttrkitError, ModelError, UsageError
from attrkit.protocols import Tensors

if TYPE_CHECKING:
    from attrkit.problem import Problem

#: What replaces absent features: tensors; rows that take turns; or a function of numbers of draws.
Replacing: TypeAlias = "Tensors | Rows | Callable[[Tensor], Tensors]"
_BLOCK = 2**20  # entries of a block of coalitions, at most


@attrs.define(slots=False, eq=False)
class Game:
    """The objective as a function of coalitions: sets of features that are there, while the others are replaced.

    A coalition is a row of a boolean tensor of shape ``(k, count)``. Features which are, for every example, what they would be
    replaced by are no players: ``count`` leaves them out, and their score is 0.

    Attributes:
        problem: whose objective it is.
        features: all of the features.
        replacing: what replaces those that are absent.
        players: the features that matter; None where that may be all of them.
        spent: how many values the model was asked for, those of each row of a background counted.
        interrupted: whether the user stopped it (by Ctrl-C).
    """

    problem: Problem
    features: Players
    replacing: Replacing
    players: Tensor | None = None
    spent: int = 0
    interrupted: bool = False
    _memory: Memory = attrs.field(factory=Memory, repr=False)
    _dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, problem: Problem, features: Any, replacement: Any, background: Any) -> Game:
        """The game of a problem; see :meth:`attrkit.Problem.game`."""
        players = _features(problem, features)
        replacing = _replacing(problem, players, replacement, background)
        game = cls(problem, players, replacing)
        if not problem.point[0].shape[0]:
            game.players = torch.zeros(0, dtype=torch.long)  # to no example does any feature matter
        elif isinstance(players, Features) and isinstance(replacing, tuple):
            moved = tuple([x != b for x, b in zip(problem.point, replacing, strict=True)])
            if not all(bool(m.all()) for m in moved):
                matters = players.totals(moved).any(0)
                game.players = None if bool(matters.all()) else torch.nonzero(matters.cpu()).flatten()
        return game

    @property
    def count(self) -> int:
        """How many features there are that matter."""
        return self.features.count if self.players is None else len(self.players)

    @property
    def rows(self) -> int:
        """How many rows take turns in place of absent features; 1 without a background."""
        return len(self.replacing) if isinstance(self.replacing, Rows) else 1

    def generator(self, draw: int) -> torch.Generator:
        """The random generator, on the CPU, of one draw, the same whichever examples there are."""
        return self.problem.common_generator(draw)

    # Values.

    @cached_property
    def full(self) -> Tensor:
        """The value with all features, shape ``(batch, *outputs)``, float64 on the CPU."""
        found: Tensor = self.values(torch.ones(1, self.count, dtype=torch.bool))[0]
        return found

    @cached_property
    def empty(self) -> Tensor:
        """The value without any feature, the mean over the rows of a background."""
        found: Tensor = self.values(torch.zeros(1, self.count, dtype=torch.bool))[0]
        return found

    def values(self, coalitions: Tensor, draws: Tensor | None = None, *, partial: bool = False) -> Tensor:
        """The values of coalitions, shape ``(k, batch, *outputs)``, float64 on the CPU; of known ones they cost nothing.

        Args:
            coalitions: boolean, shape ``(k, count)``.
            draws: the row of the background for each, or the draw of a replacement that draws, shape ``(k,)``; without, the
                value is the mean over the background, or that of the first draw.
            partial: where the user interrupts, return the values of the first coalitions, and note that in ``interrupted``.

        Raises:
            ModelError: the model returned NaN or infinity.
        """
        if draws is None and isinstance(self.replacing, Rows):
            rows = torch.arange(self.rows).repeat(len(coalitions))
            each = self.values(coalitions.repeat_interleave(self.rows, 0), rows, partial=partial)
            whole = len(each) // self.rows
            averaged: Tensor = each[: whole * self.rows].unflatten(0, (whole, self.rows)).mean(1)
            return averaged
        if draws is None and not isinstance(self.replacing, tuple):
            draws = torch.zeros(len(coalitions), dtype=torch.long)
        new, places = self._memory.news(coalitions, draws)
        parts: list[Tensor] = []
        asked = coalitions if len(new) == len(coalitions) else coalitions[new]
        try:
            blocks = [(asked,)] if draws is None else [(asked, draws[new])]
            parts.extend(self._evaluated(blocks, len(asked)) if len(asked) else ())
        except BaseException as error:
            stopped = partial and isinstance(error, KeyboardInterrupt) and bool(parts)
            self._memory.forget(sum(len(part) for part in parts) if stopped else 0)
            if not stopped:
                raise
            self.interrupted = True
        known = self._memory.add(torch.cat(parts).double().cpu()) if parts else self._memory.add(torch.empty(0))
        if self.interrupted:
            have = torch.nonzero(places >= len(known)).flatten()
            places = places[: int(have[0])] if len(have) else places
        values: Tensor = known[places]
        _check_finite(values)
        return values

    def streamed(self, blocks: Iterable[Tensor], total: int) -> Tensor:
        """The values of a stream as one tensor, shape ``(total, batch, *outputs)``."""
        parts = list(self.stream(blocks, total))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def stream(self, blocks: Iterable[Tensor], total: int | None = None) -> Iterator[Tensor]:
        """The values of coalitions, some at a time, in order, as the model returned them; none is kept.

        ``blocks`` are boolean, shape ``(k, count)``, of any ``k``; ``total`` is how many coalitions there are in all. A
        replacement that draws makes a new draw for each; over the rows of a background the value is the mean.
        """
        rows = self.rows
        total = None if total is None else total * rows
        if isinstance(self.replacing, tuple):
            return self._evaluated(zip(blocks, strict=False), total)
        if isinstance(self.replacing, Rows):
            drawn = ((b.repeat_interleave(rows, 0), torch.arange(rows).repeat(len(b))) for b in blocks)
            return _means(self._evaluated(drawn, total), rows)
        numbers = count()
        drawn = ((b, torch.tensor([next(numbers) for _ in range(len(b))])) for b in blocks)
        return self._evaluated(drawn, total)

    def _evaluated(self, blocks: Iterable[Tensors], total: int | None) -> Iterator[Tensor]:
        """The values of coalitions and their draws."""
        blocks = iter(blocks)
        head = list(islice(blocks, 1))  # coalitions with all features and with none come first, where they are asked for
        first = head[0][0][:2].cpu().numpy().tolist() if head else []
        for found in self.problem.values_of(chain(head, blocks), self._built, total):
            values = found.long() if found.dtype is torch.bool else found  # which can be subtracted
            self._note_ends(first, values)
            self._dtype = values.dtype
            self.spent += values.shape[0]
            yield values

    def _note_ends(self, first: list[list[bool]], values: Tensor) -> None:
        """Keep the values with all features and with none, which the result reports, where those are the next of the first."""
        for place, coalition in enumerate(first[: values.shape[0]]):
            if all(coalition):
                self.problem.outputs.setdefault("point", values[place])
            elif self.rows == 1 and not any(coalition):
                self.problem.outputs.setdefault("baseline", values[place])
        del first[: values.shape[0]]

    def _built(self, described: Tensors) -> Tensors:
        """The site's value for coalitions, and for draws where there are any: shape ``(k * batch, ...)``."""
        coalitions, *draws = described
        if self.players is not None:
            every = coalitions.new_ones(len(coalitions), self.features.count)
            every[:, self.players] = coalitions
            coalitions = every
        point = self.problem.point
        present = self.features.present(coalitions.to(point[0].device))
        replaced = self.replacing if isinstance(self.replacing, tuple) else self._drawn(*draws)
        triples = zip(present, point, replaced, strict=True)
        return tuple([selected(p, x, b.to(x)).flatten(0, 1) for p, x, b in triples])

    def _drawn(self, numbers: Tensor) -> Tensors:
        assert not isinstance(self.replacing, tuple)  # for the type checker
        with torch.no_grad():
            found = self.replacing(numbers)
        for t, x in zip(found, self.problem.point, strict=True):
            if t.shape[:1] != numbers.shape or t.shape[1] not in (1, len(x)) or t.shape[2:] != x.shape[1:]:
                raise AttrkitError(
                    f"replacement: for {len(numbers)} draws it must return shape ({len(numbers)}, 1 or {len(x)}, "
                    f"{', '.join(map(str, x.shape[1:]))}), it returned {tuple(t.shape)}"
                )
        return found

    # Results.

    def spread(self, scores: Tensor) -> Tensors:
        """Scores of shape ``(count, batch, *outputs)`` at each position of the features, in the values' precision at least."""
        every = self._of_all(scores)
        return self.features.spread(every.to(self.problem.point[0].device, self._dtype_of(scores)), self.problem.point)

    def attributions(self, estimate: Estimate) -> Tensors:
        """An estimate as attributions; errors and details are noted for the result."""
        problem, errors = self.problem, estimate.errors
        problem.details |= {"evaluations": self.spent, **estimate.details, "scores": self._of_all(estimate.scores).clone()}
        if errors is not None:
            problem.errors = self.spread(errors)
            problem.details["degrees_of_freedom"] = estimate.degrees
        return self.spread(estimate.scores)

    def _of_all(self, scores: Tensor) -> Tensor:
        """Scores of all features, 0 for those that do not matter, shape ``(batch, *outputs, features)``."""
        if self.players is not None:
            every = scores.new_zeros(self.features.count, *scores.shape[1:])
            every[self.players.to(scores.device)] = scores
            scores = every
        return scores.movedim(0, -1)

    def _dtype_of(self, scores: Tensor) -> torch.dtype:
        """That of the values; of estimates, which are fractions, a real one."""
        if self._dtype.is_floating_point or not scores.is_floating_point():
            return self._dtype
        return torch.get_default_dtype()

    def totals(self, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The sum over each feature's positions of a function of value and replacement, shape ``(batch, count)``, float64.

        Raises:
            UsageError: features share positions, or the replacement differs from draw to draw.
        """
        if not isinstance(self.features, Features) or not isinstance(self.replacing, tuple):
            raise UsageError("what is compared here needs features that share no position, and one replacement for all draws")
        pairs = zip(self.problem.point, self.replacing, strict=True)
        found = self.features.totals(tuple(of(x.double(), b.double()) for x, b in pairs)).cpu()
        return found if self.players is None else found[:, self.players]

    def blocks(self, total: int, each: int = 1) -> Iterator[range]:
        """The numbers below ``total`` in runs, of which a boolean block of ``each`` coalitions a number has a bounded size.

        A number is never divided.
        """
        step = max(1, _BLOCK // max(1, self.count * each))
        return (range(low, min(low + step, total)) for low in range(0, total, step))

    def all_but_one(self) -> Iterator[Tensor]:
        """The coalition of all features, then those that lack one, in blocks; these are kept, and must not be written into."""
        return (_lacking(self.count, run) for run in self.blocks(self.count + 1))


@lru_cache(maxsize=8)
def _lacking(count: int, run: range) -> Tensor:
    """Coalitions that nobody writes into: number 0 of all features, number i of those without the one before."""
    return torch.arange(count, device="cpu") != torch.arange(run.start - 1, run.stop - 1, device="cpu")[:, None]


def _features(problem: Problem, given: Any) -> Players:
    mask = given
    if not (given is None or isinstance(given, Tensor | tuple)) and isinstance(given, Players):
        return given
    if isinstance(given, str | dict) or callable(given):
        mask = chosen("segmenters", given, "feature_mask")(problem.point)
    return Features.of(problem.point, mask)


def _replacing(problem: Problem, features: Players, replacement: Any, background: Any) -> Replacing:
    if background is not None and replacement is not None:
        raise UsageError("background and replacement both say what absent features are replaced by; give one of them")
    if background is not None:
        return Rows(distribution(background, problem.point, "background"))
    if replacement is None:
        return problem.baseline
    part = chosen("replacements", replacement, "replacement")
    if part.options.get("feature_mask", part) is None:  # it goes by features, and by those of the game unless told otherwise
        part = attrs.evolve(part, options={**part.options, "feature_mask": features})
    found = part(problem)
    if isinstance(found, Tensor):
        found = (found,)
    if isinstance(found, tuple):
        return tuple(_fitting(b, x) for b, x in zip(found, problem.point, strict=True))
    if isinstance(found, Rows):
        return found
    if callable(found):
        return cast("Callable[[Tensor], Tensors]", found)
    raise AttrkitError(f"replacement {replacement!r} must return tensors, attrkit.Rows or a function, it returned {found!r}")


def _fitting(replaced: Any, x: Tensor) -> Tensor:
    if not isinstance(replaced, Tensor) or torch.broadcast_shapes(replaced.shape, x.shape) != x.shape:
        got = tuple(replaced.shape) if isinstance(replaced, Tensor) else type(replaced).__name__
        raise AttrkitError(f"replacement: it must return a tensor that broadcasts to {tuple(x.shape)}, it returned {got}")
    return replaced.detach().to(x).expand_as(x)


def _means(values: Iterator[Tensor], rows: int) -> Iterator[Tensor]:
    """The means of ``rows`` values each."""
    rest: Tensor | None = None
    for part in values:
        together = part if rest is None else torch.cat([rest, part])
        whole = len(together) // rows
        rest = together[whole * rows :]
        if whole:
            yield together[: whole * rows].unflatten(0, (whole, rows)).mean(1)


def _check_finite(values: Tensor) -> None:
    if not isfinite(values.sum().item()):  # one reading; the sum of finite numbers may be too large, so look again
        bad = int((~values.flatten(1).isfinite().all(1)).sum())
        if bad:
            raise ModelError(
                f"the model returned NaN or infinity for {bad} of {len(values)} coalitions of features, from which nothing can "
                "be estimated; choose a replacement (or baseline) that the model bears"
            )
