"""Text files with a row per line, or per record; one look at the file notes where each begins, then any of them is read."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrkit.errors import UsageError

_LOOKED_AT = 100  # lines, for one that is JSON
_BLANK = re.compile(rb"\r?\n\s*\Z")  # the end of a row, and blank lines that follow


class Jsonl:
    """JSON objects, one per line; the keys of the first that can be read are the columns.

    Raises:
        UsageError: the file has no rows, or a line is no JSON object, or lacks a column.
    """

    explained = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = _beginnings(path, quoted=False)
        if len(self) < 1:
            raise UsageError(f"{path} has no rows")
        self.columns = self._keys()

    def _keys(self) -> tuple[str, ...]:
        for row in range(min(_LOOKED_AT, len(self))):
            with suppress(UsageError):
                return tuple(next(self._objects(row, row + 1)))
        return tuple(next(self._objects(0, 1)))  # which says what is wrong

    def __len__(self) -> int:
        return len(self._at) - 1

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The values of each key."""
        rows = list(self._objects(start, stop))
        for number, row in enumerate(rows, start):
            if lacking := [name for name in self.columns if name not in row]:
                raise UsageError(f"{self._path}: row {number} has no {lacking[0]!r}, which other rows have")
        return {name: [row[name] for row in rows] for name in self.columns}

    def _objects(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(_cut(self._path, self._at[start : stop + 1]), start):
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise UsageError(f"{self._path}: row {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise UsageError(f"{self._path}: row {number} is no JSON object, like {{'x': [1, 2]}}")
            yield row


class Csv:
    """Comma-separated values, of which the first line may name the columns. Columns of numbers are read as numbers.

    That of ids stays text as it is written: 007 and 7 are two of them, and numbers would lose digits after the sixteenth.

    Raises:
        UsageError: the file has no rows, or they have different lengths.
    """

    explained = ()

    def __init__(self, path: Path, ids: str | None = None) -> None:
        self._path, self._ids = path, ids
        self._at = _beginnings(path, quoted=True)
        first = next(self._records(0, 1), []) if len(self._at) > 1 else []
        if first and any(_number(cell) is None for cell in first):
            self.columns = tuple(cell.strip() for cell in first)
            self._at = self._at[1:]
        else:
            self.columns = tuple(str(place) for place in range(1, len(first) + 1))
        if len(self) < 1:
            raise UsageError(f"{path} has no rows; expected at least one line of numbers")

    def __len__(self) -> int:
        return len(self._at) - 1

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The columns; one with anything else than numbers holds text."""
        import numpy as np

        rows = list(self._records(start, stop))
        for number, row in enumerate(rows, start):
            if len(row) != len(self.columns):
                raise UsageError(f"{self._path}: row {number} has {len(row)} cells, expected {len(self.columns)}")
        found: dict[str, Any] = {}
        for name, cells in zip(self.columns, zip(*rows, strict=True), strict=True):
            numbers = [None] if name == self._ids else [_number(cell) for cell in cells]
            found[name] = list(cells) if None in numbers else np.array(numbers)
        return found

    def _records(self, start: int, stop: int) -> Iterator[list[str]]:
        for number, piece in enumerate(_cut(self._path, self._at[start : stop + 1]), start):
            text = _BLANK.sub(b"", piece).decode().removeprefix("\ufeff")
            try:
                yield next(csv.reader([text]), [])
            except csv.Error as error:
                raise UsageError(
                    f"{self._path}: row {number} cannot be read ({error}); expected cells with a quote or a line break in "
                    "quotes, and lines that end in a newline"
                ) from error


def _beginnings(path: Path, *, quoted: bool) -> Any:
    """Where each row begins, and where the last ends, in bytes; with quotes a row may go on in the next line."""
    import numpy as np

    found, at, open_quote = [], 0, False
    with path.open("rb") as file:
        for line in file:
            if not open_quote and line.strip():
                found.append(at)
            at += len(line)
            if quoted and line.count(b'"') % 2:
                open_quote = not open_quote
    return np.array([*found, at], dtype=np.int64)


def _cut(path: Path, at: Any) -> Iterator[bytes]:
    """The rows that begin at all but the last of these places, each with the blank lines that follow it."""
    places = at.tolist()
    with path.open("rb") as file:
        file.seek(places[0])
        yield from (file.read(stop - start) for start, stop in pairwise(places))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
