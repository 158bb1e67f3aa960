"""How many points share a forward pass: several of a small batch, or parts of a large one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import repeat
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import torch
from torch import Tensor

from attrkit.protocols import Executor, Tensors
from attrkit.runner.learnt import Habit
from attrkit.runner.memory import give_back, ran_out
from attrkit.runner.queues import Queue
from attrkit.runner.sizing import Sizing

Point = TypeVar("Point")


class UnpackableError(Exception):
    """Points cannot share a forward pass: what came back does not have one row per example."""


@attrs.frozen
class Outcome:
    """What one point gave: the objective, the site's value and the objective's gradient (or relevance) there."""

    value: Tensor
    at: Tensors = ()
    gradient: Tensors = ()

    def close(self, other: Outcome, rounding: float = 8) -> bool:
        """Whether two outcomes are the same up to rounding, of so many last digits where precision is low."""
        mine, theirs = (self.value, *self.at, *self.gradient), (other.value, *other.at, *other.gradient)
        return all(_close(a, b, rounding) for a, b in zip(mine, theirs, strict=True))

    @classmethod
    def joined(cls, parts: list[Outcome]) -> Outcome:
        """The outcome for a batch from those of its parts."""
        if len(parts) == 1:
            return parts[0]
        at, gradient = (
            tuple(map(torch.cat, zip(*e, strict=True))) for e in ([p.at for p in parts], [p.gradient for p in parts])
        )
        return cls(torch.cat([p.value for p in parts]), at, gradient)

    def on(self, device: torch.device) -> Outcome:
        """The same on a device."""
        at, gradient = (tuple(t.to(device) for t in part) for part in (self.at, self.gradient))
        return Outcome(self.value.to(device), at, gradient)

    def fits(self, rows: int) -> bool:
        """Whether there are this many rows of everything."""
        return all(t.shape[:1] == (rows,) for t in (self.value, *self.at))

    def split(self, copies: int) -> list[Outcome]:
        """The outcome of each of ``copies`` points that shared a pass."""
        if copies == 1:
            return [self]
        at = zip(*(t.chunk(copies) for t in self.at), strict=True) if self.at else repeat(())
        gradient = zip(*(t.chunk(copies) for t in self.gradient), strict=True) if self.gradient else repeat(())
        return [Outcome(*parts) for parts in zip(self.value.chunk(copies), at, gradient, strict=False)]


def _close(a: Tensor, b: Tensor, digits: float) -> bool:
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    scale = float(b.abs().nan_to_num().amax()) if b.numel() else 0.0
    eps = torch.finfo(b.dtype).eps
    rounding = digits * eps if eps > 1e-4 else 4 * eps**0.5  # of sums over many terms, float32 also in that of tensor cores
    return bool(torch.allclose(a, b, rtol=rounding, atol=rounding * scale, equal_nan=True))


Pack: TypeAlias = "tuple[Sequence[Point], Outcome]"
#: One forward pass: the moving tensors, how many points they hold, and which part of the batch.
Evaluate: TypeAlias = Callable[[Tensors, int, slice], Outcome]


def together(points: Sequence[Tensors]) -> Tensors:
    """Points as one larger batch."""
    return points[0] if len(points) == 1 else tuple(map(torch.cat, zip(*points, strict=True)))


@attrs.frozen
class Packing(Generic[Point]):
    """Packs points over a batch of ``n`` examples into passes of as many rows as ``sizing`` says; ``join`` makes the batch.

    ``ways`` evaluate several points in a pass, the cheapest first; the last also evaluates one, or a part of the batch, and
    what it says of one is the truth. The first time that points share a pass, one or two of them are evaluated alone too.

    ``apart`` says whether points are known not to share a pass, ``whole`` that no pass is over a part of the batch, for models
    whose rows influence one another. Without ``probing`` points share a pass in the last way, and nothing is found out.
    """

    n: int
    ways: tuple[Evaluate, ...]
    join: Callable[[Sequence[Point]], Tensors]
    sizing: Sizing
    habit: Habit
    apart: Callable[[], bool] = lambda: False
    whole: bool = False
    probing: bool = True
    uncounted: Callable[[], AbstractContextManager[None]] = nullcontext  # for passes that find out about the model
    short: Callable[[int], None] = lambda _: None  # told where memory ran out in a pass over so many rows

    def packs(
        self, points: Queue[Point], executor: Executor, around: Callable[[Any], Any] = lambda do: do
    ) -> Iterator[Pack[Point]]:
        """Points that shared a pass, and the outcome of all of them, in order. ``around`` is put around pieces of work."""
        parts, alone = list[Outcome | None](), around(self._alone)
        for work, found in executor.run(self._work(points), around(self._done)):
            if isinstance(work, _Group):
                yield from found
                continue
            parts.append(found)
            if work.part.stop == self.n:
                yield work.whole.point, self._of_parts(work.whole.point, parts, alone)
                parts = []

    def _work(self, points: Queue[Point]) -> Iterator[_Group[Point] | _Part[Point]]:
        """Points that share a pass, or a part of the batch at one point."""
        first = True
        while points.more():
            rows = self.sizing.rows  # once: another thread may lower it meanwhile
            group = points.taken(max(1, rows // self.n) if self.n and not self.apart() else 1)
            if self.n <= rows or self.whole or self.habit.undivided:
                more = points.more()
                yield _Group(group, more, whole=first and not more)
                first = False
                continue
            first = False
            whole, more = _Whole(group, self.join), points.more()
            for low in range(0, self.n, rows):
                part = slice(low, min(low + rows, self.n))
                yield _Part(whole, part, more or part.stop < self.n)

    def _done(self, work: _Group[Point] | _Part[Point]) -> tuple[Any, Any]:
        """A piece of work, and what came of it."""
        if isinstance(work, _Group):
            return work, self._group(work.points, more=work.more, whole=work.whole)
        return work, None if self.habit.undivided else self._part(work)

    def _group(self, group: Sequence[Point], *, more: bool, whole: bool = False) -> list[Pack[Point]]:
        rows = len(group) * self.n
        try:
            return self._shared(group, more=more, whole=whole)
        except Exception as error:
            if not ran_out(error) or (len(group) == 1 and (rows < 2 or self.whole or self.habit.undivided)):
                raise
        self._halve(rows)  # not in the handler, which keeps what the pass has allocated
        if len(group) == 1:
            part = slice(0, self.n)
            return [(group, self._of_parts(group, [self._part(_Part(_Whole(group, self.join), part, more))], self._alone))]
        half = len(group) // 2
        return [*self._group(group[:half], more=more), *self._group(group[half:], more=more)]

    def _shared(self, group: Sequence[Point], *, more: bool, whole: bool) -> list[Pack[Point]]:
        if len(group) > 1 and self.habit.way is None and self.probing:
            return self._probed(group, more=more)
        if len(group) > 1 and self.habit.way == len(self.ways):
            return self._each_alone(group)
        way = self.ways[-1 if len(group) == 1 or self.habit.way is None else self.habit.way]
        try:
            with self.sizing.observed(len(group) * self.n, more=more, whole=whole):
                return [(group, self._packed(group, way))]
        except UnpackableError:
            return self._each_alone(group)

    def _part(self, work: _Part[Point]) -> Outcome | None:
        """The outcome for a part of the batch; None where the model does not return a row for each example."""
        low, stop = work.part.start, work.part.stop
        found: list[Outcome] = []
        while low < stop:
            part = slice(low, min(low + self.sizing.rows, stop))
            try:
                tensors = work.whole.tensors
                if any(t.shape[:1] != (self.n,) for t in tensors):
                    return None
                with self.sizing.observed(part.stop - low, more=work.more):
                    outcome = self.ways[-1](tuple(t[part] for t in tensors), 1, part)
            except UnpackableError:
                return None
            except Exception as error:
                if not ran_out(error) or part.stop - low < 2:
                    raise
            else:
                if not outcome.fits(part.stop - low):
                    return None
                found.append(outcome)
                low = part.stop
                continue
            self._halve(part.stop - low)
        return Outcome.joined(found)

    def _of_parts(
        self, point: Sequence[Point], parts: Sequence[Outcome | None], alone: Callable[[Sequence[Point]], Outcome]
    ) -> Outcome:
        """The outcome of one point from those of parts of the batch; by ``alone`` where it cannot be taken in parts."""
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return Outcome.joined(known)
        self.habit.undivided = True
        return alone(point)

    def _halve(self, rows: int) -> None:
        give_back(self.sizing.device)
        self.sizing.halve(rows)
        self.short(rows)

    def _probed(self, group: Sequence[Point], *, more: bool) -> list[tuple[Sequence[Point], Outcome]]:
        """The outcome of the first points that share a pass, evaluated in the fastest way that changes nothing."""
        with self.uncounted():
            last = self._alone(group[-1:])
            first = self._alone(group[:1]) if len(self.ways) > 1 else None
            mixing = self.apart() or self._mixes(self.join(group[-1:]), last)
        right: list[tuple[float, int, Outcome]] = []
        for index, way in enumerate(() if mixing else self.ways):
            started = time.perf_counter()
            try:
                with nullcontext() if right else self.sizing.observed(len(group) * self.n, more=more):
                    outcome = self._packed(group, way)
            except UnpackableError:
                continue
            except Exception as error:
                if ran_out(error):
                    raise
                continue  # the model does not bear being called that way, whatever it raises
            each = outcome.split(len(group))
            if each[-1].close(last) and (first is None or each[0].close(first)):
                right.append((time.perf_counter() - started, index, outcome))
                if index == 0:  # it does a part of the work of the others
                    break
        if not right:
            self.habit.way = len(self.ways)
            return [*self._each_alone(group[:-1]), (group[-1:], last)]
        _, self.habit.way, outcome = min(right, key=lambda found: found[:2])
        return [(group, outcome)]

    def _mixes(self, point: Tensors, alone: Outcome) -> bool:
        """Whether a batch of other values in the same pass changes what the model says of a point."""
        try:
            other = tuple(0.5 - 1.5 * t.roll(1, 0) if t.is_floating_point() else t.roll(1, 0) for t in point)
            mixed, twice = (
                self.ways[-1](tuple(map(torch.cat, zip(point, beside, strict=True))), 2, slice(0, self.n))
                for beside in (other, point)
            )
        except Exception as error:
            if ran_out(error):
                raise
            return False  # such values may be refused, which says nothing
        if not (mixed.fits(2 * self.n) and twice.fits(2 * self.n)):
            return False
        return not (mixed.split(2)[0].close(twice.split(2)[0], rounding=1) and twice.split(2)[0].close(alone))

    def _alone(self, point: Sequence[Point]) -> Outcome:
        return self.ways[-1](self.join(point), 1, slice(0, self.n))

    def _each_alone(self, group: Sequence[Point]) -> list[tuple[Sequence[Point], Outcome]]:
        each = (group[i : i + 1] for i in range(len(group)))
        return [(point, self._alone(point)) for point in each]

    def _packed(self, group: Sequence[Point], evaluate: Evaluate) -> Outcome:
        """Points in one pass."""
        rows, tensors = len(group) * self.n, self.join(group)
        if len(group) > 1 and any(t.shape[:1] != (rows,) for t in tensors):
            raise UnpackableError
        outcome = evaluate(tensors, len(group), slice(0, self.n))
        if len(group) > 1 and not outcome.fits(rows):
            raise UnpackableError
        return outcome


@attrs.frozen
class _Group(Generic[Point]):
    """Points that share a pass; ``more`` follow, or these are the ``whole`` of a call, or its rest."""

    points: Sequence[Point]
    more: bool
    whole: bool


@attrs.frozen(slots=False)
class _Whole(Generic[Point]):
    """One point, which is made when its first part is computed."""

    point: Sequence[Point]
    join: Callable[[Sequence[Point]], Tensors]

    @cached_property
    def tensors(self) -> Tensors:
        """Its moving tensors."""
        return self.join(self.point)


@attrs.frozen
class _Part(Generic[Point]):
    """A part of the batch at one point; ``more`` passes follow."""

    whole: _Whole[Point]
    part: slice
    more: bool
