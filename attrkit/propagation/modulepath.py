"""Which modules are running, while a forward pass goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import attrs
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class Listener(Protocol):
    """What wants to know of modules as they run, and to replace what they return."""

    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A module starts to run."""
        ...

    def left(self, module: nn.Module, output: Any) -> Any:
        """A module has run; returns what it is to return, None for the same."""
        ...


@attrs.define
class ModulePath:
    """The running modules, outermost first, with their dotted paths."""

    names: dict[int, str]
    listener: Listener | None = None
    running: list[nn.Module] = attrs.field(factory=list)

    @property
    def path(self) -> str:
        """The path of the innermost running module; ``""`` for the model itself."""
        return self.names.get(id(self.running[-1]), type(self.running[-1]).__name__) if self.running else ""

    @property
    def classes(self) -> tuple[type, ...]:
        """The classes of the running modules."""
        return tuple(map(type, self.running))

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """A module starts to run."""
        self.running.append(module)
        if self.listener is not None:
            self.listener.entered(module, args, kwargs or {})

    def leave(self, module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        """A module has run, or an exception passed through it."""
        try:
            return None if self.listener is None else self.listener.left(module, output)
        finally:
            while self.running and self.running.pop() is not module:
                continue

    @classmethod
    @contextmanager
    def followed(
        cls,
        root: nn.Module | None,
        guard: Callable[[Callable[..., Any]], Callable[..., Any]],
        listener: Listener | None = None,
    ) -> Iterator[ModulePath]:
        """Follow the forward passes of ``root``, or of whatever this thread runs where no root is known."""
        here = cls({id(m): name for name, m in root.named_modules()} if root is not None else {}, listener)
        with ExitStack() as stack:
            if root is None:
                thread = threading.get_ident()

                def ours(hook: Callable[..., Any]) -> Callable[..., Any]:
                    return lambda *call: hook(*call) if threading.get_ident() == thread else None

                stack.callback(register_module_forward_pre_hook(ours(here.enter)).remove)
                stack.callback(register_module_forward_hook(ours(here.leave), always_call=True).remove)
            else:
                for module in root.modules():
                    stack.callback(module.register_forward_pre_hook(guard(here.enter), with_kwargs=True).remove)
                    stack.callback(module.register_forward_hook(guard(here.leave), always_call=True).remove)
            yield here
