"""The plan: all that decides what the shards of a job hold, fixed once, so that no machine or moment changes a byte."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.errors import MissingExtra, UsageError
from attrkit.jobs.fingerprints import fingerprints
from attrkit.jobs.job import Job
from attrkit.registry import registry
from attrkit.wrapping import Wrapped

if TYPE_CHECKING:
    from torch import nn

    from attrkit.jobs.reading import Source

FORMAT = "attrkit/plan@1"
_PLACES = ("executor", "output", "on_error")  # keys of a job that do not change what a row's attributions are
_INPUT_BYTES = 2**22  # of the rows of a pass
_MOST = 256  # rows of a pass
_READ = 100  # rows, for the size of one


@attrs.frozen
class Plan:
    """What is fixed for all shards of a job. ``facts`` are compared with those of a job that is to go on."""

    facts: Mapping[str, Any]
    rows: int
    index: str  # jsonl or parquet

    @property
    def digest(self) -> str:
        """A hash of the facts, which every shard carries."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.rows // int(self.facts["shards"]["rows"]))

    @property
    def chunk(self) -> int:
        """Rows of a forward pass."""
        return int(self.facts["shards"]["chunk"])

    def bounds(self, shard: int) -> tuple[int, int]:
        """The first row of a shard, and the one after its last."""
        size = int(self.facts["shards"]["rows"])
        return shard * size, min(self.rows, (shard + 1) * size)

    def file(self, shard: int) -> str:
        """The name of a shard's file."""
        return f"part-{shard:06d}.{self.facts['output']['format']}"

    def to_json(self) -> str:
        """The text of plan.json."""
        said = {"format": FORMAT, "hash": self.digest, "rows": self.rows, "shards": self.shards, "index": self.index}
        return json.dumps({**said, "facts": self.facts}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, place: str) -> Plan:
        """The plan in a plan.json. Raises UsageError where it is none."""
        try:
            found = json.loads(text)
            plan = cls(found["facts"], found["rows"], found["index"])
            if found["format"] != FORMAT or found["hash"] != plan.digest:
                raise UsageError(f"{place} was changed, or written by another version; remove it to begin anew")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(f"{place} is no plan of a job: {error}; remove it to begin anew") from error
        return plan

    def differences(self, other: Plan) -> Iterator[str]:
        """What another plan has in place of what this one has, a line each."""
        mine, theirs = dict(_flat(self.facts)), dict(_flat(other.facts))
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                yield f"{key} was {mine.get(key, 'not there')!r}, is {theirs.get(key, 'not there')!r}"
        if self.rows != other.rows:
            yield f"the data had {self.rows} rows, have {other.rows}"


def planned(job: Job, source: Source, model: nn.Module | None, earlier: Plan | None) -> Plan:
    """The plan of a job. ``model`` is None where an ``earlier`` plan knows it; workers compare theirs with that.

    Raises:
        UnknownName: there is no such method, or it has no such option.
        UsageError: the job contradicts itself, or its data set is empty.
        MissingExtra: its form of output needs a package that is not installed.
    """
    from attrkit.explaining import fingerprint

    if not len(source):
        raise UsageError(f"data {job.data.path!r} has no rows")
    spec = registry.method(job.method)
    spec.resolve({name: value for name, value in job.options.items() if value is not None})
    parquet = find_spec("pyarrow") is not None
    index = job.output.index or (earlier.index if earlier else "parquet" if parquet else "jsonl")
    if "parquet" in (index, job.output.format) and not parquet:
        raise MissingExtra("output in parquet", "parquet", "pyarrow")
    said = {key: _plain(value) for key, value in job.said.items() if key not in _PLACES}
    method = job.said["method"]
    parts = spec.parts if isinstance(spec, Wrapped) else (spec,)
    plugins = {plugin.dist: plugin.version for part in parts if (plugin := registry.origin(part)) is not None}
    return Plan(
        facts={
            **said,
            "method": _plain(method if isinstance(method, Mapping) else {"name": method}),
            "output": {"format": job.output.format, "dtype": job.output.dtype},
            "shards": {"rows": job.shards.rows, "chunk": min(job.shards.rows, job.shards.chunk or _suiting(source))},
            "seed": job.seed,
            "threads": job.threads,
            "device": job.device,
            "then": job.on_error.then,
            "fingerprints": {
                "model": fingerprint(model) if model is not None else earlier.facts["fingerprints"]["model"] if earlier else "",
                **dict(fingerprints(job)),
            },
            "versions": {
                "attrkit": version("attrkit"),
                "torch": version("torch"),
                "python": platform.python_version(),
                **plugins,
            }
            | ({"pyarrow": version("pyarrow")} if job.output.format == "parquet" else {}),
        },
        rows=len(source),
        index=index,
    )


def _suiting(source: Source) -> int:
    """Rows of a pass that suit the size of one: a power of two."""
    fitting = max(8, min(_MOST, _INPUT_BYTES // max(1, _row_bytes(source))))
    return 1 << (fitting.bit_length() - 1)


def _row_bytes(source: Source) -> int:
    """The size of the first row that can be read."""
    import numpy as np

    for row in range(min(_READ, len(source))):
        try:
            columns = source.read(row, row + 1).values()
            return sum(each.nbytes if hasattr(each, "nbytes") else np.asarray(each).nbytes for each in columns)
        except Exception:  # noqa: BLE001, S112 - a reader may raise anything; such rows are found out later
            continue
    return 0


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"a job holds plain values only, got {value!r}; save tensors to a file, and give its path")
