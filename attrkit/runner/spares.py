"""Several forwards of one model, of which each serves one piece of work at a time, in whichever thread that runs."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

import attrs
import torch

from attrkit.protocols import Result, Work

Item = TypeVar("Item")
_changed = threading.Condition()  # told when anything becomes free: most calls wait for nothing, and make none of their own


@attrs.define(eq=False)
class Spares(Generic[Item]):
    """What is free, the next one last. Where nothing is, ``more`` makes another; without it, whoever asks waits."""

    free: list[Item]
    more: Callable[[], Item] | None = None

    @contextmanager
    def taken(self) -> Iterator[Item]:
        """One that nobody else has meanwhile."""
        item = self._next()
        try:
            yield item
        finally:
            with _changed:
                self.free.append(item)
                _changed.notify_all()

    def let_go(self) -> None:
        """Hold nothing any more: what is held refers to this, and would stay in memory until the garbage collector runs."""
        self.free.clear()
        self.more = None

    def _next(self) -> Item:
        with _changed:
            if self.more is None:
                _changed.wait_for(lambda: self.free)
            if self.free:
                return self.free.pop()
            more = self.more
        assert more is not None  # for the type checker
        return more()


@attrs.frozen
class Surroundings:
    """What holds for one thread only, and which pieces of work that run in others must find there too."""

    thread: int
    context: contextvars.Context
    autocast: tuple[tuple[str, torch.dtype, bool], ...]  # by type of device
    caching: bool
    device: torch.device

    @classmethod
    def here(cls) -> Surroundings:
        """Those of this thread."""
        kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        autocast = tuple((kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds)
        caching = torch.is_autocast_cache_enabled()
        return cls(threading.get_ident(), contextvars.copy_context(), autocast, caching, torch.get_default_device())

    def carried(self, do: Callable[[Work], Result]) -> Callable[[Work], Result]:
        """``do`` with these around it, in whichever thread it is called."""

        def entered(work: Work) -> Result:
            with ExitStack() as stack:
                for kind, dtype, enabled in self.autocast:
                    if enabled or torch.is_autocast_enabled(kind):
                        stack.enter_context(torch.autocast(kind, dtype, enabled, self.caching))
                if torch.get_default_device() != self.device:
                    stack.enter_context(self.device)
                return do(work)

        def called(work: Work) -> Result:
            if threading.get_ident() == self.thread:
                return do(work)
            return self.context.copy().run(entered, work)

        return called
