"""A parquet file: the row groups in which the wanted rows are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from attrkit.errors import MissingExtra, UsageError


class Parquet:
    """Its columns are those of the file; lists of one length become arrays.

    Raises:
        MissingExtra: pyarrow is not installed.
        UsageError: it is no parquet file.
    """

    explained = ()

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtra(f"reading {path.name}", "parquet", "pyarrow") from error
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"{path} is no parquet file: {error}") from error
        groups = range(self._file.num_row_groups)
        self._ends = list(accumulate(self._file.metadata.row_group(group).num_rows for group in groups))
        self._kept: tuple[tuple[int, ...], Any] = ((), None)
        self.columns = tuple(self._file.schema_arrow.names)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The columns of rows; the row groups that were read last are kept, because the next rows are often in them."""
        begins = [0, *self._ends]
        groups = tuple(g for g in range(len(self._ends)) if begins[g] < stop and self._ends[g] > start)
        if self._kept[0] != groups:
            self._kept = groups, self._file.read_row_groups(list(groups))
        first = begins[groups[0]]
        table = self._kept[1].slice(start - first, stop - start)
        return {name: _values(table.column(name)) for name in self.columns}


def _values(column: Any) -> Any:
    """A column as an array, rows first, where it holds numbers or lists of them that are as long, and as a list elsewhere."""
    import numpy as np
    import pyarrow as pa

    whole, shape = column.combine_chunks(), [len(column)]
    inner = whole
    while pa.types.is_list(inner.type) or pa.types.is_large_list(inner.type) or pa.types.is_fixed_size_list(inner.type):
        lengths = (
            inner.value_lengths().unique().to_pylist()
            if not pa.types.is_fixed_size_list(inner.type)
            else [inner.type.list_size]
        )
        if inner.null_count or len(lengths) != 1:
            return whole.to_pylist()
        shape.append(lengths[0])
        inner = inner.flatten()
    if inner.null_count or not (pa.types.is_integer(inner.type) or pa.types.is_floating(inner.type)):
        return whole.to_pylist()
    return np.array(inner.to_numpy(zero_copy_only=False)).reshape(shape)
