"""Under torchrun, or whatever else sets RANK and WORLD_SIZE: each process takes its share; none waits for another."""

import os
from collections.abc import Iterator

from attrkit import ShardDone, ShardWork, placement
from attrkit.errors import UsageError


@placement("torchrun", shares=True)
def torchrun(work: ShardWork) -> Iterator[ShardDone]:
    """Shards of one of several processes that torchrun started: those whose number divided by their count leaves its rank.

    By number, not by place among what is missing, of which processes that start at different times see different lists.

    Raises:
        UsageError: there is no RANK, WORLD_SIZE or LOCAL_RANK among the environment variables, or one is no number.
    """
    try:
        rank, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"executor torchrun needs the environment that torchrun sets ({error}); start it like: "
            "torchrun --nproc-per-node 2 -m attrkit run JOB.yaml --executor torchrun"
        ) from error
    own = [shard for shard in work.shards if shard % world == rank]
    if not own:
        return
    do, queue = work.worker(local), work.queue(own)
    while (shard := queue.take()) is not None:
        if (done := queue.settled(do(shard))) is not None:
            yield done
