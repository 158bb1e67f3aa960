"""Where the rows of a data set lie: files, patterns of files, folders, or a name in Python code."""

from __future__ import annotations

import os
import re
from glob import glob, has_magic
from pathlib import Path

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def is_reference(path: str, folder: Path) -> bool:
    """Whether this is ``file.py:name`` or ``package.module:name``, and no file."""
    return bool(re.fullmatch(r"(?:.*\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*", path)) and not (folder / path).exists()


def matching(path: str, folder: Path) -> list[Path]:
    """The files, or the folder, that a path or pattern stands for, sorted."""
    if (folder / path).exists():
        return [folder / path]
    if not has_magic(path):
        return []
    pattern = os.fspath(folder / path)
    found = glob(pattern, recursive=True)  # noqa: PTH207 - it may be an absolute path
    return [Path(name) for name in sorted(found) if Path(name).is_file()]


def are_images(places: list[Path]) -> bool:
    """Whether these are images, or a folder, which is one of images."""
    return places[0].is_dir() or places[0].suffix.lower() in IMAGES
