"""What went into operations in the pass over the baseline, for rules that compare with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.step import Kept


class OtherRowsError(Exception):
    """One row of references does not run the operations, or not on tensors of the shapes, that all inputs do."""


@attrs.define
class Tape:
    """Written in the order of the calls in one forward pass, and read in that order in the next."""

    one_row: bool = False  # which stands for all of the next pass
    recording: bool = True
    notes: deque[tuple[str, str, tuple[Kept, ...]]] = attrs.field(factory=deque)

    def note(self, operation: str, path: str, operands: tuple[Kept, ...]) -> None:
        """What went into an operation."""
        self.notes.append((operation, path, operands))

    def next(self, operation: str, path: str, operands: tuple[Tensor, ...]) -> tuple[Kept, ...]:
        """What went into the same operation in the pass that was recorded.

        Raises:
            OtherRowsError: that was one row, and what ran, or the rest of the shapes, differs from the ``operands`` here.
            UsageError: that pass ran another one here.
        """
        there, where, found = self.notes.popleft() if self.notes else ("nothing", path, ())
        if (there, where) != (operation, path):
            raise OtherRowsError if self.one_row else _other(there, where, operation, path)
        if self.one_row:
            for kept, x in zip(found, operands, strict=True):
                if kept.value.shape not in (x.shape, (1, *x.shape[1:])):
                    raise OtherRowsError
        return found

    def conclude(self) -> None:
        """Nothing more comes.

        Raises:
            OtherRowsError: the pass that was recorded, of one row, ran more operations.
            UsageError: that of all rows did.
        """
        if self.notes and self.one_row:
            raise OtherRowsError
        if self.notes:
            raise _other(*self.notes[0][:2], "nothing", self.notes[0][1])


def _other(there: str, where: str, operation: str, path: str) -> UsageError:
    return UsageError(
        f"baselines: for them the model computes {there} at {where or 'the model'!r} where it computes {operation} at "
        f"{path or 'the model'!r} for the inputs; a method that compares operation by operation needs the same ones in both, "
        "so give baselines that take the same way through the model"
    )


@contextmanager
def nothing_saved() -> Iterator[None]:
    """Let torch follow what depends on what, and keep no tensor for a backward pass."""

    def refuse(_: Any) -> Tensor:
        raise AssertionError("a pass that is only recorded has no backward pass")

    with torch.autograd.graph.saved_tensors_hooks(lambda _: None, refuse):
        yield
