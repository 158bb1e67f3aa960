"""A job: which model explains which data set by which method, how that is cut into shards, and where they are computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from attrkit.errors import RulesetError, UsageError, UsageTypeError
from attrkit.jobs.grammar import checked
from attrkit.rulesets.document import Document, parse


@attrs.frozen
class Data:
    """Where the rows come from, and which columns of them are inputs, id and target.

    Attributes:
        path: a file or a pattern of files, a folder of images, or ``file.py:name`` or ``package.module:name`` for an iterable.
        columns: of the model's argument names to columns, or a list of columns that are the model's one input together.
        id: the column by which rows are known in lists; without one, their number.
        rows: how many rows an iterable has that does not say.
        size: height and width that images are scaled to.
        mean, std: of the channels of images, which are normalised by them.
    """

    path: str
    columns: Mapping[str, Any] | tuple[str, ...] = ()
    id: str | None = None
    rows: int | None = None
    size: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@attrs.frozen
class Output:
    """Where shards go, and in what form; ``dtype`` is that of attributions, by default the method's own."""

    path: str
    format: str = "safetensors"
    dtype: str | None = None
    index: str | None = None  # jsonl or parquet; None for parquet where pyarrow is installed when the job is planned


@attrs.frozen
class Shards:
    """How many rows a shard has, and how many of these a forward pass; None for as many as suit the size of a row."""

    rows: int = 4096
    chunk: int | None = None


@attrs.frozen
class OnError:
    """How often a shard is begun again whose worker failed, and whether bad rows are listed or end the job."""

    retries: int = 3
    then: str = "quarantine"


@attrs.frozen(kw_only=True)
class Job:
    """What a job file says; relative paths in it are relative to ``folder``."""

    folder: Path
    model: str
    data: Data
    method: str
    output: Output
    options: Mapping[str, Any] = attrs.field(factory=dict)  # of the method
    baselines: Any = None
    target: Any = None
    layer: Any = None
    layers: Any = None
    shards: Shards = Shards()
    executor: Mapping[str, Any] = attrs.field(factory=lambda: {"kind": "inline"})
    seed: int = 0
    threads: int = 1  # of torch within an operation, in each worker
    device: str = "cpu"
    on_error: OnError = OnError()
    said: Mapping[str, Any] = attrs.field(factory=dict, repr=False)  # what it was read from

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / self.output.path


def read_job(source: Job | Mapping[str, Any] | str | os.PathLike[str]) -> Job:
    """The job in a YAML file, or given as plain values; a Job is returned as it is.

    Relative paths are relative to the file, or for plain values to the working directory.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: it is no job; says each thing that is wrong, with line and column.
    """
    if isinstance(source, Job):
        return source
    if isinstance(source, Mapping):
        return job_from(source, Path.cwd())
    if not isinstance(source, str | os.PathLike):
        raise UsageTypeError(f"job must be a YAML file or a mapping of what would stand in it, got {type(source).__name__}")
    path = Path(source)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected a job in a text file in UTF-8: {error}") from error
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines()):
        raise UsageError(f"{path}: the file is empty; expected a job, with the keys model, data, method and output")
    try:
        document = parse(text, os.fspath(path))
    except RulesetError as error:  # of the reader of YAML, which rulesets share
        raise UsageError(str(error)) from error
    return _job(document, path.resolve().parent)


def job_from(values: Mapping[str, Any], folder: Path) -> Job:
    """The job that plain values describe. Raises UsageError, as ``read_job``."""
    return _job(Document("job", values), folder)


def _job(document: Document, folder: Path) -> Job:
    try:
        found = checked(document, folder)
    except RulesetError as error:  # too many problems to go on
        raise UsageError(str(error)) from error
    if document.problems:
        raise UsageError("\n".join(document.report()))
    method = found["method"]
    named = dict(method) if isinstance(method, Mapping) else {"name": method}
    executor = found.get("executor", {"kind": "inline"})
    executor = executor if isinstance(executor, Mapping) else {"kind": executor}
    simple = ("model", "target", "layer", "layers", "seed", "threads", "device")
    return Job(
        folder=folder,
        data=Data(**found["data"]) if isinstance(found["data"], Mapping) else Data(found["data"]),
        method=named.pop("name"),
        baselines=named.pop("baselines", None),
        options=named,
        output=Output(**found["output"]) if isinstance(found["output"], Mapping) else Output(found["output"]),
        shards=Shards(**found.get("shards", {})),
        on_error=OnError(**found.get("on_error", {})),
        executor=executor,
        said=document.value,
        **{key: found[key] for key in simple if key in found},
    )
