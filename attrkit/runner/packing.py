"""How many points share a forward pass: several of a small batch, or parts of a large one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import TypeAlias

import attrs
import torch
from torch import Tensor

from attrkit.protocols import Executor, Tensors

_ROWS = 32  # of a forward pass whose batch is smaller: the cost of a row falls until about there on a CPU


class UnpackableError(Exception):
    """Points cannot share a forward pass: what came back does not have one row per example."""


@attrs.frozen
class Outcome:
    """What one point gave: the objective, the site's value and the objective's gradient (or relevance) there."""

    value: Tensor
    at: Tensors = ()
    gradient: Tensors = ()

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


#: One forward pass: the moving tensors, how many points they hold, and which part of the batch.
Evaluate: TypeAlias = Callable[[Tensors, int, slice], Outcome]


@attrs.frozen
class Packing:
    """Packs points over a batch of ``n`` examples into passes of at most ``limit`` rows.

    ``apart`` keeps points from sharing a pass, for models whose rows influence one another.
    """

    n: int
    limit: int
    apart: bool = False

    @classmethod
    def of(cls, n: int, rows: int | None, *, apart: bool) -> Packing:
        """Within the bound that a caller gave, or by default."""
        return cls(n, rows or max(n, _ROWS), apart)

    def stream(self, points: Iterable[Tensors], evaluate: Evaluate, executor: Executor) -> Iterator[Outcome]:
        """The outcome of each point, in order."""
        together = 1 if self.apart else max(1, self.limit // max(self.n, 1))
        waiting = iter(points)
        groups = iter(lambda: list(islice(waiting, together)), [])
        for outcomes in executor.run(groups, lambda group: self._group(group, evaluate)):
            yield from outcomes

    def _group(self, group: list[Tensors], evaluate: Evaluate) -> list[Outcome]:
        try:
            return self._packed(group, evaluate)
        except UnpackableError:
            return [evaluate(point, 1, slice(0, self.n)) for point in group]

    def _packed(self, group: list[Tensors], evaluate: Evaluate) -> list[Outcome]:
        """Several points in one pass, or one point in several passes."""
        if (len(group) > 1 or self.n > self.limit) and any(len(t) != self.n for point in group for t in point):
            raise UnpackableError
        if self.n <= self.limit or self.apart:
            tensors = group[0] if len(group) == 1 else tuple(map(torch.cat, zip(*group, strict=True)))
            return evaluate(tensors, len(group), slice(0, self.n)).split(len(group), self.n)
        parts = [slice(low, min(low + self.limit, self.n)) for low in range(0, self.n, self.limit)]
        pieces = [evaluate(tuple(t[part] for t in group[0]), 1, part) for part in parts]
        for piece, part in zip(pieces, parts, strict=True):
            if any(len(t) != part.stop - part.start for t in (piece.value, *piece.at)):
                raise UnpackableError
        return [Outcome.joined(pieces)]
