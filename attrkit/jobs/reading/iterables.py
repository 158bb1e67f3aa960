"""Rows that Python code provides: a sequence, an iterable, or a function that returns one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrkit.errors import UsageError
from attrkit.loading.models import load_object

_ASKED_FOR = 100  # rows, for one that can be had
_FORMS = "file.py:name or package.module:name"


class Iterated:
    """Rows are arrays, tensors or numbers, or mappings of these by column.

    Of a tuple, as data sets of torch give them, the columns are counted from 0, and the first is explained.

    What has a length and takes an index is asked for just the rows that are wanted. Of any other iterable rows are passed over
    until the wanted ones come; a function is called again to begin anew.

    Raises:
        UsageError: there is no such name, it gives no rows, or nobody knows how many there are.
    """

    def __init__(self, path: str, folder: Path, rows: int | None) -> None:
        self._name, self._given = path, load_object(path, folder, "data", _FORMS)
        found = self._new()
        self._sequence: Sequence[Any] | None = None
        if hasattr(found, "__len__") and hasattr(found, "__getitem__") and not isinstance(found, Mapping):
            self._sequence = found
        elif not isinstance(found, Iterable) or isinstance(found, Mapping):
            raise UsageError(f"data {path!r}: expected a sequence, an iterable or a function that returns one, got {found!r}")
        stated = _stated(found)
        if rows is not None and stated not in (None, rows):
            raise UsageError(f"data.rows is {rows}, and data {path!r} says that it has {stated}; leave rows out")
        self._rows = rows or (sum(1 for _ in found) if stated is None else stated)
        self._next, self._running = 0, iter(()) if self._sequence is not None else iter(self._new())
        if not self._rows:
            raise UsageError(f"data {path!r} gives no rows")
        first = self._first()
        self.columns = tuple(_by_column(first))
        self.explained = ("0",) if _is_pair(first) else ()

    def _first(self) -> Any:
        """The first row that can be had."""
        for row in range(min(_ASKED_FOR, self._rows)):
            with suppress(Exception):  # such rows are found out later
                return self._taken(row, row + 1)[0]
        return self._taken(0, 1)[0]  # which says what is wrong

    def _new(self) -> Any:
        found = self._given() if callable(self._given) and not hasattr(self._given, "__getitem__") else self._given
        if isinstance(found, Iterator) and found is self._given:
            raise UsageError(f"data {self._name!r} is an iterator, which can be read once only; name a function that makes one")
        return found

    def __len__(self) -> int:
        return self._rows

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The rows' columns."""
        rows = [_by_column(row) for row in self._taken(start, stop)]
        return {name: _stacked([row[name] for row in rows]) for name in self.columns}

    def _taken(self, start: int, stop: int) -> list[Any]:
        if self._sequence is not None:
            return [self._sequence[place] for place in range(start, stop)]
        if self._next > start:
            self._next, self._running = 0, iter(self._new())
        found = []
        while self._next < stop:
            try:
                row = next(self._running)
            except StopIteration:
                raise UsageError(f"data {self._name!r} ended after {self._next} rows, expected {self._rows}") from None
            except BaseException:
                self._next = self._rows  # a generator is at its end then: the next rows are asked for from the beginning
                raise
            if self._next >= start:
                found.append(row)
            self._next += 1
        return found


def _stated(found: object) -> int | None:
    """How many rows there are, if it says so."""
    return len(found) if isinstance(found, Sized) else None


def _by_column(row: Any) -> Mapping[str, Any]:
    if _is_pair(row):
        return {str(place): each for place, each in enumerate(row)}
    return row if isinstance(row, Mapping) else {"": row}


def _is_pair(row: Any) -> bool:
    return isinstance(row, tuple | list) and any(hasattr(each, "shape") for each in row)


def _stacked(values: list[Any]) -> Any:
    import torch

    return torch.stack(values) if isinstance(values[0], torch.Tensor) else values
