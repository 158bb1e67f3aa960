"""Modules that a rule governs as if each were one operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.propagation.calls import Call, flat
from attrkit.propagation.governing import Governing
from attrkit.propagation.operations import Operation, live
from attrkit.rulesets.vocabulary import MODULE

if TYPE_CHECKING:
    from attrkit.propagation.rewriter import Rewriter

_OPERATION = Operation(MODULE, (), lambda call: call.run())


@attrs.frozen
class _Closed:
    """A module that is running and closed to rules, what governs it, and what it was called with."""

    module: nn.Module
    governing: Governing
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    keys: tuple[int | str, ...]  # of its operands
    versions: tuple[int, ...]  # of these, before it ran

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its operands, which depend on what is attributed: the first alone, or all of a rule that shares among them."""
        return tuple(self.args[key] if isinstance(key, int) else self.kwargs[key] for key in self.keys)

    @property
    def trouble(self) -> str:
        """Why no rule can govern it; empty where one can."""
        if self.versions != tuple(x._version for x in self.inputs):
            return "it writes into its input"
        there = sum(map(live, flat([*self.args, *self.kwargs.values()])))
        if self.governing.returns == "shares" and there > len(self.keys):
            return "it is called with tensors in a list or tuple, among which no rule can share"
        return ""

    def on(self, *given: Tensor) -> Any:
        """What the module returns for other operands."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for key, x in zip(self.keys, given, strict=True):
            if isinstance(key, int):
                args[key] = x
            else:
                kwargs[key] = x
        return self.module.forward(*args, **kwargs)


@attrs.define
class OpaqueModules:
    """Implements the Listener protocol: closes the modules that entries are about, and governs them when they have run."""

    rewriter: Rewriter
    closed: _Closed | None = None

    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A module starts to run; inside one that is closed nothing is governed."""
        given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        operands = [(key, value) for key, value in given if live(value)]
        if self.closed is not None or not operands or not torch.is_grad_enabled():
            return
        if (governing := self.rewriter.choices.closing(MODULE, operands[0][1])) is not None:
            taken = operands if governing.returns == "shares" else operands[:1]
            keys, versions = tuple(key for key, _ in taken), tuple(x._version for _, x in taken)
            self.closed = _Closed(module, governing, args, kwargs, keys, versions)

    def left(self, module: nn.Module, output: Any) -> Any:
        """A module has run."""
        if self.closed is None or self.closed.module is not module:
            return None
        closed, self.closed = self.closed, None
        if output is None:  # an exception went through it
            return None
        trouble = closed.trouble if isinstance(output, Tensor) else f"it returns {type(output).__name__}, not a tensor"
        if trouble:
            self.rewriter.choices.problem(MODULE, f"no rule can govern it as a whole: {trouble}")
            return None
        inputs = closed.inputs

        def computed(*given: Tensor) -> Any:
            if all(a is b for a, b in zip(given, inputs, strict=True)):
                return output if torch.is_grad_enabled() else output.detach()
            self.closed = closed
            try:
                return closed.on(*given)
            finally:
                self.closed = None

        with torch._C.DisableTorchFunction():
            call = Call(self.rewriter, _OPERATION, computed, inputs, {}, tuple(range(len(inputs))))
            step = call.step(inputs, live=(True,) * len(inputs), gates=(0,) * len(inputs))
            return self.rewriter.applied_by(closed.governing, call, step, inputs)
