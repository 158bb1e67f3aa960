"""Where rulesets are: files on disk, and those that plugins ship, by name."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path

from attrkit.errors import UnknownName, did_you_mean
from attrkit.registry import Registry

SUFFIXES = (".yaml", ".yml")
LISTED = 20  # files that a message names


def located(source: str | os.PathLike[str], registry: Registry, folder: Path) -> tuple[Traversable, str]:
    """The file that ``source`` names, relative to ``folder``, and its name in messages.

    What could be either is a shipped ruleset's name, and a file only where there is no such ruleset.

    Raises:
        UnknownName: there is neither.
    """
    if not isinstance(source, str) or source.endswith(SUFFIXES) or "/" in source or os.sep in source:
        return _on_disk(folder / source)
    if (file := registry.ruleset(source)) is None:
        with suppress(OSError, ValueError):  # a name that no file can have
            if (folder / source).is_file():
                return _on_disk(folder / source)
        shipped = registry.rulesets()
        known = ", ".join(sorted(shipped)) or "none"
        hint = did_you_mean(source, shipped)
        raise UnknownName(f"no ruleset {source!r}; expected a file that ends in .yaml, or one of: {known}.{hint}")
    return file, file.name


def identity(file: Traversable) -> str:
    """The same text for the same file, however it was named."""
    return os.path.realpath(str(file))


def _on_disk(path: Path) -> tuple[Path, str]:
    names: list[str] = []
    with suppress(OSError, ValueError):  # a folder that cannot be listed, a name that is too long
        if path.is_file():
            return path, str(path)
        names = sorted(file.name for file in path.parent.iterdir() if file.suffix in SUFFIXES)
    if path.suffix in SUFFIXES and os.path.isdir(path):  # noqa: PTH112 - which a name that is too long does not upset
        raise UnknownName(f"ruleset {str(path)!r} is a folder; expected a file")
    known = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    hint = did_you_mean(path.name, names)
    raise UnknownName(f"no ruleset file {str(path)!r}; {str(path.parent)!r} holds {known or 'no .yaml file'}.{hint}")
