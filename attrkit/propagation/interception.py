"""Seeing every torch function of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrkit.propagation.calls import Call, flat
from attrkit.propagation.made import Made, made_by, moved, noted
from attrkit.propagation.operations import RESHAPES, live, writes
from attrkit.propagation.recomputation import unwrapped

if TYPE_CHECKING:
    from attrkit.propagation.rewriter import Rewriter


class Interception(TorchFunctionMode):
    """Hands the torch functions of this thread that are operations to a rewriter."""

    def __init__(self, rewriter: Rewriter) -> None:
        super().__init__()
        self._rewriter = rewriter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # torch's signature
        return self.call(func, args, kwargs or {})

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One torch function, governed or not."""
        if function is torch.autograd.grad:
            return self._backward(args, kwargs)
        if not torch.is_grad_enabled():
            return function(*args, **kwargs)
        args = tuple(map(_untracked, args))
        kwargs = {k: _untracked(v) for k, v in kwargs.items()}
        if self._rewriter.closed:
            return function(*args, **kwargs)
        if function in RESHAPES and args and (made := made_by(args[0])) is not None:
            return self._reshaped(made, function, args, kwargs)
        if (operation := self._rewriter.operations.get(function)) is None:
            if args and isinstance(args[0], Tensor) and writes(function, args, kwargs):
                self._rewriter.links.keeper.secure(args[0])
            output = self._unknown(function, args, kwargs)
            return self._rewriter.links.stopping(output) if self._from_stopped(output, args) else output
        if not args and "input" in kwargs:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        return operation.govern(Call(self._rewriter, operation, function, args, kwargs))

    def _unknown(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function that is no operation; one that is written in Python may call some."""
        if not isinstance(function, FunctionType) or function.__module__ != F.__name__:
            return function(*args, **kwargs)
        with self:
            return unwrapped(function)(*args, **kwargs)

    def _from_stopped(self, output: Any, args: tuple[Any, ...]) -> bool:
        """Whether a constant comes from what a rule has stopped."""
        return isinstance(output, Tensor) and not live(output) and any(map(self._rewriter.links.stopped, args))

    def _backward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The backward pass, in which checkpoints compute parts of the forward pass once more, under the same rules."""
        with self, self._rewriter.choices.again.begun():
            return unwrapped(torch.autograd.grad)(*args, **kwargs)

    def _reshaped(self, made: Made, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What only moves entries around keeps what is known of how they were made."""
        if made.gated is not None:
            output = function(made.gated, *args[1:], **kwargs)
            return self._rewriter.gate(output) if isinstance(output, Tensor) else type(output)(map(self._rewriter.gate, output))
        output = function(*args, **kwargs)
        if isinstance(output, Tensor):
            stand_in = moved(made.stand_in, lambda x: function(x, *args[1:], **kwargs))
            return noted(output, gate=made.gate, stopped=made.stopped, stand_in=stand_in)
        for i, part in enumerate(flat(output)):
            stand_in = moved(made.stand_in, lambda x, i=i: function(x, *args[1:], **kwargs)[i])  # type: ignore[misc]
            noted(part, gate=made.gate, stopped=made.stopped, stand_in=stand_in)
        return output


_PLAIN = frozenset({Tensor, int, float, bool, str, type(None)})


def _untracked(value: Any) -> Any:
    """Parameters without gradients: what requires one then is what depends on the attributed tensors."""
    if type(value) in _PLAIN:  # asked first, because whether something is a parameter takes torch long to say
        return value
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad and isinstance(value, nn.Parameter) else value
    if isinstance(value, list | tuple) and any(isinstance(v, nn.Parameter) for v in value):
        return type(value)(map(_untracked, value))
    return value
