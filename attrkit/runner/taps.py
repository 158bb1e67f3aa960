"""Taps on layers during one forward pass: capture what passes by, replace it, or stop after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.autograd import forward_ad

from attrkit.errors import UsageError
from attrkit.layers import ModuleLayer
from attrkit.protocols import Tensors
from attrkit.runner.isolation import Forward


class EnoughError(BaseException):
    """Every tap has seen what it waits for. No Exception, so that a model that catches those lets it through."""


def leaf_of(tensor: Tensor) -> Tensor:
    """A tensor at which gradients are collected; one that already belongs to the graph stays in it."""
    if tensor.requires_grad or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.detach().requires_grad_()


@attrs.define
class Tap:
    """What passes by one layer, call by call: its tensors, flat, in the order of the calls.

    With ``values`` the tensors are replaced by those, else they go on unchanged. With ``leaves`` gradients can be taken by
    what is captured. The model goes on with what ``onward`` makes of it: a copy, so that an operation in place cannot reach it.
    What depends on another captured layer stays in the graph and goes on as a plain copy.
    """

    layer: ModuleLayer
    values: Tensors | None = None
    leaves: bool = False
    onward: Callable[[Tensor], Tensor] = torch.clone
    seen: list[Tensor] = attrs.field(factory=list)
    calls: int = 0
    tangents: list[Tensor] | None = None  # where given: of what was seen, in forward-mode differentiation
    optional: bool = False  # it may see nothing, and looks at real numbers only
    expected: int = 1  # calls, where tangents are taken
    enough: Callable[[], None] | None = None  # called after each call that was captured

    def __call__(self, value: Any) -> Any:
        """See one value, and return the one to go on with."""
        self.calls += 1
        if self.layer.call not in (None, self.calls - 1):
            return value
        tensors = self.layer.read(value)
        if self.optional and not all(t.is_floating_point() for t in tensors):
            return value
        if self.values is not None:
            tensors = self.values[len(self.seen) : len(self.seen) + len(tensors)]
        if self.tangents is not None:
            pairs = [forward_ad.unpack_dual(t) for t in tensors]
            tensors = tuple(p.primal for p in pairs)
            self.tangents += (torch.zeros_like(p.primal) if p.tangent is None else p.tangent for p in pairs)
        if self.leaves:
            tensors = tuple(map(leaf_of, tensors))
        self.seen += tensors
        if self.enough:
            self.enough()
        onward = tuple(self.onward(t) if t.is_leaf else t.clone() for t in tensors)
        if self.tangents is not None and self.calls < self.expected:  # for the calls to come
            onward = tuple(forward_ad.make_dual(t, d) for t, d in zip(onward, self.tangents[-len(onward) :], strict=True))
        return self.layer.write(value, onward)

    def captured(self) -> Tensors:
        """What was seen. Raises UsageError when the layer never ran, or ran another number of times than expected."""
        if not self.calls:
            raise UsageError(f"layer {self.layer.name!r} never ran in the model's forward pass; choose one that does")
        if self.layer.call is not None and self.calls <= self.layer.call:
            raise UsageError(f"layer {self.layer}: the module ran {self.calls} times; count its calls from 0")
        if not self.seen:
            raise UsageError(f"layer {str(self.layer)!r} passes on no tensor; choose one that does")
        if self.values is not None and len(self.seen) != len(self.values):
            raise UsageError(
                f"layer {self.layer.name!r} passed on {len(self.seen)} tensors where it had passed on {len(self.values)}"
            )
        return tuple(self.seen)


def stop_after(taps: Iterable[Tap]) -> None:
    """End the forward pass, by EnoughError, as soon as each of these taps has captured a call."""
    waiting = len(list(taps))

    def one_more() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            raise EnoughError

    for tap in taps:
        tap.enough = one_more


def place(forward: Forward, taps: Iterable[Tap], stack: ExitStack) -> None:
    """Put taps on the layers of a forward until the stack closes."""
    for tap in taps:
        module = forward.module(tap.layer)
        if tap.layer.io == "input":
            handle = module.register_forward_pre_hook(forward.guard(_on_input(tap)), with_kwargs=True)
        else:
            handle = module.register_forward_hook(forward.guard(_on_output(tap)))
        stack.callback(handle.remove)


def _on_output(tap: Tap) -> Any:
    return lambda _module, _args, output: tap(output)


def _on_input(tap: Tap) -> Any:
    return lambda _module, args, kwargs: tap((args, kwargs))
