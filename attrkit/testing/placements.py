"""What placements of a job's shards promise: each shard is done once and reported once, and what fails is begun again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import numpy as np

from attrkit.jobs import JobResult, ShardDone, ShardWork, run
from attrkit.jobs.ledger import COMMITS, SUCCESS, digest
from attrkit.parts import PlacementSpec
from attrkit.registry import registry
from attrkit.testing.declared import declared

check = declared()

_NET = """
import time

import torch
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        time.sleep(PAUSE)
        if (x == 99).any():
            raise MemoryError("a shard that fails")
        return x ** 2

net = Net()
"""
_ROWS, _SHARD, _SHARDS = 14, 4, 4
_PAUSE, _PATIENCE = (
    0.1,
    0.6,
)  # seconds: of a pass, where shards are to take a while; and how long is waited for what comes of it
_UNDER_TEST = "under_test"


@attrs.frozen(eq=False)
class PlacementSubject:
    """One placement, with the options under test."""

    spec: PlacementSpec
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def placed(self, folder: Path, name: str, **more: Any) -> tuple[JobResult, list[ShardDone]]:
        """What came of a small job, and what was reported of its shards; further arguments are those of ``_placed``."""
        bound = self.spec.resolve(self.options)
        return _placed(lambda work: self.spec.function(work, **bound), folder, name, **more)


def _placed(
    place: Callable[[ShardWork], Iterable[ShardDone]],
    folder: Path,
    name: str,
    *,
    corrupt: Sequence[int] = (),
    first_only: bool = False,
) -> tuple[JobResult, list[ShardDone]]:
    """Run a small job. ``corrupt`` rows make their shards fail; with ``first_only``, nobody asks for a second report."""
    x = np.arange(3.0 * _ROWS, dtype=np.float32).reshape(_ROWS, 3)
    x[list(corrupt)] = 99
    (folder / "net.py").write_text(_NET.replace("PAUSE", str(_PAUSE if first_only else 0)))
    np.save(folder / "x.npy", x)
    reported: list[ShardDone] = []

    def noting(work: ShardWork) -> Iterator[ShardDone]:
        each = place(work)
        for done in each:
            reported.append(done)
            yield done
            if first_only:
                break
        if isinstance(each, Generator):
            each.close()

    job = {
        "model": f"{folder / 'net.py'}:net",
        "data": str(folder / "x.npy"),
        "method": "saliency",
        "target": 0,
        "output": {"path": str(folder / name), "index": "jsonl"},
        "shards": {"rows": _SHARD, "chunk": 2},
        "on_error": {"retries": 1},
    }
    registry.register(PlacementSpec(_UNDER_TEST, noting), _UNDER_TEST)
    try:
        return run(job, executor=_UNDER_TEST), reported
    finally:
        registry.unregister(_UNDER_TEST)


def _inline(work: ShardWork) -> Iterator[ShardDone]:
    return map(work.worker(), work.shards)


def _bytes(folder: Path) -> dict[str, str]:
    return {file.name: digest(file) for file in folder.iterdir() if file.is_file()}


def _numbers(reported: Iterable[ShardDone]) -> list[int]:
    return sorted(done.shard for done in reported)


@check()
def every_shard_is_done_and_reported_once(s: PlacementSubject) -> None:
    """Each shard is done, and reported once; the files are those that one process writes."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        result, reported = s.placed(folder, "out")
        assert result.done, f"{len(result.files)} of {result.shards} shards were done; it said {reported}"
        assert _numbers(reported) == list(range(_SHARDS)), f"of {_SHARDS} shards it reported {_numbers(reported)}"
        assert all(not done.error for done in reported), f"it reported errors where there are none: {reported}"
        expected, _ = _placed(_inline, folder, "expected")
        assert _bytes(result.folder) == _bytes(expected.folder), "the files differ from those that one process writes"


@check()
def what_is_there_is_left_alone(s: PlacementSubject) -> None:
    """Only the shards that it is given are done."""
    with TemporaryDirectory() as name:
        result, _ = _placed(_inline, Path(name), "out")
        (result.folder / COMMITS / "000002.json").unlink()
        (result.folder / SUCCESS).unlink()
        again, reported = s.placed(Path(name), "out")
        assert again.done, "the shard that was missing was not done"
        assert _numbers(reported) == [2], f"shard 2 was missing; it reported {_numbers(reported)}"


@check()
def what_fails_is_begun_again_then_reported(s: PlacementSubject) -> None:
    """A shard that fails is begun again as often as the job says, then reported with its error; the others are done."""
    with TemporaryDirectory() as name:
        result, reported = s.placed(Path(name), "out", corrupt=(5, 9))
        assert _numbers(reported) == list(range(_SHARDS)), f"of {_SHARDS} shards it reported {_numbers(reported)}"
        assert sorted(result.errors) == [1, 2], f"shards 1 and 2 fail; errors were reported of {list(result.errors)}"
        assert "a shard that fails" in result.errors[1], f"the error became {result.errors[1]!r}"
        assert "(2 times)" in result.errors[1], "it was not begun again; pass what became of a shard through queue.settled"
        assert len(result.files) == _SHARDS - 2, "shards beside those that fail were not done"


@check()
def nothing_runs_after_it_is_closed(s: PlacementSubject) -> None:
    """When no more reports are asked for, as where an error ends the job, no shard is begun and no thread is left."""
    with TemporaryDirectory() as name:
        before = set(threading.enumerate())
        result, _ = s.placed(Path(name), "out", first_only=True)
        there = len(list((result.folder / COMMITS).glob("*.json")))
        time.sleep(_PATIENCE)
        later = len(list((result.folder / COMMITS).glob("*.json")))
        left = [thread.name for thread in set(threading.enumerate()) - before]
        assert later == there, f"{later - there} shards were done after it was closed; end the workers in a finally clause"
        assert not left, f"the threads {', '.join(left)} were left behind"
