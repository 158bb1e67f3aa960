"""The index of a job: a line for each row that has attributions, which says where they are and a little of what they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from attrkit.jobs.parquet import of_one_type
from attrkit.jobs.shard import Shard

_ABOUT = ("target", "output", "delta")


def index_file(form: str) -> str:
    """Its name."""
    return f"index.{form}"


def index_pieces(form: str, files: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of the index of shards, as JSON lines or as parquet, a piece at a time."""
    if form == "jsonl":
        yield from (as_json(line) for file in files for line in _lines(file))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    writer = None
    as_text = not of_one_type(each for file in files for each in Shard.of(file, ()).ids or ())
    for file in files:
        if table := [{**line, "id": str(line["id"])} if as_text else line for line in _lines(file)]:
            writer = writer or pq.ParquetWriter(stream, (batch := pa.Table.from_pylist(table)).schema, compression="zstd")
            batch = pa.Table.from_pylist(table, writer.schema)
            writer.write_table(batch)
    if writer is None:
        pq.write_table(pa.table({"row": pa.array([], pa.int64())}), stream)
    else:
        writer.close()
    yield stream.getvalue()


def as_json(said: Mapping[str, Any]) -> bytes:
    """A line of JSON, which has no numbers that are not finite: null stands for them."""
    try:
        return (json.dumps(said, allow_nan=False) + "\n").encode()
    except ValueError:
        return (json.dumps(_finite(said)) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    shard = Shard.of(file, _ABOUT)
    about = {name: shard.tensors[name].tolist() for name in _ABOUT if name in shard.tensors}
    for place, row in enumerate(shard.rows.tolist()):
        own = {} if shard.ids is None else {"id": shard.ids[place]}
        yield {"row": row, **own, "shard": shard.facts["shard"], "place": place, **{n: v[place] for n, v in about.items()}}
