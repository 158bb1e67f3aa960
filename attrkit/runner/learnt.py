"""What passes over a model have shown, kept with it until it is edited, so that the next call need not find out again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import attrs

from attrkit.runner.sizing import Sizing

Value = TypeVar("Value")
_MOST = 2048  # entries of each kind: layers of a large model times some shapes


class Recent(dict[Any, Value]):
    """What was learnt last; of a model that sees ever new shapes, what was learnt long ago is forgotten."""

    def __setitem__(self, key: Any, value: Value) -> None:
        super().__setitem__(key, value)
        while len(self) > _MOST:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
                del self[next(iter(self))]

    def setdefault(self, key: Any, default: Value) -> Value:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What is known of a key; ``default`` from now on where nothing is."""
        found = super().setdefault(key, default)
        if len(self) > _MOST:
            self[key] = found  # which forgets others
        return found


@attrs.define
class Habit:
    """Of passes of one kind: how large they are best, and how several points share one.

    ``way`` counts the ways to evaluate several points in a pass from the cheapest; None while nothing is known, and one more
    than there are where none gives what each point alone gives.
    """

    sizing: Sizing  # of passes of this shape, whatever they are asked for
    way: int | None = None
    undivided: bool = False  # whether the model has not a row for each example, so that a batch cannot be taken in parts


@attrs.define
class Race:
    """Of the gradients of several objectives: whether both ways to them give the same, and the seconds that each took."""

    fair: bool | None = None  # None while that is unknown
    together: list[float] = attrs.field(factory=list)
    apart: list[float] = attrs.field(factory=list)

    def settled(self) -> bool | None:
        """Whether they are faster together; None until both have run three times."""
        return min(self.together) < min(self.apart) if len(self.together) > 2 and len(self.apart) > 2 else None


@attrs.define
class Learnt:
    """Of one model: the habits of its passes, what whole passes did, and races between ways.

    ``lockstep`` says that other processes hold parts of it, so that each must make the same passes, whatever it has learnt.
    """

    lockstep: bool = False
    sizes: Recent[Sizing] = attrs.field(factory=Recent)
    habits: Recent[Habit] = attrs.field(factory=Recent)
    calls: Recent[set[int]] = attrs.field(factory=Recent)
    further: Recent[bool] = attrs.field(factory=Recent)  # passes in which further arguments' values decide something too
    decides: Recent[bool] = attrs.field(factory=Recent)  # whether values of the inputs decide what a pass does
    races: Recent[Race] = attrs.field(factory=Recent)
