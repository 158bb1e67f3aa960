"""A warning of torch's that tells users nothing, kept quiet while any thread is at what causes it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import attrs


@attrs.define
class _Quiet:
    """The filters of warnings belong to the process: the first to come changes them, the last to leave puts them back."""

    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _within: int = 0
    _before: warnings.catch_warnings[None] = attrs.field(factory=warnings.catch_warnings)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", "There is a performance drop")
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if not self._within:
                    self._before.__exit__(None, None, None)


#: Ignore, inside the block, that vmap falls back to a loop.
quiet = _Quiet()
