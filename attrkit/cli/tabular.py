"""Tables of numbers as text: comma-separated values, with or without names of the columns."""

from __future__ import annotations

import csv
from pathlib import Path

from attrkit.errors import UsageError


def read_csv(path: Path) -> tuple[tuple[str, ...], list[list[float]]]:
    """The names of the columns, empty where the file has none, and the rows.

    Raises:
        UsageError: the file is no text, has no rows, rows of different lengths, or a cell that is no number; says where.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: expected comma-separated values in UTF-8: {error}") from error
    labels: tuple[str, ...] = ()
    if lines and any(_number(cell) is None for cell in lines[0][1]):
        labels = tuple(cell.strip() for cell in lines.pop(0)[1])
    if not lines:
        raise UsageError(f"{path} has no rows; expected at least one line of numbers")
    names = labels or tuple(str(i) for i in range(1, 1 + len(lines[0][1])))
    return labels, [_row(f"{path}:{number}", line, names) for number, line in lines]


def _row(place: str, line: list[str], names: tuple[str, ...]) -> list[float]:
    if len(line) != len(names):
        raise UsageError(f"{place}: expected {len(names)} numbers, got {len(line)}")
    found = []
    for name, cell in zip(names, line, strict=True):
        value = _number(cell)
        if value is None:
            raise UsageError(f"{place}: expected a number in column {name}, got {cell.strip()!r}")
        found.append(value)
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
