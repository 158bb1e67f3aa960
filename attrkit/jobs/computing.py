"""Computing a shard: its rows in passes of a fixed size, and bad rows found out by halving."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import AttrkitError, AttrkitWarning, MissingExtra, PluginUnavailable, UnknownName, UsageError
from attrkit.explaining import explain, fingerprint
from attrkit.explanation import plain
from attrkit.jobs.grammar import RULESET_FILES, TENSOR_FILES
from attrkit.jobs.job import Job
from attrkit.jobs.pieces import Failed, Found, Piece, piece_of, the_jobs_own
from attrkit.jobs.plan import Plan
from attrkit.jobs.reading import Rows, Source, bound, open_source
from attrkit.jobs.shard import Shard
from attrkit.loading.files import read_numpy, read_safetensors, read_torch
from attrkit.loading.models import load_model
from attrkit.registry import registry

_PROBED = 16  # rows, of all the data set; where none can be explained, that is the job's own fault
_PASSING = (MemoryError, torch.OutOfMemoryError)  # they may not come again, and no row is the cause
_OF_THE_JOB = (UnknownName, PluginUnavailable, MissingExtra)
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


class JobError(AttrkitError):
    """An error that ends the job: other shards would end in it too, or the job says that one bad row is enough."""


@attrs.define
class Calculation:
    """A job's model, data and options, read once. Raises UsageError where the model is not the one that was planned with."""

    job: Job
    plan: Plan
    number: int = 0  # of the worker, which chooses among several devices
    model: nn.Module = attrs.field(init=False)
    source: Source = attrs.field(init=False)
    sites: dict[str, Any] = attrs.field(init=False)  # what is explained, and compared with what
    options: dict[str, Any] = attrs.field(init=False)  # the method's own, whose names may be those of arguments of explain
    device: torch.device = attrs.field(init=False)
    _works: bool = attrs.field(init=False, default=False)  # rows were explained, so that the next error is not the job's

    def __attrs_post_init__(self) -> None:
        """Read everything."""
        self.model = load_model(self.job.model, self.job.folder)
        if (known := self.plan.facts["fingerprints"]["model"]) != fingerprint(self.model):
            raise UsageError(
                f"model {self.job.model!r} is not the one that this job was begun with ({known[:19]}...): its structure or its "
                "weights differ. If you changed neither, it has other weights each time that it is made: call "
                "torch.manual_seed before, or give the weights by +weights=FILE"
            )
        self.device = _device(self.job.device, self.number)
        self.model.to(self.device)
        self.source = open_source(self.job.data, self.job.folder)
        self.sites = self._read({name: getattr(self.job, name) for name in ("baselines", "layer", "layers")})
        self.options = self._read(self.job.options)

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._option(value) for name, value in given.items() if value is not None}

    def _option(self, value: Any) -> Any:
        """A tensor for the name of a file of one, a path for that of a ruleset beside the job; anything else as it is."""
        if isinstance(value, str) and value.endswith(TENSOR_FILES):
            return _suited(_tensors(os.fspath(self.job.folder / value)), self.model, self.device)
        if isinstance(value, str) and value.endswith(RULESET_FILES):
            return os.fspath(self.job.folder / value)
        return list(value) if isinstance(value, tuple) else value

    def shard(self, number: int) -> tuple[Shard, list[Failed], list[str]]:
        """A shard, the rows it lacks, and what was warned of.

        Raises:
            JobError: no row of the data set can be explained, or a row is bad where the job says that this ends it.
        """
        start, stop = self.plan.bounds(number)
        found = Found()
        with _threads(self.job.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # each is noted, and said once at the end
            for low in range(start, stop, self.plan.chunk):
                found = found.and_(self._explained(low, min(stop, low + self.plan.chunk)))
                if found.failed and self.job.on_error.then == "fail":
                    first = found.failed[0]
                    raise JobError(f"row {first.row}: {first.error}; on_error: {{then: quarantine}} goes on without it")
        return self._shard(number, found), found.failed, list(dict.fromkeys(found.warned))

    def _explained(self, start: int, stop: int) -> Found:
        """Rows explained together; where that fails, each half of them.

        Where no row turns out to be the cause, the error may have been a passing one. All are tried again then: which rows
        share a pass decides the last digits, and these are to be the same however the run went.
        """
        found = self._tried(start, stop)
        if isinstance(found, Found):
            if not found.pieces:
                self._probe()
            return found
        self._probe()
        if stop - start == 1:
            apart = Found(failed=[Failed(start, self._id(start), _said(found))])
        else:
            middle = (start + stop) // 2
            apart = self._explained(start, middle).and_(self._explained(middle, stop))
            if apart.failed:
                return apart
        again = self._tried(start, stop)
        return again if isinstance(again, Found) else apart

    def _tried(self, start: int, stop: int) -> Found | Exception:
        """Rows explained together, or the error that this ends in; one that no row is the cause of is raised."""
        try:
            return self._together(start, stop)
        except (JobError, *_PASSING):
            raise
        except _OF_THE_JOB as error:
            raise JobError(_said(error)) from error
        except Exception as error:  # noqa: BLE001 - a model, or a reader, may raise anything
            return error

    def _probe(self) -> None:
        """Raise JobError where no row all over the data set can be explained; once one was, nothing is tried."""
        if self._works:
            return
        errors: Counter[str] = Counter()
        for row in sorted({place * (self.plan.rows - 1) // (_PROBED - 1) for place in range(_PROBED)}):
            found = self._tried(row, row + 1)
            if isinstance(found, Found) and found.pieces:
                return
            errors[found.failed[0].error if isinstance(found, Found) else _said(found)] += 1
        (error, count), rows = errors.most_common(1)[0], errors.total()
        raise JobError(f"of {rows} rows from all over the data set, none can be explained; {count} of them end in {error}")

    def _together(self, start: int, stop: int) -> Found:
        rows = self._rows(start, stop)
        inputs = _suited(rows.inputs, self.model, self.device)
        self._refuse_examples(inputs)
        target = self.job.target if rows.targets is None else rows.targets.to(self.device)
        result = explain(
            self.model,
            inputs,
            self.job.method,
            target=target,
            internal_batch_size=stop - start,  # a pass is the rows, whatever is faster on this machine
            seed=self.job.seed,
            first_example=start,
            options=self.options,
            **self.sites,
        )
        if the_jobs_own(result, stop - start):
            raise JobError(f"{self.job.method} gives attributions of the batch, not of each row; its shapes: {result}")
        each = rows.targets is not None or self.job.target == "predicted"
        piece, bad = piece_of(result, start, stop, rows.ids, each_its_target=each)
        if piece is not None:
            self._works = True
        # Warnings may be of the rows that are listed as failed.
        return Found([] if piece is None else [piece], bad, [] if bad else list(result.warnings))

    def _rows(self, start: int, stop: int) -> Rows:
        return bound(self.source.read(start, stop), self.job.data, self.job.target, self.source.explained)

    def _refuse_examples(self, inputs: Any) -> None:
        """Raise JobError for an option that holds something for each row: which row would be whose?"""
        dims = {tensor.dim() for tensor in _leaves(inputs)}
        several = registry.method(self.job.method).distribution  # baselines are a sample then, whatever their number
        for name in ("feature_mask",) if several else ("feature_mask", "baselines"):
            for tensor in _leaves({**self.options, **self.sites}.get(name)):
                if tensor.dim() in dims and len(tensor) != 1:
                    raise JobError(
                        f"{name} has shape {tuple(tensor.shape)}, which is {len(tensor)} examples; one example serves all rows "
                        f"of a job: give shape {(1, *tensor.shape[1:])}"
                    )

    def _id(self, row: int) -> Any:
        """The id of a row that could not be explained, if that can be read."""
        try:
            return (self._rows(row, row + 1).ids or [None])[0]
        except Exception:  # noqa: BLE001 - reading may be what failed
            return None

    def _shard(self, number: int, found: Found) -> Shard:
        pieces, wanted = found.pieces, _DTYPES.get(self.job.output.dtype or "")
        kept = [piece.tensors if wanted is None else _in_dtype(piece, wanted) for piece in pieces]
        about = pieces[0].about if pieces else {"where": "", "target": None, "model": {}}
        return Shard(
            rows=torch.cat([piece.rows for piece in pieces]) if pieces else torch.zeros(0, dtype=torch.long),
            tensors={name: torch.cat([each[name] for each in kept]) for name in (kept[0] if kept else ())},
            ids=None if self.job.data.id is None else [each for piece in pieces for each in piece.ids or ()],
            facts={
                "shard": number,
                "range": list(self.plan.bounds(number)),
                "plan": self.plan.digest,
                "method": self.job.method,
                "options": plain(registry.method(self.job.method).resolve(self.job.options)),  # as said: no absolute path
                "seed": self.job.seed,
                **about,
            },
        )


def _in_dtype(piece: Piece, wanted: torch.dtype) -> dict[str, Tensor]:
    """A piece's tensors, attributions and their errors in the precision that is wanted."""
    return {n: t.to(wanted) if n.startswith(("values/", "errors/")) else t for n, t in piece.tensors.items()}


def _leaves(value: Any) -> Iterator[Tensor]:
    """The tensors in a value."""
    if isinstance(value, Tensor):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _leaves(inner)


def _said(error: BaseException) -> str:
    return shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")


def _tensors(path: str) -> Any:
    """What a file of tensors holds; one tensor as such."""
    read: Callable[[str], Any]
    read = read_safetensors if path.endswith(".safetensors") else read_torch if path.endswith((".pt", ".pth")) else read_numpy
    found = read(path)
    return next(iter(found.values())) if isinstance(found, Mapping) and len(found) == 1 else found


def _suited(value: Any, model: nn.Module, device: torch.device) -> Any:
    """Tensors on a device, those of floating-point numbers in the precision of the model's parameters."""
    if isinstance(value, Mapping):
        return {name: _suited(inner, model, device) for name, inner in value.items()}
    if not isinstance(value, Tensor):
        return value
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), value.dtype)
    return value.to(device, like if value.is_floating_point() else value.dtype)


def _device(name: str, number: int) -> torch.device:
    """The device of a worker: of several of a kind its own.

    Raises:
        UsageError: there is no such device here, or it computes nothing.
    """
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and torch.cuda.is_available():
            device = torch.device("cuda", number % torch.cuda.device_count())
        torch.zeros(1).to(device).cpu()  # torch knows devices that it was built without, and meta, which holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used here: {said}; expected cpu, or cuda where there is a GPU") from error
    return device


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
