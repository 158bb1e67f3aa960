"""Executors with one mistake each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

Do = Callable[[Any], Any]


class AsTheyCome:
    """Yields results as threads are done with them."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        pieces = iter(work)
        with ThreadPoolExecutor(4) as pool:
            while futures := [pool.submit(do, piece) for piece in islice(pieces, 8)]:
                yield from (future.result() for future in as_completed(futures))


class AllAtOnce:
    """Takes all of the work before the first result."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(do, list(work))


class Eager:
    """Does the work where it is asked to run, and not where a result is."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        return iter([do(piece) for piece in islice(work, 1000)])


class Forgiving:
    """Gives None for a piece that fails."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        for piece in work:
            try:
                found = do(piece)
            except Exception:  # noqa: BLE001 - which is the fault
                found = None
            yield found


class NoResultForNone:
    """Takes a result of None for none."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        return (found for piece in work if (found := do(piece)) is not None)


class Renaming:
    """Raises an error of its own in place of what the work raised."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        for piece in work:
            try:
                yield do(piece)
            except Exception as error:
                raise RuntimeError("a piece of work failed") from error


class ThreadsLeft:
    """Shuts its thread down after the last result, and so not where an error comes before."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        POOLS.append(pool := ThreadPoolExecutor(1))
        for piece in work:
            yield pool.submit(do, piece).result()
        pool.shutdown()


POOLS: list[ThreadPoolExecutor] = []


class OnceOnly:
    """Remembers the work of the first run."""

    def __init__(self) -> None:
        self.work: Iterator[Any] | None = None

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        self.work = self.work or iter(work)
        for piece in self.work:
            yield do(piece)


class NoneToBegin:
    """Takes the first piece for granted."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        pieces = iter(work)
        yield do(next(pieces))
        yield from map(do, pieces)


class EndsWithTheWork:
    """Takes an error of the work for its end."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        pieces = iter(work)
        while True:
            try:
                piece = next(pieces)
            except Exception:  # noqa: BLE001 - which is the fault
                return
            yield do(piece)


class RunsOn:
    """Does what it has begun to plan after nobody asks for more."""

    def run(self, work: Iterable[Any], do: Do) -> Iterator[Any]:
        POOLS.append(pool := ThreadPoolExecutor(1))
        pieces = iter(work)
        waiting = deque(pool.submit(do, piece) for piece in islice(pieces, 40))
        try:
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(do, piece) for piece in islice(pieces, 1))
                yield found
        finally:
            pool.shutdown(wait=False)
