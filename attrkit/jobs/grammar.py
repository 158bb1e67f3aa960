"""What may stand in a job file, and whether the files that it names are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrkit.jobs.places import are_images, is_reference, matching
from attrkit.loading.models import FORMS
from attrkit.rulesets.document import Document
from attrkit.rulesets.shape import At, Read, listed, mapped, number, one_of, plain, reads, record, text
from attrkit.rulesets.values import Kind, shown

TENSOR_FILES = (".npy", ".npz", ".pt", ".pth", ".safetensors")  # an option that ends so names a file
RULESET_FILES = (".yaml", ".yml")  # and so, a ruleset; which may be one that is installed
_OF_CODE: Mapping[str, str] = {"rows": "Python code"}  # keys of data, and what they are for
_OF_IMAGES: Mapping[str, str] = {"size": "images", "mean": "images", "std": "images"}
_DIMENSIONS = 2


def _counting(least: int) -> Read:
    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return plain(Kind(is_count, f"a whole number of at least {least}", {"type": "integer", "minimum": least}))


@reads({})
def _size(at: At) -> Any:
    """Height and width."""
    if not isinstance(at.value, list | tuple) or len(at.value) != _DIMENSIONS:
        return at.complain(f"expected height and width, like [224, 224], got {shown(at.value)}")
    return listed(_counting(1))(at)


_integer = plain(Kind(lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number", {"type": "integer"}))


def _either(short: Read, whole: Read) -> Read:
    """A mapping, or one value that stands for it."""
    return Read(lambda at: whole(at) if isinstance(at.value, Mapping) else short(at), {"anyOf": [short.schema, whole.schema]})


@reads({})
def _target(at: At) -> Any:
    """A class, an index of several dimensions, ``predicted``, or a column."""
    value = at.value
    if isinstance(value, Mapping):
        return record({"column": text}, ("column",))(at)
    if isinstance(value, list | tuple):
        return listed(_integer, least=1)(at)
    if value == "predicted" or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return at.complain(f"expected a number, a list of numbers, predicted or {{column: NAME}}, got {shown(value)}")


@reads({})
def _columns(at: At) -> Any:
    """The columns of each argument of the model, or those of its one input."""
    if isinstance(at.value, str):
        return (text(at),)
    if isinstance(at.value, list | tuple):
        return listed(text, least=1)(at)
    return mapped(Read(lambda inner: listed(text, least=1)(inner) if isinstance(inner.value, list) else text(inner), {}))(at)


_method = record({"name": text}, ("name",))


@reads({})
def _named_method(at: At) -> Any:
    """A method's name and its options."""
    if "name" not in at.value:
        _method(At(at.document, {}, at.path))
    else:
        text(at.to("name"))
    return {key: at.to(key).value for key in at.value}


_data = record(
    {
        "path": text,
        "columns": _columns,
        "id": text,
        "rows": _counting(1),
        "size": _size,
        "mean": listed(number, least=1),
        "std": listed(number, least=1),
    },
    ("path",),
)
_output = record(
    {
        "path": text,
        "format": one_of(("safetensors", "parquet")),
        "dtype": one_of(("float16", "bfloat16", "float32", "float64")),
        "index": one_of(("jsonl", "parquet")),
    },
    ("path",),
)


@reads({})
def _named_executor(at: At) -> Any:
    """An executor's kind and its options, which it checks itself."""
    if "kind" not in at.value:
        return at.complain("key 'kind' is missing; expected inline, local, torchrun, ray or the name of an installed one")
    text(at.to("kind"))
    return dict(at.value)


_paths = Read(lambda at: listed(text, least=1)(at) if isinstance(at.value, list) else text(at), {})
_JOB = record(
    {
        "model": text,
        "data": _either(text, _data),
        "method": _either(text, _named_method),
        "target": _target,
        "layer": _paths,
        "layers": _paths,
        "output": _either(text, _output),
        "shards": record({"rows": _counting(1), "chunk": _counting(1)}),
        "executor": _either(text, _named_executor),
        "seed": _integer,
        "threads": _counting(1),
        "device": text,
        "on_error": record({"retries": _counting(0), "then": one_of(("quarantine", "fail"))}),
    },
    ("model", "data", "method", "output"),
)


def checked(document: Document, folder: Path) -> Mapping[str, Any]:
    """What a document says, by key; what is wrong is noted in it."""
    at = At(document, document.value)
    found: Mapping[str, Any] = _JOB(at)
    if isinstance(at.value, Mapping):
        _look_for_model(at.to("model"), folder)
        _look_for_data(at.to("data"), folder)
        for option in at.to("method").inside() if isinstance(at.to("method").value, Mapping) else ():
            _look_for_files(option, folder)
    return found


def _look_for_model(at: At, folder: Path) -> None:
    source, _, weights = at.value.partition("+weights=") if isinstance(at.value, str) else ("", "", "")
    place, colon, _ = source.rpartition(":")
    if source and not colon and not source.endswith(".pt2"):
        at.complain(f"expected {FORMS}, got {source!r}")
    for file in (source if source.endswith(".pt2") else place if place.endswith(".py") else "", weights):
        if file and not (folder / file).is_file():
            at.complain(f"there is no file {file!r} in {folder}")


def _look_for_data(whole: At, folder: Path) -> None:
    at = whole.to("path") if isinstance(whole.value, Mapping) else whole
    if not isinstance(at.value, str) or not at.value.strip():
        return
    if is_reference(at.value, folder):
        place = at.value.rpartition(":")[0]
        if place.endswith(".py") and not (folder / place).is_file():
            at.complain(f"there is no file {place!r} in {folder}")
        _refuse_keys(whole, _OF_IMAGES)
    elif not (places := matching(at.value, folder)):
        at.complain(f"there is no file {at.value!r} in {folder}")
    else:
        _refuse_keys(whole, _OF_CODE if are_images(places) else {**_OF_CODE, **_OF_IMAGES})


def _refuse_keys(data: At, others: Mapping[str, str]) -> None:
    """Complain of keys that mean something in data of another form only."""
    for key in data.value if isinstance(data.value, Mapping) else ():
        if key in others:
            data.to(key).complain(f"{key} is for data of {others[key]}, which {data.value['path']!r} is not; leave it out")


def _look_for_files(at: At, folder: Path) -> None:
    if isinstance(at.value, str) and at.value.endswith(TENSOR_FILES) and not (folder / at.value).is_file():
        at.complain(f"there is no file {at.value!r} in {folder}")
