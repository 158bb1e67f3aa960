"""Where pieces of work run. The serial one runs them here, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrkit.protocols import Result, Work


class Serial:
    """Implements the Executor protocol on the model's own device."""

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]:
        """Yield ``do(piece)`` for each piece of work, in order, computing nothing ahead."""
        return map(do, work)
