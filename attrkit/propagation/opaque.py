"""Modules that a rule governs as if each were one operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.propagation.calls import Call
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
    key: int | str  # of the input
    version: int

    @property
    def input(self) -> Tensor:
        """What depends on what is attributed."""
        x: Tensor = self.args[self.key] if isinstance(self.key, int) else self.kwargs[self.key]
        return x

    def on(self, x: Tensor) -> Any:
        """What the module returns for another input."""
        args, kwargs = list(self.args), dict(self.kwargs)
        if isinstance(self.key, int):
            args[self.key] = x
        else:
            kwargs[self.key] = x
        return self.module.forward(*args, **kwargs)


@attrs.define
class OpaqueModules:
    """Implements the Listener protocol: closes the modules that entries are about, and governs them when they have run."""

    rewriter: Rewriter
    closed: _Closed | None = None

    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A module starts to run; inside one that is closed nothing is governed."""
        given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
        key = next((key for key, value in given if live(value)), None)
        if self.closed is not None or key is None or not torch.is_grad_enabled():
            return
        x = args[key] if isinstance(key, int) else kwargs[key]
        if (governing := self.rewriter.choices.closing(MODULE, x)) is not None:
            self.closed = _Closed(module, governing, args, kwargs, key, x._version)

    def left(self, module: nn.Module, output: Any) -> Any:
        """A module has run."""
        if self.closed is None or self.closed.module is not module:
            return None
        closed, self.closed = self.closed, None
        if output is None:  # an exception went through it
            return None
        if not isinstance(output, Tensor) or closed.input._version != closed.version:
            what = "writes into its input" if isinstance(output, Tensor) else f"returns {type(output).__name__}, not a tensor"
            self.rewriter.choices.problem(MODULE, f"no rule can govern it as a whole: it {what}")
            return None

        def computed(given: Tensor) -> Any:
            if given is closed.input:
                return output if torch.is_grad_enabled() else output.detach()
            self.closed = closed
            try:
                return closed.on(given)
            finally:
                self.closed = None

        with torch._C.DisableTorchFunction():
            call = Call(self.rewriter, _OPERATION, computed, (closed.input,), {})
            return self.rewriter.applied_by(closed.governing, call, call.step((closed.input,)), (closed.input,))
