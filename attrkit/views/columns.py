"""Rows of text in columns that fit a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

LEAST = 30  # characters for the last column, however narrow the terminal
WIDEST = 44  # of any other column


def columns(rows: Iterable[Sequence[str]], header: Sequence[str] = (), *, width: int = 0) -> list[str]:
    """The lines of a table as wide as ``width``, else as the terminal; cells that are too long go on below."""
    lines = [list(map(str, row)) for row in rows]
    if not lines:
        return []
    titled = [list(header), *lines] if header else lines
    widths = [min(max(len(row[i]) for row in titled), WIDEST) for i in range(len(titled[0]) - 1)]
    room = (width or shutil.get_terminal_size().columns) - sum(widths) - 2 * len(widths)
    return [line for row in titled for line in _row(row, [*widths, max(room, LEAST)])]


def _row(row: list[str], widths: list[int]) -> Iterator[str]:
    cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    for parts in zip_longest(*cells, fillvalue=""):
        yield "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _wrapped(cell: str, width: int) -> list[str]:
    """A cell's lines."""
    lines = textwrap.wrap(cell, width, break_long_words=False) or [""]
    return [part for line in lines for part in _cut(line, width)]


def _cut(word: str, width: int) -> Iterator[str]:
    """A word that is too long, in parts; a dotted path is cut after a dot."""
    while len(word) > width:
        end = word.rfind(".", 0, width) + 1 or width
        yield word[:end]
        word = word[end:]
    yield word
