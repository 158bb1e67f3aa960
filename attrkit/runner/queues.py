"""What waits to share a pass: points one by one, or blocks of rows that describe them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import attrs
import torch

from attrkit.protocols import Tensors

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Queue(Protocol[Item_co]):
    """Gives the next of what waits."""

    def taken(self, most: int) -> Sequence[Item_co]: ...  # noqa: D102 - at least one where there are more
    def more(self) -> bool: ...  # noqa: D102


@attrs.define
class Listed(Generic[Item]):
    """Points one by one. No more is drawn from where they come from than is taken, and one to know whether there are more."""

    points: Iterable[Item]
    _rest: Iterator[Item] = attrs.field(init=False, default=attrs.Factory(lambda self: iter(self.points), takes_self=True))
    _next: list[Item] = attrs.field(factory=list, init=False)

    def taken(self, most: int) -> list[Item]:
        """The next ones."""
        found = [*self._next, *islice(self._rest, most - len(self._next))]
        self._next = []
        return found

    def more(self) -> bool:
        """Whether any are left."""
        self._next = self._next or list(islice(self._rest, 1))
        return bool(self._next)


@attrs.frozen
class Block(Sequence[Tensors]):
    """Rows of tensors that belong together."""

    tensors: Tensors

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __getitem__(self, rows: Any) -> Any:
        return Block(tuple(t[rows] for t in self.tensors))


@attrs.define
class Blocks:
    """Blocks of rows, whatever their size: tensors with as many rows each."""

    blocks: Iterable[Tensors]
    _rest: Iterator[Tensors] = attrs.field(init=False, default=attrs.Factory(lambda self: iter(self.blocks), takes_self=True))
    _waiting: deque[Block] = attrs.field(factory=deque, init=False)

    def taken(self, most: int) -> Block:
        """The next rows, from as many blocks as have them."""
        parts: list[Block] = []
        while most and self.more():
            first = self._waiting.popleft()
            if len(first) > most:
                self._waiting.appendleft(first[most:])
                first = first[:most]
            parts.append(first)
            most -= len(first)
        if len(parts) == 1:
            return parts[0]
        return Block(tuple(map(torch.cat, zip(*(part.tensors for part in parts), strict=True))))

    def more(self) -> bool:
        """Whether any are left."""
        while not self._waiting:
            if (block := next(self._rest, None)) is None:
                return False
            if block[0].shape[0]:
                self._waiting.append(Block(block))
        return True
