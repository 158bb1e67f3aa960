"""One operation of a forward pass as a rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.linear import LinearMap
from attrkit.protocols import Tensors

Change = Callable[[Tensor], Tensor]


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
    operands: tuple[Kept, ...] = ()
    live: tuple[bool, ...] = (True,)
    gates: tuple[int, ...] = (0,)
    degree: float = 1.0
    options: Mapping[str, Any] = attrs.field(factory=dict)
    map: LinearMap | None = None
    weight: Tensor | None = None
    offset: Tensor | None = None  # the bias, one number per output channel
    scale: Tensor | None = None  # of a batch norm that was merged, one number per output channel
    again: Callable[..., Tensor] | None = None  # the operation as a function of its operands
    kept_output: Kept | None = None
    reference: OperationStep | None = None
    before: OperationStep | None = None
    _changed: dict[Change | None, Tensor] = attrs.field(factory=dict)

    @property
    def inputs(self) -> Tensors:
        """What went in."""
        return tuple(kept.value for kept in self.operands)

    @property
    def input(self) -> Tensor:
        """The first of what went in."""
        return self.operands[0].value

    @property
    def output(self) -> Tensor:
        """What came out."""
        if self.kept_output is None:  # of a reference, which keeps only what went in
            with torch.no_grad():
                self.kept_output = Kept(self.at(*self.inputs))
        return self.kept_output.value

    def at(self, *operands: Tensor) -> Tensor:
        """The output for other operands."""
        if self.map is None:
            assert self.again is not None  # for the type checker; what is no map has a function
            return self.again(*operands)
        result = self.forward(operands[0])
        return result if self.bias is None else result + self.bias

    @property
    def bias(self) -> Tensor | None:
        """What was added, shaped to broadcast against the output."""
        return None if self.offset is None or self.map is None else self.map.per_output(self.offset)

    def _weight(self, change: Change | None) -> tuple[LinearMap, Tensor]:
        if self.map is None or self.weight is None:
            raise UsageError(f"operation {self.operation!r} at {self.path!r} is no linear map: rules there have step.vjps only")
        if change not in self._changed:
            weight = self.weight if self.scale is None else self.map.scaled(self.weight, self.scale)
            self._changed[change] = weight if change is None else change(weight)
        return self.map, self._changed[change]

    def forward(self, x: Tensor, weight: Change | None = None) -> Tensor:
        """The linear map, without bias, with its weight changed by ``weight``."""
        if weight is None and self.map is not None and self.weight is not None and self.scale is not None:
            return self.map.forward(x, self.weight).mul_(self.map.per_output(self.scale))
        linear, changed = self._weight(weight)
        return linear.forward(x, changed)

    def transpose(self, cotangent: Tensor, weight: Change | None = None) -> Tensor:
        """The transpose of that map; a scale goes into the cotangent or the weight, whichever has fewer entries."""
        small = self.weight is not None and cotangent.numel() <= self.weight.numel()
        if small and weight is None and self.map is not None and self.weight is not None and self.scale is not None:
            return self.map.transpose(cotangent * self.map.per_output(self.scale), self.weight, self.input)
        linear, changed = self._weight(weight)
        return linear.transpose(cotangent, changed, self.input)

    def forwards(self, *pairs: tuple[Tensor, Change | None]) -> Tensor:
        """The sum of the map's values for several inputs, each with its own change of the weight."""
        changed = [self._weight(weight) for _, weight in pairs]
        return changed[0][0].forwards([x for x, _ in pairs], [weight for _, weight in changed])

    def transposes(self, cotangent: Tensor, *weights: Change | None) -> Tensors:
        """The transposes of the map with its weight changed in each of several ways."""
        pairs = [self._weight(weight) for weight in weights]
        return pairs[0][0].transposes(cotangent, [changed for _, changed in pairs], self.input)

    def reads(self) -> Tensor:
        """How many weights there are between each output and the inputs, shaped to broadcast against the output."""
        linear, weight = self._weight(None)
        return linear.reads(self.input, weight)

    def evenly(self, amounts: Tensor) -> Tensor:
        """For each input the sum of the amounts at the outputs that read it, whatever the weights."""
        linear, weight = self._weight(None)
        return linear.evenly(amounts, weight, self.input)

    def vjp(self, cotangent: Tensor) -> Tensor:
        """The operation's own backward pass to the first of its operands."""
        return self.vjps(cotangent)[0]

    def vjps(self, cotangent: Tensor, at: Sequence[Tensor] | None = None) -> Tensors:
        """The operation's own backward pass, to each operand, at what went in or at other values of the operands."""
        if self.map is not None:
            return (self.transpose(cotangent),)
        assert self.again is not None  # for the type checker; what is no map has a function
        values = self.inputs if at is None else tuple(at)
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in values]
            found = torch.autograd.grad(self.again(*leaves), leaves, cotangent, allow_unused=True, materialize_grads=True)
        return tuple(found)

    def local(self) -> Tensor:
        """The derivative of a function of each entry."""
        return self.vjp(torch.ones_like(self.output))

    def merged(self, scale: Tensor, shift: Tensor) -> OperationStep:
        """The same map followed by an affine one per output channel."""
        offset = shift if self.offset is None else self.offset * scale + shift
        scale = scale if self.scale is None else self.scale * scale
        return attrs.evolve(self, scale=scale, offset=offset, kept_output=None, changed={})

    def forget(self) -> None:
        """Let go of changed weights, once a rule has been applied."""
        self._changed.clear()


def quotient(relevance: Tensor, x: Tensor) -> Tensor:
    """``relevance / x``, and 0 where x is 0 or so near that this is infinite; relevance that is not finite shows."""
    return (relevance / x).nan_to_num_(0.0, 0.0, 0.0).add_(relevance, alpha=0)


def only_where_zero(relevance: Tensor, x: Tensor) -> Tensor:
    """What a quotient by ``x`` loses."""
    return relevance * (1 - torch.sign(x).abs_())
