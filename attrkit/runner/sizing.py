"""How many rows a forward pass has: few at first, more while rows get cheaper and memory allows."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from attrkit.runner.memory import memory_cap

_FEWEST = 16
_FACTOR = 4
_TRIES = 2
_WORTHWHILE = 1.05  # how much cheaper a row must get for the search to go on
_WITHIN = 2  # how much more than its output a function may keep


class _Allocated(TorchFunctionMode):
    """Adds up what torch's functions return, as a measure of what a pass keeps.

    A mode of torch's dispatcher would see what is made within them too, but its first use imports torch's compiler, which takes
    seconds; ``_WITHIN`` stands for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        made = (t for t in tree_leaves(output) if type(t) is Tensor and t._base is None)
        self.bytes += _WITHIN * sum(t.nbytes for t in made if not any(t is a for a in args))
        return output


@attrs.define
class Shortage:
    """Of passes of one shape: how many rows they may have since memory ran out."""

    rows: int = sys.maxsize


@attrs.define
class Sizing:
    """The rows of the next pass, ``n`` or a few more at first. ``bound`` is a caller's, and is kept.

    Without a bound the size grows fourfold from pass to pass, and goes on with that in the next call, until a row is hardly any
    cheaper or memory is at its cap. A size is tried twice before it is given up: other work on the machine may have slowed the
    first pass. Where memory runs out, the size is halved, whoever chose it.
    """

    n: int
    bound: int | None
    device: torch.device
    shortage: Shortage = attrs.field(factory=Shortage)
    rows: int = attrs.field(init=False)
    settled: bool = attrs.field(init=False)
    _best: tuple[float, int] = attrs.field(default=(0.0, 0), init=False)  # rows per second, and the size that had them
    _failed: int = attrs.field(default=0, init=False)  # times that the size has not been faster
    _ceiling: int = attrs.field(default=0, init=False)  # rows that memory allows; 0 while that is unknown
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.rows = min(self.bound or max(self.n, _FEWEST), self.shortage.rows)
        self.settled = self.bound is not None

    def bounded(self, bound: int) -> Sizing:
        """With a bound, and with what was learnt of memory."""
        return Sizing(self.n, bound, self.device, self.shortage)

    @contextmanager
    def observed(self, rows: int, *, more: bool) -> Iterator[None]:
        """Learn from one pass; ``more`` are to come, else there is nothing to learn for."""
        if self.settled or not more or rows > self.rows:  # it was begun before the size changed
            yield
        elif not self._ceiling:
            with _Allocated() as allocated:
                yield
            with self._lock:
                self._ceiling = max(rows, rows * memory_cap(self.device) // max(1, allocated.bytes))
                self.settled = self._ceiling <= self.rows  # else the next pass of this size is timed, and nothing else
        else:
            size, started = self.rows, self._now()
            yield
            speed = rows / (self._now() - started)
            with self._lock:
                if size == self.rows and not self.settled:
                    self._compare(speed)

    def halve(self, rows: int) -> None:
        """Have no pass of as many rows again, for which memory ran out."""
        with self._lock:
            if rows <= self.rows:  # else another pass has said so already
                self.rows = self._ceiling = self.shortage.rows = max(1, rows // 2)
                self.settled = True

    def _compare(self, speed: float) -> None:
        """Go on growing, try again, or settle on the size that was fastest."""
        fastest, _ = self._best
        if speed >= fastest * _WORTHWHILE:
            self._best, self._failed = (speed, self.rows), 0
            self._grow()
        elif self._failed < _TRIES - 1:
            self._failed += 1
        else:
            self.settled = True
            self.rows = self.rows if speed > fastest else self._best[1]

    def _grow(self) -> None:
        larger = min(self.rows * _FACTOR, self._ceiling)
        self.settled = larger <= self.rows
        self.rows = max(self.rows, larger)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
