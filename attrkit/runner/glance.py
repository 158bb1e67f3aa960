"""Whether a model still is what a census saw, told in a fraction of the time from the identity of everything it holds."""

from __future__ import annotations

import types
import weakref
from functools import partial
from typing import Any

import attrs
from torch import Tensor, nn

from attrkit.runner.census import ATOMS, Census, is_inert

_EMPTY = (dict, list, set, tuple)


@attrs.define(eq=False)
class _Owner:
    """A module or plain object: what its attributes are called, and the identity of each."""

    ref: Any
    kind: type
    names: tuple[str, ...]
    ids: list[int]
    empty: tuple[str, ...]  # attributes that hold nothing, like most tables of hooks
    tables: list[tuple[str, tuple[Any, ...], list[int]]]  # the same of attributes that are dictionaries
    editable: list[str]  # attributes to walk

    def holds(self) -> bool:
        """Whether it is the same, but for what is to be walked."""
        owner = self.ref()
        if type(owner) is not self.kind:
            return False
        fields = vars(owner)
        if list(map(id, fields.values())) != self.ids or tuple(fields) != self.names or any(map(fields.get, self.empty)):
            return False
        for name, names, ids in self.tables:
            table = fields[name]
            if list(map(id, table.values())) != ids or tuple(table) != names:
                return False
        return True


@attrs.define(eq=False)
class Glance:
    """The same objects in the same places, the same memory under the same tensors, and the same in whatever can be edited.

    An edit that puts an equal object in the place of another is taken for a change; a census then tells better. Nothing is
    held that could keep the model alive: when anything of it dies, whose place in memory another might take, nothing holds.
    """

    unread: bool
    tokens: list[Any]  # of the census
    _owners: list[_Owner] = attrs.field(factory=list, init=False)
    _tensors: list[Any] = attrs.field(factory=list, init=False)
    _refreshed: list[Any] = attrs.field(factory=list, init=False)
    _memory: list[Any] = attrs.field(factory=list, init=False)
    _kept: list[Any] = attrs.field(factory=list, init=False)  # atoms, whose place in memory no other may take
    _refs: list[Any] = attrs.field(factory=list, init=False)
    _dead: list[Any] = attrs.field(factory=list, init=False)
    _met: dict[int, int] = attrs.field(factory=dict, init=False)  # the modules, which are not walked again
    _walked: list[Any] = attrs.field(factory=list, init=False)

    @classmethod
    def of(cls, census: Census) -> Glance:
        """What a model looks like now, that was just walked."""
        glance = cls(census.unread, census.tokens)
        glance._refreshed = [glance._weak(t) for t in (*census.buffers.values(), *census.tensors.values())]
        if not census.unread:
            glance._take(census)
        return glance

    def _take(self, census: Census) -> None:
        self._met = {key: census.met[key] for key in census.modules}
        tensors = [*census.parameters.values(), *census.buffers.values(), *census.tensors.values()]
        self._tensors = [self._weak(t) for t in tensors if not nn.parameter.is_lazy(t)]
        self._memory = list(map(_memory, (t for t in tensors if not nn.parameter.is_lazy(t))))
        waiting, seen = list[Any](census.modules.values()), set(census.modules)
        while waiting:
            waiting += self._add(waiting.pop(), seen)
        self._walked = self._walk()

    def _add(self, owner: Any, seen: set[int]) -> list[Any]:
        """Take in one object; returns the plain objects that it holds."""
        fields, found = vars(owner), []
        empty, editable, tables = [], [], []
        for name, value in fields.items():
            if isinstance(value, _EMPTY) and not value:
                empty.append(name)
            elif type(value) is dict and all(map(_simple, value.values())):
                tables.append((name, tuple(value), list(map(id, value.values()))))
                list(map(self._keep, value.values()))
            elif _simple(value):
                self._keep(value)
            elif _plain(value):
                self._keep(value)
                if id(value) not in seen:
                    seen.add(id(value))
                    found.append(value)
            else:
                editable.append(name)
        ids = list(map(id, fields.values()))
        self._owners.append(_Owner(self._weak(owner), type(owner), tuple(fields), ids, tuple(empty), tables, editable))
        return found

    def _keep(self, value: Any) -> None:
        if type(value) in ATOMS or isinstance(value, tuple):
            self._kept.append(value)
        else:
            self._refs.append(self._weak(value))

    def _weak(self, value: Any) -> Any:
        try:
            return weakref.ref(value, self._dead.append)
        except TypeError:  # what has no weak references is too simple to lead back to the model
            return lambda: value

    def _walk(self) -> list[Any]:
        values = [vars(owner.ref())[name] for owner in self._owners for name in owner.editable]
        return Census(values, dict(self._met)).tokens if values else []

    def values(self) -> list[Tensor]:
        """The model's buffers and plain tensors, in the order of the census."""
        return [ref().detach() for ref in self._refreshed]

    def holds(self) -> bool:
        """Whether nothing has changed."""
        if self.unread or self._dead or not all(owner.holds() for owner in self._owners):
            return False
        return [_memory(ref()) for ref in self._tensors] == self._memory and self._walk() == self._walked


def _memory(tensor: Tensor) -> tuple[int, Any]:
    return tensor.data_ptr(), tensor.shape


def _simple(value: Any) -> bool:
    """Whether a value is told by its identity: an atom or a tuple of atoms, a module, a tensor, a function."""
    if isinstance(value, tuple):
        return type(value) is tuple and all(type(v) in ATOMS for v in value)
    return type(value) in ATOMS or isinstance(value, nn.Module | Tensor) or is_inert(value)


def _plain(value: Any) -> bool:
    """Whether a value is an object of which only attributes can change."""
    if isinstance(value, types.MethodType | partial | dict | list | set | frozenset | tuple):
        return False
    return hasattr(value, "__dict__") and not hasattr(type(value), "__slots__") and not hasattr(value, "__len__")
