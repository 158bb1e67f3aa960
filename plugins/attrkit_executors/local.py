"""On this machine, in a pool of fresh interpreters; one that dies is replaced, and its shard begun again."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import attrs

from attrkit import ShardDone, ShardQueue, ShardWork, placement
from attrkit.errors import AttrkitError, UsageError


class _Found(SimpleQueue["ShardDone | BaseException | None"]):
    """What became of shards, what went wrong, and None for each thread that has ended."""


@attrs.define
class _Process:
    """A worker in a process of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def started(cls) -> "_Process":
        """A fresh interpreter, which imports from where this one does."""
        paths = os.pathsep.join(path for path in sys.path if path)
        return cls(
            subprocess.Popen(
                [sys.executable, "-m", "attrkit.jobs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
            )
        )

    def load(self, work: ShardWork, number: int) -> None:
        """Have it load the model.

        Raises:
            UsageError: it cannot.
            AttrkitError: it ended without a word.
        """
        answer = self.asked(f"{number} {work.to_json()}")
        if answer is None:
            raise AttrkitError(f"worker {number} {self.end()} before it had loaded the model")
        if "error" in answer:
            raise UsageError(f"worker {number}: {answer['error']}")

    def asked(self, line: str) -> dict[str, Any] | None:
        """What it answers to a line; None where it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except (BrokenPipeError, ValueError):
            return None
        return dict(json.loads(answer)) if answer.endswith("\n") else None

    def end(self) -> str:
        """End it, and say how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:  # what was not sent yet is of no use now
                continue
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _serve(work: ShardWork, number: int, queue: ShardQueue, running: dict[int, _Process], found: _Found) -> None:
    """Have one process after another do shards until none waits."""
    try:
        while queue.waits():
            if number not in running:
                running[number] = _Process.started()  # known before it loads the model, so that it can be ended meanwhile
                running[number].load(work, number)
            if (shard := queue.take()) is None:
                break
            if (answer := running[number].asked(str(shard))) is None:
                done = queue.lost(shard, f"worker {number} {running.pop(number).end()}")
            else:
                done = queue.settled(ShardDone(**answer))
            if done is not None:
                found.put(done)
    except BaseException as error:  # noqa: BLE001 - it is raised where shards are waited for
        found.put(error)
    finally:
        if number in running:
            running.pop(number).end()
        found.put(None)


@placement("local")
def local(work: ShardWork, *, workers: int = 2) -> Iterator[ShardDone]:
    """Shards in a pool of processes on this machine; one that dies is replaced, and its shard begun again.

    Args:
        workers: how many processes; of several GPUs, they take turns.

    Raises:
        UsageError: there is no worker, or one cannot read model or data.
        AttrkitError: a worker ended before it had loaded the model.
    """
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    count = min(workers, len(work.shards))
    queue, found, running = work.queue(), _Found(), dict[int, _Process]()
    threads = [threading.Thread(target=_serve, args=(work, n, queue, running, found), daemon=True) for n in range(count)]
    try:
        for thread in threads:
            thread.start()
        while count:
            answer = found.get()
            if answer is None:
                count -= 1
            elif isinstance(answer, ShardDone):
                yield answer
            else:
                raise answer
    finally:
        queue.stop()
        for process in list(running.values()):
            process.process.kill()  # its thread is waiting for its answer
        for thread in threads:
            thread.join()
