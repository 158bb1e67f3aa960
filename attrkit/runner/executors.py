"""Where pieces of work run: here, one after the other, or in as many threads as there are devices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import attrs

from attrkit.protocols import Result, Work

_AHEAD = 2  # pieces that each thread may be ahead of the results that were asked for


class Serial:
    """Implements the Executor protocol on the model's own device."""

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]:
        """Yield ``do(piece)`` for each piece of work, in order, computing nothing ahead."""
        return map(do, work)


@attrs.frozen
class Threads:
    """Implements the Executor protocol with ``count`` threads, for a model with as many replicas."""

    count: int

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]:
        """Yield ``do(piece)`` for each piece of work, in order; whichever thread is free takes the next."""
        pool = ThreadPoolExecutor(self.count, thread_name_prefix="attrkit")
        begun = _begun(work, lambda piece: pool.submit(do, piece))
        try:
            running = deque(islice(begun, _AHEAD * self.count))
            while running:
                yield running.popleft().result()
                running.extend(islice(begun, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _begun(work: Iterable[Work], begin: Callable[[Work], Future[Result]]) -> Iterator[Future[Result]]:
    """The pieces of work, begun; an error in making the next one is its result, and comes after the results before it."""
    try:
        for piece in work:
            yield begin(piece)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
