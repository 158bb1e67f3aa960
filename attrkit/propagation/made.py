"""How tensors were made, which they carry on for the operations that come after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
from torch import Tensor

from attrkit.propagation.governing import Governing
from attrkit.propagation.step import OperationStep

StandIn: TypeAlias = "Callable[[], Tensor | None]"


@attrs.define(eq=False)
class Made:
    """How a tensor was made, for operations that connect around that."""

    version: int
    gated: Tensor | None = None  # before the gate of an attributed tensor
    stand_in: StandIn | None = None  # a tensor that takes the relevance of entries that are 0
    stopped: bool = False  # from what a rule has stopped
    gate: int = 0  # by an activation; more of a gate, by one between nothing and all; most, by what normalises
    step: OperationStep | None = None  # by a linear map ...
    governing: Governing | None = None  # ... its rule ...
    source: Tensor | None = None  # ... and where its backward pass leads to

    @property
    def spared(self) -> OperationStep | None:
        """The step of a linear map whose rule looks at the output, and does not where that carries nothing."""
        if self.governing is None or self.governing.heeds or self.governing.returns == "shares":
            return None
        return self.step


def made_by(x: Any) -> Made | None:
    """How ``x`` was made, unless an operation in place has changed it since."""
    made: Made | None = getattr(x, "_attrkit_made", None)
    return made if made is not None and made.version == x._version else None


def noted(output: Any, **facts: Any) -> Any:
    """An output that knows how it was made."""
    if isinstance(output, Tensor):
        output._attrkit_made = Made(output._version, **facts)  # type: ignore[attr-defined]
    return output


def unchanged(x: Tensor) -> StandIn:
    """The tensor, unless it is written into before it is asked for."""
    version = x._version
    return lambda: x if x._version == version else None


def moved(stand_in: StandIn | None, move: Callable[[Tensor], Tensor]) -> StandIn | None:
    """What stands in for a tensor after it was moved."""
    if stand_in is None:
        return None
    return lambda: None if (x := stand_in()) is None else move(x)
