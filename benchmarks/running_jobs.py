"""What a data set job costs beside the explanations themselves."""

import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import nn

import attrkit

HEAD = ("case", "explaining", "a plain write", "a shard", "overhead of 1 s", "bar", "", "overhead in processor time")
_ROWS, _STEPS = 256, 4
_SHAPES = ((512,), (3, 32, 32))
_EXECUTORS: dict[str, object] = {"inline": "inline", "local, one process": {"kind": "local", "workers": 1}}
_FEW, _MANY = 3, 15  # shards
_BAR, _BARRED = 1.0, 2**19  # percent, of shards of so many bytes
_NET = """\
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear({inputs}, 4)).eval()
"""

TEXT = f"""\
A shard is {_ROWS} rows, and the model one linear layer, so that little else is to be seen. *A shard* is the time from one
commit to the next by the clock: reading, explaining, writing, a checksum, and two files synced to the disk; the start of a job
is not in it. *Explaining* is a call for the same rows without a job. The rest is the overhead, in percent of one second. The
bar is for shards of half a MiB of attributions, inputs being as large; what grows with the size is reading and writing, of
which *a plain write* is a part: as many bytes in a file of their own, synced. Processor time is the difference of jobs of
{_MANY} and of {_FEW} shards, less that of explaining; a process of its own is not measured so. Medians of rounds."""


@attrs.frozen
class Overhead:
    """Seconds by the clock: of explaining a shard's rows, of a shard, and of writing as many bytes.

    And of the processor beside explaining, where that is known.
    """

    case: str
    explaining: float
    shard: float
    writing: float
    processor: float | None
    barred: bool

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        percent = 100 * (self.shard - self.explaining)
        times = [f"{1e3 * seconds:.1f} ms" for seconds in (self.explaining, self.writing, self.shard)]
        bar = [f"≤ {_BAR:g} %", "pass" if percent <= _BAR else "**FAIL**"] if self.barred else ["", ""]
        processor = "" if self.processor is None else f"{1e2 * self.processor:.2f} %"
        return [self.case, *times, f"{percent:.2f} %", *bar, processor]


def measured(rounds: int, only: str = "") -> Iterator[Overhead]:
    """That of each case whose name contains ``only``."""
    for shape in _SHAPES:
        with tempfile.TemporaryDirectory(prefix="benchmark-jobs-") as place:
            folder = Path(place)
            (folder / "net.py").write_text(_NET.format(inputs=prod(shape)))
            rows = np.random.default_rng(0).normal(size=(_MANY * _ROWS, *shape)).astype("float32")
            for shards in (_FEW, _MANY):
                np.save(folder / f"{shards}.npy", rows[: shards * _ROWS])
            for name, executor in _EXECUTORS.items():
                if only in (case := f"{name}, {rows[:_ROWS].nbytes / 2**20:g} MiB"):
                    yield _measured(case, executor, folder, torch.from_numpy(rows[:_ROWS]), rounds)


def _measured(case: str, executor: object, folder: Path, x: torch.Tensor, rounds: int) -> Overhead:
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4)).eval()
    explaining, shard, writing, processor = (list[float]() for _ in range(4))
    for number in range(rounds + 1):
        few, many = (_ran(folder, shards, executor, f"{case} {number} {shards}") for shards in (_FEW, _MANY))
        bare = [_explained(model, x) for _ in range(_MANY)]
        if number:  # the first warms up
            explaining.append(statistics.median(clock for clock, _ in bare))
            shard.append(many[0])
            writing.append(statistics.median(_written(folder / f"{k}.plain", x.numpy().tobytes()) for k in range(_MANY)))
            processor.append((many[1] - few[1]) / (_MANY - _FEW) - statistics.mean(used for _, used in bare))
    medians = [statistics.median(seconds) for seconds in (explaining, shard, writing)]
    inline = statistics.median(processor) if executor == "inline" else None
    return Overhead(case, *medians, inline, barred=x.nbytes <= _BARRED)


def _written(path: Path, data: bytes) -> float:
    started = time.perf_counter()
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return seconds


def _explained(model: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    clock, processor = time.perf_counter(), _processor()
    attrkit.explain(model, x, "integrated_gradients", target=1, n_steps=_STEPS, internal_batch_size=_ROWS)
    return time.perf_counter() - clock, _processor() - processor


def _ran(folder: Path, shards: int, executor: object, out: str) -> tuple[float, float]:
    """Seconds from one commit of a job to the next, by the clock, and the whole job's of the processor."""
    job = {
        "model": f"{folder / 'net.py'}:net",
        "data": {"path": os.fspath(folder / f"{shards}.npy")},
        "method": {"name": "integrated_gradients", "n_steps": _STEPS},
        "target": 1,
        "output": {"path": os.fspath(folder / out)},
        "shards": {"rows": _ROWS, "chunk": _ROWS},
        "executor": executor,
    }
    before = _processor()
    result = attrkit.run(job)
    used = _processor() - before
    if not result.done:
        raise RuntimeError(f"the job did not finish: {result}")
    times = sorted(json.loads(commit.read_text())["time"] for commit in (folder / out / "_commits").glob("*.json"))
    return statistics.median(b - a for a, b in pairwise(times)), used


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
