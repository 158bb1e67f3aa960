"""What passes over a model have shown, kept with it until it is edited, so that the next call need not find out again."""

from __future__ import annotations

from typing import Any

import attrs

from attrkit.runner.sizing import Sizing


@attrs.define
class Habit:
    """Of passes of one kind and shape: how large they are best, and how several points share one.

    ``way`` counts the ways to evaluate several points in a pass from the cheapest; None while nothing is known, and one more
    than there are where none gives what each point alone gives.
    """

    sizing: Sizing
    way: int | None = None


@attrs.define
class Learnt:
    """Of one model: the habits of its passes, and how often each layer ran in the whole passes seen."""

    habits: dict[Any, Habit] = attrs.field(factory=dict)
    calls: dict[Any, set[int]] = attrs.field(factory=dict)
