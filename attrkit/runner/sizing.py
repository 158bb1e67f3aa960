"""How many rows a forward pass has: few at first, more while rows get cheaper and memory allows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from attrkit.errors import UsageError

_FEWEST = 16
_FACTOR = 4
_TRIES = 2
_WORTHWHILE = 1.05  # how much cheaper a row must get for the search to go on
_CPU_BYTES = 2**30
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


def memory_cap(device: torch.device) -> int:
    """The bytes that one pass may take: half of a GPU's free memory; on a CPU, ATTRKIT_MEMORY bytes or one GiB.

    Raises:
        UsageError: ATTRKIT_MEMORY is no positive number.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    text = os.environ.get("ATTRKIT_MEMORY", str(_CPU_BYTES))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"ATTRKIT_MEMORY must be a number of bytes, got {text!r}")
    return int(text)


@attrs.define
class Sizing:
    """The rows of the next pass over a batch of ``n`` examples. ``bound`` is a caller's, and is kept.

    Without a bound the size grows fourfold from pass to pass, and goes on with that in the next call, until a row is hardly any
    cheaper or memory is at its cap. A size is tried twice before it is given up: other work on the machine may have slowed the
    first pass.
    """

    n: int
    bound: int | None
    device: torch.device
    rows: int = 0
    settled: bool = False
    _best: tuple[float, int] = (0.0, 0)  # rows per second, and the size that had them
    _failed: int = 0  # times that the size has not been faster
    _ceiling: int = 0  # rows that memory allows; 0 while that is unknown

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.rows = self.bound or max(self.n, _FEWEST)
        self.settled = self.bound is not None

    @property
    def together(self) -> int:
        """Points that the next pass holds."""
        return max(1, self.rows // self.n) if self.n else 1

    @contextmanager
    def observed(self, rows: int, *, more: bool) -> Iterator[None]:
        """Learn from one pass; ``more`` are to come, else there is nothing to learn for."""
        if self.settled or not more:
            yield
        elif not self._ceiling:
            with _Allocated() as allocated:
                yield
            self._ceiling = max(rows, rows * memory_cap(self.device) // max(1, allocated.bytes))
            self.settled = self._ceiling <= self.rows  # else the next pass of this size, which measures nothing else, is timed
        else:
            started = self._now()
            yield
            self._compare(rows / (self._now() - started))

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
