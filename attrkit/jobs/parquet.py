"""A shard as a parquet file: a row for each row, tensors as lists of fixed length whose shapes stand in the metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrkit.errors import MissingExtra

if TYPE_CHECKING:
    from torch import Tensor

_INTEGERS = 2**63  # those beyond have more than 64 bits


def _arrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("parquet", "parquet", "pyarrow") from error
    return pa, pq


def encoded(rows: Tensor, tensors: Mapping[str, Tensor], ids: list[Any] | None, described: str) -> bytes:
    """The file's bytes. Floating-point numbers of half precision are kept in single precision."""
    pa, pq = _arrow()
    columns: dict[str, Any] = {"row": pa.array(rows.numpy())}
    if ids is not None:
        columns["id"] = pa.array(ids if of_one_type(ids) else list(map(str, ids)))
    shapes = {}
    for name, tensor in tensors.items():
        columns[name] = _column(pa, tensor)
        shapes[name] = list(tensor.shape[1:])
    about = {b"shard": described.encode(), b"shapes": json.dumps(shapes).encode()}
    table = pa.table(columns).replace_schema_metadata(about)
    split = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    paths = [f"{name}.list.element" if shapes[name] else name for name in split]
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", use_dictionary=False, use_byte_stream_split=paths or False)
    return stream.getvalue()


def of_one_type(ids: Iterable[Any]) -> bool:
    """Whether a column of parquet holds ids as they are; it can hold their text otherwise."""
    kinds = {type(each) if not isinstance(each, int) or abs(each) < _INTEGERS else None for each in ids}
    return len(kinds) < 2 and None not in kinds


def _column(pa: Any, tensor: Tensor) -> Any:
    tensor = tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor
    flat = pa.array(tensor.contiguous().reshape(-1).numpy())
    if tensor.dim() == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, tensor[0].numel() if len(tensor) else tensor.shape[1:].numel())


def decoded(path: Path, only: tuple[str, ...] | None) -> tuple[str, Tensor, dict[str, Tensor]]:
    """What describes the shard in a file, its rows, and its tensors; with ``only``, just those."""
    import numpy as np
    import torch

    _, pq = _arrow()
    file = pq.ParquetFile(path)
    about = file.schema_arrow.metadata or {}
    shapes = json.loads(about.get(b"shapes", b"{}"))
    names = [name for name in shapes if only is None or name in only]
    table = file.read(["row", *names]).combine_chunks()
    tensors = {}
    for name in names:
        column = table.column(name).combine_chunks()
        flat = column.flatten() if shapes[name] else column
        tensors[name] = torch.from_numpy(np.array(flat.to_numpy(zero_copy_only=False))).reshape(len(table), *shapes[name])
    rows = torch.from_numpy(np.array(table.column("row").to_numpy()))
    return about.get(b"shard", b"{}").decode(), rows, tensors
