"""Which modules are running, while a forward pass goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle


class Listener(Protocol):
    """What wants to know of modules as they run, and to replace what they return."""

    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A module starts to run."""
        ...

    def left(self, module: nn.Module, output: Any) -> Any:
        """A module has run; returns what it is to return, None for the same."""
        ...


@attrs.define(eq=False)
class ModulePath:
    """The running modules: the dotted path of the innermost one, ``""`` for the model itself, and the classes of all."""

    names: dict[int, str]
    listener: Listener | None = None
    path: str = ""
    classes: tuple[type, ...] = ()  # outermost first
    _around: list[tuple[nn.Module, str, tuple[type, ...]]] = attrs.field(factory=list)  # each, and what held before it ran

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """A module starts to run."""
        self._around.append((module, self.path, self.classes))
        self.path = self.names.get(id(module), type(module).__name__)
        self.classes = (*self.classes, type(module))
        if self.listener is not None:
            self.listener.entered(module, args, kwargs or {})

    def leave(self, module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        """A module has run, or an exception passed through it."""
        try:
            return None if self.listener is None else self.listener.left(module, output)
        finally:
            left = None
            while self._around and left is not module:
                left, self.path, self.classes = self._around.pop()

    @classmethod
    @contextmanager
    def followed(
        cls,
        root: nn.Module | None,
        guard: Callable[[Callable[..., Any]], Callable[..., Any]],
        listener: Listener | None = None,
    ) -> Iterator[ModulePath]:
        """Follow the forward passes of ``root``, or of whatever this thread runs where no root is known."""
        named = [] if root is None else list(root.named_modules())
        here = cls({id(module): name for name, module in named}, listener)
        handles: list[RemovableHandle] = []
        try:
            if root is None:
                thread = threading.get_ident()

                def ours(hook: Callable[..., Any]) -> Callable[..., Any]:
                    return lambda *call: hook(*call) if threading.get_ident() == thread else None

                handles.append(register_module_forward_pre_hook(ours(here.enter)))
                handles.append(register_module_forward_hook(ours(here.leave), always_call=True))
            enter, leave = guard(here.enter), guard(here.leave)
            for _, module in named:
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(module.register_forward_hook(leave, always_call=True))
            yield here
        finally:
            for handle in handles:
                handle.remove()
