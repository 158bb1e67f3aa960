"""Correct placements, written in other ways than attrkit's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from attrkit import ShardDone, ShardWork, placement


@placement("backwards")
def backwards(work: ShardWork) -> Iterator[ShardDone]:
    """Shards from the last to the first."""
    do, queue = work.worker(), work.queue(reversed(work.shards))
    while (shard := queue.take()) is not None:
        if (done := queue.settled(do(shard))) is not None:
            yield done


@placement("by_hand")
def by_hand(work: ShardWork) -> Iterator[ShardDone]:
    """Shards by a worker made of JSON, each as often as the job says, without a queue's help."""
    do = ShardWork.from_json(work.to_json()).worker(1)
    for shard in work.shards:
        for count in range(1, work.retries + 2):
            done = do(shard)
            if not done.error or done.final:
                break
            done = ShardDone(shard, error=f"{done.error} ({count} times)", final=True)
        yield done


@placement("by_a_thread")
def by_a_thread(work: ShardWork) -> Iterator[ShardDone]:
    """Shards by a thread beside this one, which is awaited at the end."""
    queue, ended = work.queue(), threading.Event()
    do = work.worker()

    def one() -> list[ShardDone]:
        found: list[ShardDone] = []
        while not found and not ended.is_set() and (shard := queue.take()) is not None:
            if (done := queue.settled(do(shard))) is not None:
                found.append(done)
        return found

    with ThreadPoolExecutor(1) as pool:
        try:
            while found := pool.submit(one).result():
                yield from found
        finally:
            ended.set()
