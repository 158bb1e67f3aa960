"""Patterns of module paths whose matching ends soon: a ruleset may come from anybody, and a regular expression may take years.

Python's matcher goes back to every place where a part could have ended too. Time grows with a power of the path's length, one
degree for each part that may end in several places, and exponentially where such a part repeats: few of the former, none of the
latter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LENGTH = 500  # characters of a pattern
OPEN = 5  # parts of it that may end in several places; on a path of 100 characters that takes a fifth of a second at worst
STARS = 10  # of a glob, which stop at a dot

_parser: Any = re._parser  # type: ignore[attr-defined]  # noqa: SLF001 - re parses, and publishes no tree
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def regex_trouble(pattern: str) -> str:
    """Why a regular expression is refused; empty if it is not.

    Raises:
        re.error: it is no regular expression.
    """
    if len(pattern) > LENGTH:
        return _too_many(len(pattern), "characters", LENGTH)
    re.compile(pattern)
    parts = list(_parts(_parser.parse(pattern)))
    if any(repeated and _is_open(name, value) for name, value, repeated in parts):
        return (
            "what repeats holds a repeat or alternatives, so that matching may never end; repeat single characters or [classes]"
        )
    return _too_many(sum(_is_open(name, value) for name, value, _ in parts), "repeats and alternatives", OPEN)


def glob_trouble(pattern: str) -> str:
    """Why a glob is refused; empty if it is not."""
    stars = re.findall(r"\*\*?", pattern)
    return (
        _too_many(len(pattern), "characters", LENGTH)
        or _too_many(stars.count("**"), "wildcards **", OPEN)
        or _too_many(len(stars), "wildcards", STARS)
    )


def _too_many(count: int, what: str, most: int) -> str:
    return f"it has {count} {what}, expected at most {most}; write several entries" if count > most else ""


def _is_open(name: str, value: Any) -> bool:
    """Whether a part may end in several places."""
    return name == "BRANCH" or (name in _REPEATS and value[0] != value[1])


def _parts(tree: Any, *, repeated: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """Every part of a parsed expression: what it is, what it says, and whether it is within what may come more than once."""
    for kind, value in tree:
        name = str(kind)
        yield name, value, repeated
        for inner in _trees(value):
            yield from _parts(inner, repeated=repeated or (name in _REPEATS and value[1] > 1))


def _trees(value: Any) -> Iterator[Any]:
    """The expressions within what a part says."""
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _trees(item)
