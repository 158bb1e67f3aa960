"""In this process, one shard after another."""

from collections.abc import Iterator

from attrkit import ShardDone, ShardWork, placement


@placement("inline")
def inline(work: ShardWork) -> Iterator[ShardDone]:
    """Shards one after another, in this process."""
    do, queue = work.worker(), work.queue()
    while (shard := queue.take()) is not None:
        if (done := queue.settled(do(shard))) is not None:
            yield done
