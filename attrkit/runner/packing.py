"""How many points share a forward pass: several of a small batch, or parts of a large one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, repeat
from typing import TypeAlias

import attrs
import torch
from torch import Tensor

from attrkit.protocols import Executor, Tensors
from attrkit.runner.learnt import Habit
from attrkit.runner.sizing import Sizing


class UnpackableError(Exception):
    """Points cannot share a forward pass: what came back does not have one row per example."""


@attrs.frozen
class Outcome:
    """What one point gave: the objective, the site's value and the objective's gradient (or relevance) there."""

    value: Tensor
    at: Tensors = ()
    gradient: Tensors = ()

    def close(self, other: Outcome) -> bool:
        """Whether two outcomes are the same up to rounding."""
        mine, theirs = (self.value, *self.at, *self.gradient), (other.value, *other.at, *other.gradient)
        return all(_close(a, b) for a, b in zip(mine, theirs, strict=True))

    @classmethod
    def joined(cls, parts: list[Outcome]) -> Outcome:
        """The outcome for a batch from those of its parts."""
        if len(parts) == 1:
            return parts[0]
        at, gradient = (
            tuple(map(torch.cat, zip(*e, strict=True))) for e in ([p.at for p in parts], [p.gradient for p in parts])
        )
        return cls(torch.cat([p.value for p in parts]), at, gradient)

    def split(self, copies: int, rows: int) -> list[Outcome]:
        """The outcome of each of ``copies`` points that shared a pass. Raises UnpackableError where rows do not add up."""
        if copies == 1:
            return [self]
        if any(len(t) != copies * rows for t in (self.value, *self.at)):
            raise UnpackableError
        at = zip(*(t.split(rows) for t in self.at), strict=True) if self.at else repeat(())
        gradient = zip(*(t.split(rows) for t in self.gradient), strict=True) if self.gradient else repeat(())
        return [Outcome(*parts) for parts in zip(self.value.split(rows), at, gradient, strict=False)]


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    scale = float(b.abs().nan_to_num().amax()) if b.numel() else 0.0
    rounding = 4 * torch.finfo(b.dtype).eps ** 0.5  # of sums over many terms, also in the reduced precision of tensor cores
    return bool(torch.allclose(a, b, rtol=rounding, atol=rounding * scale, equal_nan=True))


#: One forward pass: the moving tensors, how many points they hold, and which part of the batch.
Evaluate: TypeAlias = Callable[[Tensors, int, slice], Outcome]


@attrs.frozen
class Packing:
    """Packs points over a batch of ``n`` examples into passes of as many rows as ``sizing`` says.

    ``ways`` evaluate several points in a pass, the cheapest first; the last also evaluates one, or a part of the batch, and
    what it says of one is the truth. The first time that points share a pass, one or two of them are evaluated alone too.

    ``apart`` keeps points from sharing a pass, for models whose rows influence one another.
    """

    n: int
    ways: tuple[Evaluate, ...]
    sizing: Sizing
    habit: Habit
    apart: bool = False
    uncounted: Callable[[], AbstractContextManager[None]] = nullcontext  # for passes that find out about the model

    def stream(self, points: Iterable[Tensors], executor: Executor) -> Iterator[Outcome]:
        """The outcome of each point, in order."""
        for outcomes in executor.run(self._groups(iter(points)), lambda group: self._group(*group)):
            yield from outcomes

    def _groups(self, points: Iterator[Tensors]) -> Iterator[tuple[list[Tensors], bool]]:
        """Points that share a pass, and whether others follow."""
        group = list(islice(points, 1))
        while group:
            group += islice(points, 0 if self.apart else self.sizing.together - 1)
            after = list(islice(points, 1))
            yield group, bool(after)
            group = after

    def _group(self, group: list[Tensors], more: bool) -> list[Outcome]:  # noqa: FBT001 - of _groups
        if len(group) > 1 and self.habit.way is None:
            return self._probed(group, more=more)
        if len(group) > 1 and self.habit.way == len(self.ways):
            return list(map(self._alone, group))
        way = self.ways[-1 if len(group) == 1 or self.habit.way is None else self.habit.way]
        try:
            with self.sizing.observed(len(group) * self.n, more=more):
                return self._packed(group, way)
        except UnpackableError:
            return list(map(self._alone, group))

    def _probed(self, group: list[Tensors], *, more: bool) -> list[Outcome]:
        """The outcomes of the first points that share a pass, evaluated in the fastest way that changes nothing."""
        with self.uncounted():
            last = self._alone(group[-1])
            first = self._alone(group[0]) if len(self.ways) > 1 else None
        right: list[tuple[float, int, list[Outcome]]] = []
        for index, way in enumerate(self.ways):
            started = time.perf_counter()
            try:
                with nullcontext() if right else self.sizing.observed(len(group) * self.n, more=more):
                    outcomes = self._packed(group, way)
            except UnpackableError:
                continue
            except Exception:
                if index == len(self.ways) - 1:
                    raise
                continue  # the model does not bear being called that way
            if outcomes[-1].close(last) and (first is None or outcomes[0].close(first)):
                right.append((time.perf_counter() - started, index, outcomes))
                if index == 0:  # it does a part of the work of the others
                    break
        if not right:
            self.habit.way = len(self.ways)
            return [*([first] if first else []), *map(self._alone, group[1 if first else 0 : -1]), last]
        _, self.habit.way, outcomes = min(right, key=lambda found: found[:2])
        return outcomes

    def _alone(self, point: Tensors) -> Outcome:
        return self.ways[-1](point, 1, slice(0, self.n))

    def _packed(self, group: list[Tensors], evaluate: Evaluate) -> list[Outcome]:
        """Several points in one pass, or one point in several passes."""
        limit = self.n if self.apart else self.sizing.rows
        if (len(group) > 1 or self.n > limit) and any(len(t) != self.n for point in group for t in point):
            raise UnpackableError
        if self.n <= limit:
            tensors = group[0] if len(group) == 1 else tuple(map(torch.cat, zip(*group, strict=True)))
            return evaluate(tensors, len(group), slice(0, self.n)).split(len(group), self.n)
        parts = [slice(low, min(low + limit, self.n)) for low in range(0, self.n, limit)]
        pieces = [evaluate(tuple(t[part] for t in group[0]), 1, part) for part in parts]
        for piece, part in zip(pieces, parts, strict=True):
            if any(len(t) != part.stop - part.start for t in (piece.value, *piece.at)):
                raise UnpackableError
        return [Outcome.joined(pieces)]
