"""One data set from what a job says of it: the reader that its files' suffix calls for, and several files as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import attrs

from attrkit.errors import UsageError
from attrkit.jobs.job import Data
from attrkit.jobs.places import are_images, is_reference, matching
from attrkit.jobs.reading.images import Images


class Source(Protocol):
    """Rows of a data set. ``read`` returns the columns of some of them: arrays, tensors or lists, a row each."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names; one without a name is the empty text."""
        ...

    @property
    def explained(self) -> tuple[str, ...]:
        """Those that are explained where a job does not say: all, but for id and target, where this is empty."""
        ...

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The columns of the rows from ``start`` up to ``stop``."""
        ...


#: By suffix, the reader: a class that is made of a path, and where all is text, of the name of the column of ids.
_READERS = {
    ".npy": "arrays:Numpy",
    ".safetensors": "arrays:Safetensors",
    ".csv": "lines:Csv",
    ".jsonl": "lines:Jsonl",
    ".ndjson": "lines:Jsonl",
    ".parquet": "parquet:Parquet",
}
_OF_TEXT = (".csv",)


def open_source(data: Data, folder: Path) -> Source:
    """The reader of a job's data set.

    Raises:
        UsageError: no reader knows such files, or what they hold are no rows.
        MissingExtra: the reader needs a package that is not installed.
    """
    if is_reference(data.path, folder):
        from attrkit.jobs.reading.iterables import Iterated

        return Iterated(data.path, folder, data.rows)
    places = matching(data.path, folder)
    if not places:
        raise UsageError(f"data {data.path!r}: there is no such file in {folder}")
    if are_images(places):
        return Images(places, data)
    parts = [_opened(place, data.id) for place in places]
    return parts[0] if len(parts) == 1 else Joined(parts, [str(place) for place in places])


def _opened(path: Path, ids: str | None) -> Source:
    if path.suffix.lower() not in _READERS:
        known = ", ".join((*_READERS, "a folder of images"))
        raise UsageError(f"data {path.name!r}: expected {known}, or file.py:name for an iterable")
    module, _, name = _READERS[path.suffix.lower()].partition(":")
    reader: Any = getattr(import_module(f"attrkit.jobs.reading.{module}"), name)
    source: Source = reader(path, ids) if path.suffix.lower() in _OF_TEXT else reader(path)
    return source


@attrs.define
class Joined:
    """The rows of several readers, one after another. Raises UsageError where their columns differ."""

    parts: Sequence[Source]
    names: Sequence[str]
    explained: tuple[str, ...] = ()
    _ends: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Where each part ends."""
        for part, name in zip(self.parts, self.names, strict=True):
            if part.columns != self.columns:
                raise UsageError(f"data: {name} has the columns {part.columns}, {self.names[0]} has {self.columns}")
        self._ends = list(accumulate(map(len, self.parts)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the first, and of all."""
        return self.parts[0].columns

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The columns of rows, of whichever parts they are in."""
        pieces: list[Mapping[str, Any]] = []
        at = start
        while at < stop:
            number = bisect_right(self._ends, at)
            before = self._ends[number] - len(self.parts[number])
            end = min(stop, self._ends[number])
            pieces.append(self.parts[number].read(at - before, end - before))
            at = end
        if len(pieces) == 1:
            return pieces[0]
        return {name: joined([piece[name] for piece in pieces]) for name in self.columns}


def joined(pieces: Sequence[Any]) -> Any:
    """Arrays, tensors or lists as one."""
    import numpy as np
    import torch

    if isinstance(pieces[0], torch.Tensor):
        return torch.cat(list(pieces))
    if isinstance(pieces[0], list):
        return [item for piece in pieces for item in piece]
    return np.concatenate(pieces)
