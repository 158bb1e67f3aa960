"""Which plugins a user leaves out: by the environment, or in the ``pyproject.toml`` of the project that this runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs

from attrkit.errors import UsageError, did_you_mean

_VARIABLES = {"only": "ATTRKIT_ONLY", "block": "ATTRKIT_BLOCK"}


@attrs.frozen
class Patterns:
    """Patterns as fnmatch has them, and where they were given."""

    patterns: tuple[str, ...]
    source: str

    def match(self, *labels: str) -> bool:
        """Whether a pattern covers one of several names of a plugin."""
        return any(fnmatchcase(label, pattern) for pattern in self.patterns for label in labels)


@attrs.frozen
class Selection:
    """The only plugins that are wanted, None for all of them, and those that are not."""

    only: Patterns | None
    block: Patterns

    def refusal(self, *labels: str) -> str:
        """Who leaves out a plugin of these names; empty if nobody does."""
        if self.block.match(*labels):
            return self.block.source
        return self.only.source if self.only is not None and not self.only.match(*labels) else ""


def selection(only: tuple[str, ...] | None = None, block: tuple[str, ...] | None = None) -> Selection:
    """What is given, else what the environment says, else the nearest ``[tool.attrkit]`` from the current folder upwards.

    Raises:
        UsageError: that table cannot be read, or says something else; the message names the file and the key.
    """
    found = {"only": _given("only", only), "block": _given("block", block)}
    if None in found.values():
        file, table = _project()
        found = {key: patterns or _listed(key, table, file) for key, patterns in found.items()}
    return Selection(found["only"], found["block"] or Patterns((), ""))


def _given(key: str, given: tuple[str, ...] | None) -> Patterns | None:
    text = os.environ.get(_VARIABLES[key])
    if given is None and text is not None:
        given = tuple(p.strip() for p in text.split(",") if p.strip())
    return None if given is None else Patterns(given, f"{_VARIABLES[key]} or {key}=")


def _project() -> tuple[Path, Mapping[str, Any]]:
    """The nearest ``pyproject.toml`` with a table of attrkit's, and the table; an empty one where there is none."""
    try:
        here = Path.cwd()
    except OSError:  # the folder was removed
        return Path(), {}
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        try:
            data = file.read_bytes()
        except OSError:
            continue
        if b"attrkit" in data and (table := _table(file, data)) is not None:
            return file, table
    return Path(), {}


def _table(file: Path, data: bytes) -> Mapping[str, Any] | None:
    import tomllib

    try:
        tool = tomllib.loads(data.decode()).get("tool", {})
    except ValueError as error:  # of TOML, or of UTF-8
        raise UsageError(f"{file}: cannot be read, for what [tool.attrkit] may say: {error}") from error
    table = tool.get("attrkit") if isinstance(tool, Mapping) else None
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise UsageError(f"{file}: tool.attrkit must be a table with the keys only and block, got {table!r}")
    for key in table:
        if key not in _VARIABLES:
            raise UsageError(f"{file}: [tool.attrkit] has no key {key!r}.{did_you_mean(key, _VARIABLES)} Keys: only, block")
    return table


def _listed(key: str, table: Mapping[str, Any], file: Path) -> Patterns | None:
    patterns = table.get(key)
    if patterns is None:
        return None
    if not isinstance(patterns, list) or not all(isinstance(p, str) and p for p in patterns):
        raise UsageError(
            f"{file}: [tool.attrkit] {key} must be a list of patterns over plugins' names, like ['saliency', 'dist:*'], got "
            f"{patterns!r}"
        )
    return Patterns(tuple(patterns), f"{key} in [tool.attrkit] of {file}")
