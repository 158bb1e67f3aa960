"""Placements with one mistake each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from attrkit import ShardDone, ShardWork, placement


@placement("loses")
def loses(work: ShardWork) -> Iterator[ShardDone]:
    """Shards in pairs, of which one that is left over is forgotten."""
    do = work.worker()
    for one, other in zip(work.shards[:-1:2], work.shards[1:-1:2], strict=False):
        yield from (do(one), do(other))


@placement("reports_twice")
def reports_twice(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, each of which it reports when it is done and again at the end."""
    done = [work.worker()(shard) for shard in work.shards]
    yield from done
    yield from done


@placement("does_all")
def does_all(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, also those that are there."""
    yield from map(work.worker(), range(work.shards_in_all))


@placement("gives_up")
def gives_up(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, none of which it begins again."""
    yield from map(work.worker(), work.shards)


@placement("keeps_quiet")
def keeps_quiet(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, of which it does not report those that failed."""
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        done = queue.settled(do(shard))
        if done is not None and not done.error:
            yield done


@placement("rewords")
def rewords(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, whose errors it replaces by words of its own."""
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        done = queue.settled(do(shard))
        if done is not None:
            yield ShardDone(shard, done.rows, error=done.error and "shard failed", final=done.final)


@placement("stops_at_an_error")
def stops_at_an_error(work: ShardWork) -> Iterator[ShardDone]:
    """Shards up to the first that fails for good."""
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        done = queue.settled(do(shard))
        if done is not None:
            yield done
            if done.error:
                return


@placement("runs_on")
def runs_on(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, done by a thread that nobody ends."""
    done: SimpleQueue[ShardDone | None] = SimpleQueue()

    def work_on() -> None:
        do, queue = work.worker(), work.queue()
        while (shard := queue.take()) is not None:
            if (found := queue.settled(do(shard))) is not None:
                done.put(found)
        done.put(None)

    threading.Thread(target=work_on, daemon=True).start()
    yield from iter(done.get, None)


@placement("thread_left")
def thread_left(work: ShardWork) -> Iterator[ShardDone]:
    """Shards, with a thread that watches over them and is not told of the end."""
    ended = threading.Event()
    threading.Thread(target=ended.wait, args=(3.0,), daemon=True).start()
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        if (found := queue.settled(do(shard))) is not None:
            yield found
    ended.set()


@placement("says_nothing")
def says_nothing(work: ShardWork, *, order: int = 1) -> Iterator[ShardDone]:
    """Shards in some order."""
    yield from map(work.worker(), work.shards[::order])


def _made() -> object:
    @placement("made")
    def made(work: ShardWork) -> Iterator[ShardDone]:
        """Shards, in a function that no worker finds."""
        yield from map(work.worker(), work.shards)

    return made


made_here = _made()
