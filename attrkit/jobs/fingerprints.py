"""Fingerprints of the files that a job is made of: hashes that tell whether one changed since it was begun."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path

from attrkit.errors import RulesetError, UnknownName
from attrkit.jobs.grammar import RULESET_FILES, TENSOR_FILES
from attrkit.jobs.job import Job
from attrkit.jobs.places import is_reference, matching
from attrkit.registry import registry
from attrkit.rulesets.document import load
from attrkit.rulesets.sources import identity, located

_READ_BYTES = 2**26  # of a data set, or another file: files up to this size are read whole
_BLOCK = 2**16  # bytes that are read together where a file is larger
_LISTED = 64  # files; of more, names and sizes alone are read


def fingerprints(job: Job) -> Iterator[tuple[str, str]]:
    """The name of what a job is made of, and its hash: its data, the model's code and weights, and files that options name.

    What the code imports is not looked at.
    """
    yield "data", _data(job)
    for name, file in _files_of_model(job):
        yield name, _file(job.folder / file)
    for name, file in _named_files(job):
        yield name, _ruleset(job.folder / file) if file.endswith(RULESET_FILES) else _file(job.folder / file)


def _files_of_model(job: Job) -> Iterator[tuple[str, str]]:
    """Files that the model is made from: the fingerprint of its structure does not tell what its functions do."""
    source, _, weights = job.model.partition("+weights=")
    place = source if source.endswith(".pt2") else source.rpartition(":")[0]
    named = {"code": place if place.endswith((".py", ".pt2")) else "", "weights": weights}
    return ((name, file) for name, file in named.items() if file)


def _named_files(job: Job) -> Iterator[tuple[str, str]]:
    """Files that the method's options name."""
    for name, value in {**job.options, "baselines": job.baselines}.items():
        if isinstance(value, str) and (
            value.endswith(TENSOR_FILES) or (value.endswith(RULESET_FILES) and (job.folder / value).is_file())
        ):
            yield name, value


def _ruleset(path: Path) -> str:
    """A hash of a ruleset and all those that it extends."""
    found, waiting = dict[str, str](), list[Traversable]([path])
    while waiting:
        file = waiting.pop()
        if identity(file) not in found:
            found[identity(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
            waiting += _extended(file)
    return _hashed(list(found.values()))


def _extended(file: Traversable) -> Iterator[Traversable]:
    """The rulesets that one names; what is wrong with it is said when it is read for its rules."""
    with suppress(RulesetError):
        said = load(file, file.name).value
        names = said.get("extends", []) if isinstance(said, Mapping) else []
        folder = file.parent if isinstance(file, Path) else Path(file.name)  # nothing is beside a file in an archive
        for name in names if isinstance(names, list) else [names]:
            with suppress(UnknownName, TypeError):
                yield located(name, registry, folder)[0]


def _data(job: Job) -> str:
    if is_reference(job.data.path, job.folder):
        place = job.data.path.rpartition(":")[0]
        return _file(job.folder / place) if place.endswith(".py") else place
    places = matching(job.data.path, job.folder)
    if places[0].is_dir():
        places = sorted(path for path in places[0].rglob("*") if path.is_file())
    if len(places) <= _LISTED:
        return _hashed([_file(place, _READ_BYTES // len(places)) for place in places])
    return _hashed([f"{place.name} {place.stat().st_size}" for place in places])


def _hashed(texts: Sequence[str]) -> str:
    return f"sha256:{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()}"


def _file(path: Path, most: int = _READ_BYTES) -> str:
    """A hash of a file's size and bytes; of a large file, of blocks that lie evenly in it."""
    size, blocks = path.stat().st_size, most // _BLOCK
    whole = size <= blocks * _BLOCK
    places = range(0, size, _BLOCK) if whole else (k * (size - _BLOCK) // (blocks - 1) for k in range(blocks))
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            found.update(file.read(_BLOCK))
    return f"sha256:{found.hexdigest()}"
