"""Files of arrays whose first dimension are the rows; only the rows that are asked for are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrkit.errors import UsageError


class Numpy:
    """One array in a .npy file, mapped into memory. Raises UsageError where it needs pickle, or has no rows."""

    columns = ("",)
    explained = ()

    def __init__(self, path: Path) -> None:
        import numpy as np

        try:
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UsageError(f"{path} is damaged, or holds no array of numbers; save one by numpy.save(path, array)") from error
        if not self._array.ndim:
            raise UsageError(f"{path} holds a single number; its first dimension must be the rows")

    def __len__(self) -> int:
        return len(self._array)

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The rows, copied."""
        import numpy as np

        return {"": np.array(self._array[start:stop])}


class Safetensors:
    """The tensors of a .safetensors file, each a column. Raises UsageError where their numbers of rows differ."""

    explained = ()

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            opened: Any = safe_open(path, framework="pt")
        except SafetensorError as error:
            raise UsageError(f"{path} is no safetensors file: {error}") from error
        self._file, self.columns = opened, tuple(sorted(opened.keys()))
        counts = {name: (opened.get_slice(name).get_shape() or [0])[0] for name in self.columns}
        if not counts or len(set(counts.values())) > 1:
            raise UsageError(f"{path}: expected tensors with as many rows each, got {counts or 'none'}")
        self._rows = next(iter(counts.values()))

    def __len__(self) -> int:
        return int(self._rows)

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The rows of each tensor."""
        return {name: self._file.get_slice(name)[start:stop] for name in self.columns}
