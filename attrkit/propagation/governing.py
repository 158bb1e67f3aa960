"""Rules in the backward pass: the autograd functions that put them there, and what is carried between them.

Relevance travels as "modified gradients": autograd carries c = R / x, so that R = x * c at every tensor x. Whatever is
homogeneous of degree one in the tensors that depend on the input then propagates LRP-0 by its own backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.step import Kept, OperationStep, only_where_zero, quotient
from attrkit.protocols import Tensors
from attrkit.specs import RuleSpec


@attrs.frozen
class Governing:
    """The rule and parameters that govern one operation, and the entry that chose them."""

    rule: RuleSpec
    parameters: dict[str, Any]
    entry: str = ""
    origin: str = ""
    returns: str = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: self.rule.returning(self.parameters), takes_self=True)
    )
    heeds: bool = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: self.rule.heeds(self.parameters), takes_self=True)
    )

    def shares(self, step: OperationStep) -> tuple[float, ...]:
        """For each operand, the share that it gets of what the operation's own backward pass gives it.

        Raises:
            UsageError: the rule returned more or fewer.
        """
        found = tuple(map(float, self.rule.function(step, **self.parameters)))
        if len(found) != len(step.operands):
            raise UsageError(
                f"rule {self.rule.name!r} returned {len(found)} shares for {step.operation} at {step.path!r}, which has "
                f"{len(step.operands)} operands; return one for each of step.inputs"
            )
        return found

    def applied(self, step: OperationStep, carried: Tensor) -> Any:
        """What the rule makes of what is carried at the output."""
        relevance = self.rule.carries == "relevance" and self.rule.takes == "relevance"
        return self.rule.function(step, carried * step.output if relevance else carried, **self.parameters)

    def backward(self, step: OperationStep, carried: Tensor) -> Tensors:
        """For each operand, what autograd is to carry there: relevance by input, a gradient or a multiplier.

        Of a rule that returns relevance, that itself.
        """
        found = self.applied(step, carried)
        if self.returns == "cotangent":
            found = step.vjps(found)
        step.forget()
        return found if isinstance(found, tuple) else (found,)


@attrs.frozen
class Source:
    """Where a backward pass leads: to an operand, before the gate of an attributed tensor, or to what stands in for it."""

    operand: int
    gated: bool = False  # relevance itself is handed on
    stand_in: Kept | None = None  # takes the relevance of entries that are 0, which no multiple of them can carry

    def handed(self, governing: Governing, step: OperationStep, found: Tensors) -> Tensor:
        """What is handed on here.

        Raises:
            UsageError: the rule returned nothing for this operand.
        """
        if self.operand >= len(found):
            raise UsageError(
                f"rule {governing.rule.name!r} returned {len(found)} tensors for {step.operation} at {step.path!r}, of which "
                f"{len(step.operands)} operands depend on the input; choose a rule for such products, or return one for each"
            )
        result = found[self.operand]
        if governing.rule.carries != "relevance":
            return result
        x = step.operands[self.operand].value
        if governing.returns != "relevance":
            return result * x if self.gated else result
        if self.stand_in is not None:
            result, x = only_where_zero(result, x), self.stand_in.value
        return result if self.gated else quotient(result, x)


class Governed(torch.autograd.Function):
    """An operation whose value is its own and whose backward pass is a rule."""

    @staticmethod
    def forward(
        ctx: Any,
        compute: Callable[[], Tensor],
        step: OperationStep,
        governing: Governing,
        keep: Callable[[Tensor], Kept],
        sources: Sequence[Source],
        *tensors: Tensor,
    ) -> Tensor:
        """``compute()``; the backward pass leads to ``tensors``, which are the ``sources``."""
        output = compute()
        step.kept_output = keep(output.detach())
        ctx.step, ctx.governing, ctx.sources = step, governing, sources
        ctx.like = [(t.shape, t.dtype) for t in tensors]
        return output

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, carried: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The rule."""
        with torch._C.DisableTorchFunction():
            found = ctx.governing.backward(ctx.step, carried)
            handed = [source.handed(ctx.governing, ctx.step, found) for source in ctx.sources]
            results = [_shaped(h, *like) for h, like in zip(handed, ctx.like, strict=True)]
        if last_pass():
            ctx.step, ctx.sources = None, ()
        return None, None, None, None, None, *results


@attrs.define
class Hook:
    """Called with what is carried at an output: the operation's own backward pass starts from what a rule makes of it."""

    step: OperationStep | None
    governing: Governing

    def __call__(self, carried: Tensor) -> Tensor:
        """What the rule makes of it."""
        assert self.step is not None  # for the type checker; torch itself refuses a second pass over a graph that it let go of
        with torch._C.DisableTorchFunction():
            found: Tensor = self.governing.applied(self.step, carried).to(carried.dtype)
        if last_pass():
            self.step = None
        return found


_autograd: Any = getattr(torch._C, "_autograd")  # noqa: B009 - torch's stub leaves it out
_keeps_graph: Callable[[], bool] | None = getattr(_autograd, "_get_current_graph_task_keep_graph", None)


def last_pass() -> bool:
    """Whether the running backward pass is the last one over its graph, so that what was kept for it can go."""
    return _keeps_graph is not None and not _keeps_graph()


def _shaped(result: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """With the shape and dtype of what it belongs to, which was broadcast or cast before the operation."""
    if result.shape != shape:
        result = result.sum_to_size(shape) if result.numel() > shape.numel() else result.reshape(shape)
    return result.to(dtype)


class Gate(torch.autograd.Function):
    """The attributed tensor: what is carried becomes relevance here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """A copy of x."""
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, carried: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """``R = x * c``."""
        x: Tensor = ctx.saved_tensors[0]
        return carried * x


class Scaled(torch.autograd.Function):
    """A tensor whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """The tensor itself."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, carried: Tensor
    ) -> tuple[Tensor, None]:
        """Multiplied."""
        return carried * ctx.factor, None
