"""One intercepted call of an operation, and what its handler can make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from torch import Tensor

from attrkit.propagation.linear import LinearMap
from attrkit.propagation.operations import live, writes
from attrkit.propagation.step import Governing, OperationStep

if TYPE_CHECKING:
    from attrkit.propagation.rewriter import Rewriter


@attrs.frozen
class Row:
    """One line of the report: what governed one call of an operation."""

    path: str
    operation: str
    rule: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    entry: str = ""
    origin: str = ""


@attrs.define(eq=False)
class Made:
    """How a tensor was made, for operations that connect around that."""

    version: int
    gated: Tensor | None = None  # before the gate of an attributed tensor
    passed: Tensor | None = None  # before a function of each entry that hands relevance through
    step: OperationStep | None = None  # a linear map ...
    governing: Governing | None = None  # ... its rule ...
    source: Tensor | None = None  # ... and where its backward pass leads to


@attrs.define
class Call:
    """One intercepted call: what handlers of operations work with. Each ends in one of its methods."""

    rewriter: Rewriter
    operation: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def bind(self, *required: str, **defaults: Any) -> dict[str, Any]:
        """The arguments by name."""
        return {**defaults, **dict(zip((*required, *defaults), self.args, strict=False)), **self.kwargs}

    def run(self) -> Any:
        """The operation itself, with its own backward pass."""
        return self.function(*self.args, **self.kwargs)

    def ungoverned(self, reason: str) -> Any:
        """The operation itself, treated like one that no entry matched."""
        if any(map(live, self.args)):
            self.rewriter.fall_back(self.operation, f"no rule can govern it: {reason}")
        return self.rewriter.treated(self.run())

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, linear: LinearMap) -> Any:
        """A linear map of ``x``."""
        governing = self.rewriter.governing(self, x)
        if governing is None or not live(x):
            return self.rewriter.treated(self.run(), x)
        step = OperationStep(
            self.operation, self.rewriter.path, linear, weight.detach(), None if bias is None else bias.detach()
        )
        return self.rewriter.governed(x, self.run, step, governing)

    def affine(self, x: Tensor, scale: Tensor, shift: Tensor) -> Any:
        """An affine map per channel, which is merged into the linear map that made ``x`` where the ruleset says so."""
        made = self.rewriter.made(x) if self.rewriter.merges else None
        fits = made is not None and made.step is not None and made.step.map is not None and made.step.map.channels_second(x)
        if fits and made and made.step and made.governing and made.source is not None:
            self.rewriter.report.append(Row(self.rewriter.path, self.operation, f"merged into {made.step.path or 'the model'}"))
            step = made.step.merged(scale.detach(), shift.detach())
            return self.rewriter.connected(made.source, self.run, step, made.governing)
        governing = self.rewriter.governing(self, x, exact=True)
        return self._single(x, governing) if live(x) else self.run()

    def homogeneous(self) -> Any:
        """An operation whose own backward pass is LRP-0."""
        governing = self.rewriter.governing(self, self.args[0], exact=True)
        return self._single(self.args[0], governing) if any(map(live, self.args)) else self.run()

    def elementwise(self, *, homogeneous: bool) -> Any:
        """A function of each entry."""
        x = self.args[0]
        governing = self.rewriter.governing(self, x, exact=homogeneous)
        if governing and homogeneous and governing.rule.identity:
            return self.rewriter.handed_through(self, x) if live(x) else self.run()
        return self._single(x, governing) if live(x) else self.run()

    def _single(self, x: Tensor, governing: Governing | None) -> Any:
        """An operation without a weight."""
        if governing is None:
            return self.rewriter.treated(self.run())
        if governing.rule.returns == "cotangent":
            return self.rewriter.hooked(self.run(), x, governing, self)
        step = OperationStep(self.operation, self.rewriter.path, again=self._on)
        if not writes(self.function, self.args, self.kwargs):
            return self.rewriter.governed(x, self.run, step, governing)
        output = self.rewriter.governed(x, lambda: self._on(x.detach().clone()), step, governing)
        self.rewriter.secure(x)
        return x.copy_(output)

    def _on(self, x: Tensor) -> Tensor:
        """The operation on another input; what it writes into must be a copy."""
        y: Tensor = self.function(x, *self.args[1:], **self.kwargs)
        return y
