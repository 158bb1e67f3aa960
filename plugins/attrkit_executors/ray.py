"""On a Ray cluster: one actor per worker, which loads the model once. Lost shards are begun again from here.

Ray's own retries are not relied on: where a node is lost they are used up within seconds, on the dead node.
"""

from collections.abc import Iterator
from typing import Any

import attrs

from attrkit import ShardDone, ShardQueue, ShardWork, placement
from attrkit.errors import AttrkitError, MissingExtra, UsageError

_LOST = 20  # actors in a row that were lost before one did a shard


def _ray() -> Any:
    """The package."""
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtra("executor ray", "ray", "ray") from error
    return ray


class Actor:
    """A worker in a process of the cluster."""

    def __init__(self, work: ShardWork, number: int) -> None:
        self._do = work.worker(number)

    def begun(self) -> None:
        """Answers when the model is loaded."""

    def do(self, shard: int) -> ShardDone:
        """Do a shard."""
        return self._do(shard)


@placement("ray")
def ray(
    work: ShardWork,
    *,
    workers: int = 2,
    address: str = "local",
    num_cpus: float = 1,
    num_gpus: float = 0,
    resources: Any = None,
    patience: float = 600.0,
) -> Iterator[ShardDone]:
    """Shards by actors of a Ray cluster, which share the output folder; one that is lost, or its node, is replaced.

    Args:
        workers: how many actors.
        address: of the cluster, like ``auto`` or ``host:6379``; ``local`` starts one on this machine, and ends it.
        num_cpus: processor cores of an actor.
        num_gpus: GPUs of an actor, or a fraction of one.
        resources: what else an actor needs of a node, a mapping of names to amounts.
        patience: seconds that no actor begins in, and none does a shard, before it is said that the cluster has no room.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: there is no worker, or an actor cannot read model or data.
        AttrkitError: actors are lost one after another, or the cluster has no room for them.
    """
    engine = _ray()
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    started = not engine.is_initialized()
    if started:  # always with an address: without one, Ray joins whatever cluster was left behind on this machine
        engine.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    remote = engine.remote(num_cpus=num_cpus, num_gpus=num_gpus, resources=resources, max_restarts=0)(Actor)
    actors = _Actors(engine, remote, work, work.queue())
    try:
        for number in range(min(workers, len(work.shards))):
            actors.begin(number)
        while actors.unfinished():
            actors.give()
            if (done := actors.answer(patience)) is not None:
                yield done
    finally:
        actors.end()
        if started:
            engine.shutdown()


@attrs.define
class _Actors:
    """Actors of one job, and what each is doing."""

    engine: Any
    remote: Any
    work: ShardWork
    queue: ShardQueue
    actors: dict[int, Any] = attrs.field(factory=dict)
    doing: dict[Any, tuple[int, int | None]] = attrs.field(factory=dict)  # actor and shard; None while the actor begins
    lost: int = 0  # since one answered

    def begin(self, number: int) -> None:
        """Have an actor placed; it is given shards when it is there, so that none waits for room on the cluster."""
        actor = self.actors[number] = self.remote.remote(self.work, number)
        self.doing[actor.begun.remote()] = number, None

    def unfinished(self) -> bool:
        """Whether a shard waits, or is being done."""
        return self.queue.waits() or any(shard is not None for _, shard in self.doing.values())

    def give(self) -> None:
        """Give each idle actor a shard."""
        for number in self.actors.keys() - {number for number, _ in self.doing.values()}:
            if (shard := self.queue.take()) is not None:
                self.doing[self.actors[number].do.remote(shard)] = number, shard

    def answer(self, patience: float) -> ShardDone | None:
        """What is to be yielded of the next answer; a shard may take as long as it likes."""
        computing = any(shard is not None for _, shard in self.doing.values())
        ready, _ = self.engine.wait(list(self.doing), timeout=None if computing else patience)
        if not ready:
            raise AttrkitError(
                f"no actor began in {patience:g} s; has the cluster room for {len(self.actors)} such actors (ray status)? "
                "Where the model takes that long to load, give the executor more patience"
            )
        number, shard = self.doing.pop(ready[0])
        try:
            found = self.engine.get(ready[0])
        except self.engine.exceptions.RayActorError as error:
            _refuse(error)
            if (lost := self.lost + 1) > _LOST:
                raise AttrkitError(f"{_LOST} actors were lost one after another: {error}") from error
            self.lost = lost
            self.begin(number)
            return None if shard is None else self.queue.lost(shard, f"its actor was lost: {_first_line(error)}")
        self.lost = 0
        return None if shard is None else self.queue.settled(found)

    def end(self) -> None:
        """End all."""
        for actor in self.actors.values():
            self.engine.kill(actor)


def _refuse(error: Any) -> None:
    """Raise UsageError where an actor ended because it cannot read model or data, which would come again."""
    if (cause := getattr(error, "cause", None)) is not None and "UsageError" in type(cause).__name__:
        raise UsageError(str(cause)) from error
    if "UsageError" in (text := str(error)) and "creation task" in text:
        raise UsageError(text.strip().splitlines()[-1]) from error


def _first_line(error: Any) -> str:
    return str(error).strip().partition("\n")[0]
