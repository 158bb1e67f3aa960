"""Progress bars on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

Pack = TypeVar("Pack", bound=tuple[Sequence[Any], Any])


class Bar(tqdm):  # type: ignore[type-arg]  # which tqdm itself has not
    """A bar without tqdm's monitor, a thread that would outlive it."""

    monitor_interval = 0


def barred(packs: Iterator[Pack], label: str, total: int | None) -> Iterator[Pack]:
    """The same, behind a bar that counts points, ``total`` in all where that is known."""
    with Bar(desc=label, total=total, file=sys.stderr) as bar:
        for pack in packs:
            bar.update(len(pack[0]))
            yield pack
