"""How many rows a forward pass has: few at first, more while rows get cheaper and memory allows."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from attrkit.runner.memory import memory_cap

_FEWEST = 16
_FACTOR = 4
_TRIES = 2  # of a size that seems no faster, before the search grows no further
_CLOSER = 3  # of the best size and those beside it
_HOPELESS = 1.15  # how much cheaper a row is at the best size than at one that is not tried again
_WORTHWHILE = 1.05  # how much cheaper a row must get for the search to go on
_UNOBSERVED = nullcontext()
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
    cheaper or memory is at its cap. Then the fastest size is compared with its half and its double, until it is the fastest of
    the three. Each is tried several times, and its fastest pass counts: other work on the machine can only slow one down. Where
    memory runs out, the size is halved, whoever chose it.
    """

    n: int
    bound: int | None
    device: torch.device
    shortage: Shortage = attrs.field(factory=Shortage)
    rows: int = attrs.field(init=False)
    settled: bool = attrs.field(init=False)
    _start: int = attrs.field(init=False)
    _speeds: dict[int, float] = attrs.field(factory=dict, init=False)  # the most rows per second, by size
    _tries: Counter[int] = attrs.field(factory=Counter, init=False)
    _enough: int = attrs.field(default=sys.maxsize, init=False)  # a size that holds a whole call, while no call has had more
    _known: int = attrs.field(default=0, init=False)  # whole calls of so many rows show nothing more
    _ceiling: int = attrs.field(default=0, init=False)  # rows that memory allows; 0 while that is unknown
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.rows = self._start = min(self.bound or max(self.n, _FEWEST), self.shortage.rows)
        self.settled = self.bound is not None

    def bounded(self, bound: int) -> Sizing:
        """With a bound, and with what was learnt of memory."""
        return Sizing(self.n, bound, self.device, self.shortage)

    def observed(self, rows: int, *, more: bool, whole: bool = False) -> AbstractContextManager[None]:
        """Learn from one pass; ``more`` are to come, or it is the ``whole`` of a call, else a rest, which tells nothing."""
        telling = more or (whole and rows > max(self._start, self._known))
        if self.settled or not telling or rows > self.rows:  # it was begun before the size changed
            return _UNOBSERVED
        return self._observing(rows, more=more)

    def knows(self, rows: int) -> bool:
        """Whether a call of so many rows is one pass, from which there is nothing to learn."""
        return rows <= self.rows and (self.settled or rows <= max(self._start, self._known))

    @contextmanager
    def _observing(self, rows: int, *, more: bool) -> Iterator[None]:
        if not self._ceiling:
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
                    self._learn(size if more else self._holding(rows), speed, more=more)

    def halve(self, rows: int) -> None:
        """Have no pass of as many rows again, for which memory ran out."""
        with self._lock:
            if rows <= self.rows:  # else another pass has said so already
                self.rows = self._ceiling = self.shortage.rows = max(1, rows // 2)
                self.settled = True

    def _holding(self, rows: int) -> int:
        """The size, of those that are tried, that a whole call of so many rows needs."""
        size = self._start
        while size < rows:
            size *= 2
        return min(size, self._ceiling)

    def _learn(self, size: int, speed: float, *, more: bool) -> None:
        """Choose the next size, after a pass of one."""
        if not more:
            self._enough = size
        elif size >= self._enough:
            self._enough, self._known = sys.maxsize, 0
        self._tries[size] += 1
        self._speeds[size] = max(speed, self._speeds.get(size, 0.0))
        self.rows = self._next()

    def _next(self) -> int:
        """A larger size while rows get cheaper, then those near the best, then that."""
        most = min(self._ceiling, self._enough)
        speeds = {size: speed for size, speed in self._speeds.items() if size <= most}
        best, largest = max(speeds, key=speeds.__getitem__), max(speeds)
        others = max((speed for size, speed in speeds.items() if size != largest), default=0.0)
        if speeds[largest] < others * _WORTHWHILE:
            if self._tries[largest] < _TRIES:
                return largest
        elif largest < most:
            return min(largest * _FACTOR, most)
        near = [best, *(size for size in (best // 2, best * 2) if self._start <= size <= most and self._hopeful(size, best))]
        least = min(near, key=self._tries.__getitem__)
        if self._tries[least] < _CLOSER:
            return least
        self.settled = best * 2 <= self._enough  # else a call of more rows may show more
        self._known = self._enough
        return best

    def _hopeful(self, size: int, best: int) -> bool:
        """Whether a size beside the best may be faster: where the next one tried on that side was far slower, it is not."""
        side = [s for s in self._speeds if (s <= size if size < best else s >= size)]
        return not side or self._speeds[min(side, key=lambda s: abs(s - size))] * _HOPELESS > self._speeds[best]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
