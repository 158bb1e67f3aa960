"""What a model is made of at this moment, so that a copy made earlier can be told stale after any edit."""

from __future__ import annotations

import hashlib
import logging
import types
import weakref
from collections import OrderedDict, deque
from enum import Enum
from functools import partial
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, torch.layout, type(Ellipsis),
})  # fmt: skip
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type)
_INERT = (types.ModuleType, Enum, logging.Logger, weakref.ref, torch.Generator)  # what they are does not change
_DEEPEST = 8  # of plain objects within plain objects, like a transformer's configuration


def is_inert(value: Any) -> bool:
    """Whether a value is what it is, and nothing in it can be edited."""
    return isinstance(value, (*_INERT, *_FUNCTIONS))


class _Same:
    """Equal to another one while both stand for one living object."""

    __slots__ = ("_ref",)

    def __init__(self, thing: object) -> None:
        self._ref = weakref.ref(thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (mine := self._ref()) is not None and mine is other._ref()

    __hash__ = None  # type: ignore[assignment]


@attrs.define
class Census:
    """Everything that a forward pass of ``root``, a model, may read, found by walking modules, containers and plain objects.

    ``tokens`` compare equal while nothing of it is edited; values of tensors do not count, because a copy shares or refreshes
    them. ``unread`` says that something was met whose inside cannot be seen, so that equal tokens prove nothing.
    """

    root: Any
    met: dict[int, int] = attrs.field(factory=dict)  # in which order things were met; those that were before are not walked
    tokens: list[Any] = attrs.field(factory=list, init=False)
    modules: dict[int, nn.Module] = attrs.field(factory=dict, init=False)
    parameters: dict[int, nn.Parameter] = attrs.field(factory=dict, init=False)
    buffers: dict[int, Tensor] = attrs.field(factory=dict, init=False)
    unread: bool = attrs.field(default=False, init=False)
    tensors: dict[int, Tensor] = attrs.field(factory=dict, init=False)
    functions: list[Any] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        """Walk."""
        self._add(self.root, 0)

    def _add(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in ATOMS:
            self.tokens.append(value)
        elif (kind is dict or kind is OrderedDict) and not value:  # most attributes of modules are empty tables of hooks
            self.tokens.append(kind)
        elif isinstance(value, Tensor):
            self._add_tensor(value)
        elif id(value) in self.met:
            self.tokens += (kind, self.met[id(value)])
        elif isinstance(value, nn.Module):
            self._add_module(value)
        elif isinstance(value, np.ndarray):
            self.tokens += (kind, value.shape, hashlib.sha1(value.tobytes(), usedforsecurity=False).digest())
        elif isinstance(value, list | tuple | set | frozenset | dict | deque):
            self.met[id(value)] = len(self.met)
            self._add_items(value, depth)
        else:
            self._add_object(value, depth)

    def _add_items(self, container: Any, depth: int) -> None:
        self.tokens += (type(container), len(container))
        if isinstance(container, dict):
            self._add_items(tuple(container), depth)
            container = container.values()
        for item in container:
            self._add(item, depth)

    def _add_module(self, module: nn.Module) -> None:
        self.met[id(module)] = len(self.met)
        self.modules[id(module)] = module
        self.tokens.append(type(module))
        buffers = module._buffers
        fields = vars(module)
        self.tokens += (tuple(fields), tuple(buffers))
        for value in fields.values():
            if value is not buffers:
                self._add(value, 0)
        for buffer in buffers.values():
            self._add_shared(buffer)
            if buffer is not None:
                self.buffers[id(buffer)] = buffer

    def _add_shared(self, tensor: Tensor | None) -> None:
        """A tensor whose values a copy shares or refreshes: only its place in memory counts."""
        if tensor is None or torch.nn.parameter.is_lazy(tensor):
            self.tokens.append(type(tensor))
        else:
            self.tokens += (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)

    def _add_tensor(self, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter):
            self.parameters[id(tensor)] = tensor
            self._add_shared(tensor)
        else:
            if id(tensor) not in self.buffers:
                self.tensors[id(tensor)] = tensor
            self._add_shared(tensor)

    def _add_object(self, value: Any, depth: int) -> None:
        self.met[id(value)] = len(self.met)
        self.tokens.append(type(value))
        if isinstance(value, (types.MethodType, partial, *_FUNCTIONS)):
            self.functions.append(value)
            if isinstance(value, _FUNCTIONS):
                self.tokens.append(_Same(value))
                return
            parts = (value.__func__,) if isinstance(value, types.MethodType) else (value.func, value.args, value.keywords)
            for part in parts:
                self._add(part, depth)
        elif isinstance(value, _INERT):
            self.tokens.append(id(value))
        elif depth < _DEEPEST and not hasattr(type(value), "__slots__") and hasattr(value, "__dict__"):
            self._add_items(vars(value), depth + 1)
        else:
            self.unread = True

    def leads_back(self) -> bool:
        """Whether a function among the attributes or hooks closes over a module of this model: a copy would run that module."""
        return any(id(m) in self.modules for function in self.functions for m in _closed_over(function))


def _closed_over(function: Any) -> list[nn.Module]:
    """The modules in the closure, the defaults and the partial arguments of a function."""
    if isinstance(function, partial):  # a deep copy replaces what a partial holds, but not what its function closes over
        return _closed_over(function.func)
    if isinstance(function, types.MethodType):
        return _closed_over(function.__func__)
    held: list[Any] = list(getattr(function, "__defaults__", None) or ())
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            continue
    found = []
    for thing in held:
        if isinstance(thing, types.MethodType):
            thing = thing.__self__  # noqa: PLW2901
        if isinstance(thing, nn.Module):
            found.append(thing)
        elif isinstance(thing, types.FunctionType):
            found += _closed_over(thing)
    return found
