"""Computing a shard: its rows in passes of a fixed size, and bad rows found out by halving."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import AttrkitError, AttrkitWarning, MissingExtra, PluginUnavailable, UnknownName, UsageError
from attrkit.explaining import explain, fingerprint
from attrkit.explanation import Explanation, plain
from attrkit.jobs.grammar import TENSOR_FILES
from attrkit.jobs.job import Job
from attrkit.jobs.plan import Plan
from attrkit.jobs.reading import Source, bound, open_source
from attrkit.jobs.shard import Shard
from attrkit.loading.files import read_numpy, read_safetensors, read_torch
from attrkit.loading.models import load_model
from attrkit.registry import registry

_SAME = 8  # rows; where as many all end in one error, it is the job's
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


class JobError(AttrkitError):
    """A shard ended in an error that would come again."""


@attrs.frozen
class Failed:
    """A row that has no attributions, and why."""

    row: int
    id: Any
    error: str


@attrs.define
class _Found:
    """What came of some rows."""

    parts: list[tuple[Tensor, list[Any] | None, Explanation]] = attrs.field(factory=list)  # rows, ids, and what is to be kept
    failed: list[Failed] = attrs.field(factory=list)
    warned: list[str] = attrs.field(factory=list)


@attrs.define
class Calculation:
    """A job's model, data and options, read once. Raises UsageError where the model is not the one that was planned with."""

    job: Job
    plan: Plan
    number: int = 0  # of the worker, which chooses among several devices
    model: nn.Module = attrs.field(init=False)
    source: Source = attrs.field(init=False)
    options: dict[str, Any] = attrs.field(init=False)
    device: torch.device = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Read everything."""
        self.model = load_model(self.job.model, self.job.folder)
        if (known := self.plan.facts["fingerprints"]["model"]) != fingerprint(self.model):
            raise UsageError(
                f"model {self.job.model!r} is not the one that this job was begun with ({known[:19]}...): its structure or its "
                "weights differ. One that is made anew each time must draw the same weights: seed it, or load +weights=FILE"
            )
        self.device = _device(self.job.device, self.number)
        self.model.to(self.device)
        self.source = open_source(self.job.data, self.job.folder)
        given = {**self.job.options, "baselines": self.job.baselines, "layer": self.job.layer, "layers": self.job.layers}
        self.options = {name: self._option(value) for name, value in given.items() if value is not None}

    def _option(self, value: Any) -> Any:
        """A tensor for the name of a file of one, a path for that of a ruleset beside the job; anything else as it is."""
        if isinstance(value, str) and value.endswith(TENSOR_FILES):
            return _suited(_tensors(os.fspath(self.job.folder / value)), self.model, self.device)
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            return os.fspath(self.job.folder / value)
        return list(value) if isinstance(value, tuple) else value

    def shard(self, number: int) -> tuple[Shard, list[Failed], list[str]]:
        """A shard, the rows it lacks, and what was warned of.

        Raises:
            JobError: all of many rows end in one error, or a row is bad where the job says that this ends it.
        """
        start, stop = self.plan.bounds(number)
        found = _Found()
        with _threads(self.job.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # each is noted, and said once at the end
            for low in range(start, stop, self.plan.chunk):
                high = min(stop, low + self.plan.chunk)
                before = len(found.failed)
                self._explain(low, high, found)
                _refuse_common(found.failed[before:], high - low)
        _refuse_common(found.failed, stop - start)
        return self._shard(number, found), found.failed, list(dict.fromkeys(found.warned))

    def _explain(self, start: int, stop: int, found: _Found) -> None:
        """Explain rows together; where that fails, each half of them."""
        try:
            self._together(start, stop, found)
        except (JobError, MemoryError, torch.OutOfMemoryError):  # the last two may not come again
            raise
        except (UnknownName, PluginUnavailable, MissingExtra) as error:
            raise JobError(_said(error)) from error
        except Exception as error:  # noqa: BLE001 - a model, or a reader, may raise anything
            if stop - start > 1:
                middle = (start + stop) // 2
                self._explain(start, middle, found)
                self._explain(middle, stop, found)
                return
            self._fail(found, start, self._id(start), _said(error))

    def _together(self, start: int, stop: int, found: _Found) -> None:
        rows = bound(self.source.read(start, stop), self.job.data, self.job.target)
        inputs = _suited(rows.inputs, self.model, self.device)
        target = self.job.target if rows.targets is None else rows.targets.to(self.device)
        result = explain(
            self.model,
            inputs,
            self.job.method,
            target=target,
            internal_batch_size=stop - start,  # a pass is the rows, whatever is faster on this machine
            seed=self.job.seed,
            first_example=start,
            **self.options,
        )
        if any(len(value) != stop - start for value in result.values.values()):
            raise JobError(f"{self.job.method} gives attributions of the batch, not of each row; its shapes: {result}")
        good = _finite(result, stop - start)
        for place in torch.nonzero(~good).flatten().tolist():
            name = rows.ids[place] if rows.ids else None
            self._fail(found, start + place, name, "the attributions, or the output, are not finite")
        ids = [each for each, fine in zip(rows.ids, good.tolist(), strict=True) if fine] if rows.ids is not None else None
        if bool(good.any()):
            found.parts.append((torch.arange(start, stop)[good], ids, _taken(result, good)))
        if bool(good.all()):  # else they may be of the rows that are listed as failed
            found.warned += result.warnings

    def _fail(self, found: _Found, row: int, name: Any, error: str) -> None:
        found.failed.append(Failed(row, name, error))
        if self.job.on_error.then == "fail":
            raise JobError(f"row {row}: {error}; on_error: {{then: quarantine}} goes on without it")

    def _id(self, row: int) -> Any:
        """The id of a row that could not be explained, if that can be read."""
        try:
            return (bound(self.source.read(row, row + 1), self.job.data, self.job.target).ids or [None])[0]
        except Exception:  # noqa: BLE001 - reading may be what failed
            return None

    def _shard(self, number: int, found: _Found) -> Shard:
        wanted = _DTYPES.get(self.job.output.dtype or "")
        kept = [_tensors_of(explanation, wanted) for *_, explanation in found.parts]
        tensors = {name: torch.cat([each[name] for each in kept]) for name in (kept[0] if kept else ())}
        first = found.parts[0][-1] if found.parts else None
        ids = None if self.job.data.id is None else [each for _, given, _ in found.parts for each in given or ()]
        return Shard(
            rows=torch.cat([rows for rows, *_ in found.parts]) if found.parts else torch.zeros(0, dtype=torch.long),
            tensors=tensors,
            ids=ids,
            facts={
                "shard": number,
                "range": list(self.plan.bounds(number)),
                "plan": self.plan.digest,
                "method": self.job.method,
                "options": plain(registry.method(self.job.method).resolve(self.job.options)),  # as said: no absolute path
                "where": first.where if first else "",
                "target": first.target if first and not isinstance(first.target, list) else None,
                "model": first.model if first else {},
                "seed": self.job.seed,
            },
        )


def _tensors_of(explanation: Explanation, wanted: torch.dtype | None) -> dict[str, Tensor]:
    """What is kept of an explanation, on the CPU, a row for each example first."""
    found = {f"values/{name}": t if wanted is None else t.to(wanted) for name, t in explanation.values.items()}
    found |= {f"errors/{name}": t if wanted is None else t.to(wanted) for name, t in explanation.errors.items()}
    found |= {n: t for n in ("output", "baseline_output", "delta") if (t := getattr(explanation, n)) is not None}
    if isinstance(explanation.target, list):
        found["target"] = torch.tensor(explanation.target)
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def _taken(explanation: Explanation, good: Tensor) -> Explanation:
    """Those of an explanation's examples that are good, and of several layers' deltas these last."""
    n = len(good)

    def rows(tensor: Tensor) -> Tensor:
        return tensor if tensor.dim() == 0 or len(tensor) != n else tensor[good.to(tensor.device)]

    def some(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None else rows(tensor)

    delta, target = explanation.delta, explanation.target
    kept = [each for each, fine in zip(target, good.tolist(), strict=True) if fine] if isinstance(target, list) else target
    return attrs.evolve(
        explanation,
        values={name: rows(value) for name, value in explanation.values.items()},
        errors={name: rows(value) for name, value in explanation.errors.items()},
        output=some(explanation.output),
        baseline_output=some(explanation.baseline_output),
        delta=some(delta.T if delta is not None and delta.dim() == 2 else delta),
        target=kept,
        inputs={},
    )


def _finite(explanation: Explanation, n: int) -> Tensor:
    """Which examples have attributions, and an output, that are numbers."""
    good = torch.ones(n, dtype=torch.bool)
    for tensor in (*explanation.values.values(), explanation.output):
        if tensor is not None and len(tensor) == n:
            good &= tensor.isfinite().flatten(1).all(1).cpu() if tensor.dim() > 1 else tensor.isfinite().cpu()
    return good


def _refuse_common(failed: list[Failed], rows: int) -> None:
    """Raise JobError where all of many rows end in one error, of which they are not the cause."""
    if rows >= _SAME and len(failed) == rows and len({each.error for each in failed}) == 1:
        raise JobError(f"each of {rows} rows ends in the same error: {failed[0].error}")


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
        UsageError: there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r}: expected cpu or cuda: {str(error).splitlines()[0]}") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"device {name!r}: there is none here")
        if device.index is None:
            return torch.device("cuda", number % torch.cuda.device_count())
    return device


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
