"""One operation of a forward pass as a rule sees it, and the autograd functions that put rules into the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.linear import LinearMap
from attrkit.specs import RuleSpec

# What follows is written for "modified gradients": autograd carries c = R / x, so that R = x * c at every tensor x. Whatever is
# homogeneous of degree one in the tensors that depend on the input then propagates LRP-0 by its own backward pass.


def quotient(relevance: Tensor, x: Tensor) -> Tensor:
    """``relevance / x``, and 0 where x is 0."""
    zero = x == 0
    return torch.where(zero, 0, relevance / torch.where(zero, 1, x))


@attrs.define(eq=False)
class Kept:
    """A tensor's value for the backward pass: an alias until an operation in place is about to change it."""

    value: Tensor

    def secure(self) -> None:
        """Make it a copy."""
        self.value = self.value.clone()


@attrs.define(eq=False)
class OperationStep:
    """Implements the Step protocol for one call of an operation."""

    operation: str
    path: str
    map: LinearMap | None = None
    weight: Tensor | None = None
    offset: Tensor | None = None  # the bias, one number per output channel
    scale: Tensor | None = None  # of a batch norm that was merged, one number per output channel
    again: Callable[[Tensor], Tensor] | None = None  # the operation as a function of its input
    kept_input: Kept | None = None
    kept_output: Kept | None = None
    kept_source: Kept | None = None  # where the backward pass leads, if that is not the input itself
    before_gate: bool = False  # it leads before the gate of an attributed tensor, where relevance itself is handed on

    @property
    def input(self) -> Tensor:
        """What went in."""
        assert self.kept_input is not None  # for the type checker; set before any rule runs
        return self.kept_input.value

    @property
    def output(self) -> Tensor:
        """What came out."""
        assert self.kept_output is not None  # for the type checker; set before any rule runs
        return self.kept_output.value

    @property
    def source(self) -> Tensor:
        """The value of what the backward pass leads to."""
        return self.input if self.kept_source is None else self.kept_source.value

    @property
    def bias(self) -> Tensor | None:
        """What was added, shaped to broadcast against the output."""
        return None if self.offset is None or self.map is None else self.map.per_output(self.offset)

    def _weight(self, change: Callable[[Tensor], Tensor] | None) -> tuple[LinearMap, Tensor]:
        if self.map is None or self.weight is None:
            raise UsageError(f"operation {self.operation!r} at {self.path!r} is no linear map: rules there have step.vjp only")
        weight = self.weight if self.scale is None else self.map.scaled(self.weight, self.scale)
        return self.map, weight if change is None else change(weight)

    def forward(self, x: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The linear map, without bias, with its weight changed by ``weight``."""
        linear, changed = self._weight(weight)
        return linear.forward(x, changed)

    def transpose(self, cotangent: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The transpose of that map."""
        linear, changed = self._weight(weight)
        return linear.transpose(cotangent, changed, self.input)

    def vjp(self, cotangent: Tensor) -> Tensor:
        """The operation's own backward pass."""
        if self.map is not None:
            return self.transpose(cotangent)
        assert self.again is not None  # for the type checker; what is no map has a function
        with torch.enable_grad():
            x = self.input.detach().requires_grad_()
            return torch.autograd.grad(self.again(x), x, cotangent)[0]

    def merged(self, scale: Tensor, shift: Tensor) -> OperationStep:
        """The same map followed by an affine one per output channel."""
        offset = shift if self.offset is None else self.offset * scale + shift
        scale = scale if self.scale is None else self.scale * scale
        return attrs.evolve(self, scale=scale, offset=offset, kept_output=None)


@attrs.frozen
class Governing:
    """The rule and parameters that govern one operation, and the entry that chose them."""

    rule: RuleSpec
    parameters: dict[str, Any]
    entry: str = ""
    origin: str = ""

    def applied(self, step: OperationStep, carried: Tensor) -> Tensor:
        """What the rule makes of what is carried at the output."""
        given = carried if self.rule.carries == "gradient" else carried * step.output
        result: Tensor = self.rule.function(step, given, **self.parameters)
        return result

    def backward(self, step: OperationStep, carried: Tensor) -> Tensor:
        """What autograd is to carry at the operation's input: relevance itself, relevance by input, or a gradient."""
        result = self.applied(step, carried)
        if self.rule.carries == "gradient":
            return step.vjp(result) if self.rule.returns == "cotangent" else result
        if self.rule.returns == "cotangent":
            result = step.vjp(result)
        if self.rule.returns == "relevance":
            return result if step.before_gate else quotient(result, step.source)
        return result * step.input if step.before_gate else result


class Governed(torch.autograd.Function):
    """An operation whose value is its own and whose backward pass is a rule."""

    @staticmethod
    def forward(
        ctx: Any,
        source: Tensor,
        compute: Callable[[], Tensor],
        step: OperationStep,
        governing: Governing,
        keep: Callable[[Tensor], Kept],
    ) -> Tensor:
        """``compute()``; the backward pass leads to ``source``, which may stand before the gate of the input."""
        output = compute()
        step.kept_output = keep(output.detach())
        ctx.step, ctx.governing, ctx.shape = step, governing, source.shape
        return output

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, carried: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The rule."""
        with torch._C.DisableTorchFunction():
            result = ctx.governing.backward(ctx.step, carried)
        return result.reshape(ctx.shape), None, None, None, None


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
