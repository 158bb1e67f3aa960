"""What a placement is given: the shards that are missing, workers that do them, and a queue that takes back what was lost."""

from __future__ import annotations

import errno
import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs

Worker = Callable[[int], "ShardDone"]

_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}  # whatever is computed cannot be kept


@attrs.frozen
class ShardDone:
    """What became of a shard: how many rows it has, and how many failed; or the error that it ended in.

    ``final`` says that the error would come again, ``ends`` that it would in every shard: the job ends with it.
    """

    shard: int
    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    error: str = ""
    final: bool = False
    ends: bool = False


@attrs.frozen(kw_only=True)
class ShardWork:
    """The shards that a placement is to have done. It is plain values, and travels as JSON or as a pickle.

    Attributes:
        shards: their numbers.
        shards_in_all: how many the job has.
        retries: how often a shard is begun again.
        said: what the job file says.
        folder: where that lies.
        plan: the text of the plan.
    """

    shards: tuple[int, ...]
    shards_in_all: int
    retries: int
    said: Mapping[str, Any]
    folder: str
    plan: str

    def worker(self, number: int = 0) -> Worker:
        """What does a shard, in this process: computes and commits it, and returns what became of it, errors included.

        The model is loaded at once. Of several devices, the worker's ``number`` chooses one.

        Raises:
            UsageError: model or data cannot be read.
        """
        from attrkit.jobs.computing import Calculation
        from attrkit.jobs.job import job_from
        from attrkit.jobs.ledger import Ledger
        from attrkit.jobs.plan import Plan

        job, plan = job_from(self.said, Path(self.folder)), Plan.from_json(self.plan, "the plan")
        calculation, ledger = Calculation(job, plan, number), Ledger(job.out)

        def do(shard: int) -> ShardDone:
            started = perf_counter()
            try:
                return _done(calculation, ledger, plan, shard, started)
            except Exception as error:  # noqa: BLE001 - whatever it is, the driver decides what becomes of the shard
                return _refused(shard, error)

        return do

    def queue(self, shards: Iterable[int] | None = None) -> ShardQueue:
        """The shards, or some of them, each to be taken by one worker."""
        return ShardQueue(self.shards if shards is None else shards, self.retries)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ShardWork:
        """What ``to_json`` gave."""
        found = json.loads(text)
        return cls(**{**found, "shards": tuple(found["shards"])})


def _done(calculation: Any, ledger: Any, plan: Any, shard: int, started: float) -> ShardDone:
    """Compute a shard and commit it."""
    computed, failed, warned = calculation.shard(shard)
    data = computed.encoded(plan.facts["output"]["format"])
    rows, seconds = len(computed.rows), perf_counter() - started
    ledger.commit(
        plan,
        shard,
        data,
        {"rows": rows, "failed": [attrs.asdict(each) for each in failed], "warnings": warned, "seconds": round(seconds, 3)},
    )
    return ShardDone(shard, rows, len(failed), seconds)


def _refused(shard: int, error: Exception) -> ShardDone:
    from attrkit.jobs.computing import JobError
    from attrkit.jobs.ledger import Replaced

    said = isinstance(error, JobError | Replaced)
    ends = said or (isinstance(error, OSError) and error.errno in _NO_PLACE)
    return ShardDone(shard, error=str(error) if said else f"{type(error).__name__}: {error}", final=ends, ends=ends)


@attrs.define
class ShardQueue:
    """Shards that are to be done, for several threads. What was lost is begun again, so often and no more."""

    shards: Iterable[int]
    retries: int
    _waiting: deque[int] = attrs.field(init=False)
    _lost: Counter[int] = attrs.field(init=False, factory=Counter)
    _stopped: bool = attrs.field(init=False, default=False)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        """All wait."""
        self._waiting = deque(self.shards)

    def waits(self) -> bool:
        """Whether there is one to be taken."""
        return bool(self._waiting)

    def take(self) -> int | None:
        """The next one; None where none waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def settled(self, done: ShardDone) -> ShardDone | None:
        """What is to be yielded of a shard: None where it is begun again after an error."""
        return self.lost(done.shard, done.error) if done.error and not done.final else done

    def lost(self, shard: int, reason: str) -> ShardDone | None:
        """Take a shard back: None where it is begun again, else what became of it."""
        with self._lock:
            self._lost[shard] += 1
            if self._lost[shard] <= self.retries:
                self._waiting.extend(() if self._stopped else [shard])
                return None
        times = f" ({self._lost[shard]} times)" if self.retries else ""
        return ShardDone(shard, error=f"{reason}{times}", final=True)

    def stop(self) -> None:
        """Nothing more is to be taken, and nothing is begun again."""
        with self._lock:
            self._stopped = True
            self._waiting.clear()
