"""What passes over a model have shown, kept with it until it is edited, so that the next call need not find out again."""

from __future__ import annotations

from typing import Any

import attrs

from attrkit.runner.sizing import Sizing


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
    sizes: dict[Any, Sizing] = attrs.field(factory=dict)
    habits: dict[Any, Habit] = attrs.field(factory=dict)
    calls: dict[Any, set[int]] = attrs.field(factory=dict)
    further: set[Any] = attrs.field(factory=set)  # of what passes the further arguments' values decide something too
    decides: dict[Any, bool] = attrs.field(factory=dict)  # whether values of the inputs decide what a pass does
    races: dict[Any, Race] = attrs.field(factory=dict)
