"""A limit on the time of explanations: an executor that starts no pass of the model when the time is up."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from attrkit import hookimpl
from attrkit.errors import UsageError
from attrkit.protocols import Executor, Result, Work


class TimeIsUp(KeyboardInterrupt):
    """What ends an explanation: to methods it is the user's Ctrl-C, of which some make a result of what they know."""


class _Limit:
    def __init__(self, end: float) -> None:
        self.end, self.reached = end, False

    def kept(self, work: Iterable[Work]) -> Iterator[Work]:
        for piece in work:
            if time.monotonic() > self.end:
                self.reached = True
                raise TimeIsUp
            yield piece


_limit: ContextVar[_Limit | None] = ContextVar("_limit", default=None)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Explanations in this block start no pass of the model when ``seconds`` are over, or a limit around it is.

    Raises:
        TimeoutError: the time is up, and a method has nothing that it could return. The model is as it was.
        UsageError: ``seconds`` is not positive.
    """
    if not seconds > 0:
        raise UsageError(f"seconds must be a positive number, got {seconds!r}")
    outer, end = _limit.get(), time.monotonic() + seconds
    mine = _Limit(end if outer is None else min(end, outer.end))
    token = _limit.set(mine)
    try:
        yield
    except KeyboardInterrupt as error:
        if not mine.reached:
            raise
        raise TimeoutError("the explanation was not ready in time") from error
    finally:
        _limit.reset(token)


class Deadline:
    """Implements the Executor protocol around the executor that is used anyway; None is for one pass after another."""

    def __init__(self, inner: Executor | None) -> None:
        self.inner = inner

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]:
        """Yield ``do(piece)`` for each piece of work, in order, until the time is up."""
        if (current := _limit.get()) is not None:
            work = current.kept(work)
        return map(do, work) if self.inner is None else self.inner.run(work, do)


@hookimpl(wrapper=True)
def attrkit_executor() -> Generator[None, Executor | None, Executor]:
    """Put it around what other plugins offer."""
    return Deadline((yield))
