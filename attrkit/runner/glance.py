"""Whether a model still is what a census saw, told in a fraction of the time from the identity of everything it holds."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable
from enum import IntEnum
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeAlias

import attrs
import numpy as np
from torch import Tensor, nn

from attrkit.runner.census import ATOMS, Census, is_inert

Objects: TypeAlias = np.ndarray[Any, np.dtype[np.object_]]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
_LISTS = {list, set}
_attribute = object.__getattribute__  # what a class makes of reading its attributes may take any time


class _Sort(IntEnum):
    """How an attribute is looked at, beside which object it is."""

    TOLD = 0  # by nothing else
    EMPTY = 1  # it holds nothing, like most tables of hooks
    TABLE = 2  # a dictionary of what is told by its identity
    LIST = 3  # a list or a set of that
    EDITABLE = 4  # by walking it


@attrs.define(eq=False)
class Glance:
    """The same objects in the same places, the same memory under the same tensors, and the same in whatever can be edited.

    An edit that puts an equal object in the place of another is taken for a change; a census then tells better. Nothing is
    held that could keep the model alive: when anything of it dies, whose place in memory another might take, nothing holds.

    Everything is asked of all owners at once, which are modules and plain objects in them: what their attributes are called
    and hold, one owner's after another's. ``_sorted`` are the numbers in this order of the attributes of each sort.
    """

    unread: bool
    tokens: list[Any]  # of the census
    _owners: list[Any] = attrs.field(factory=list, init=False)
    _kinds: list[type] = attrs.field(factory=list, init=False)
    _attributes: tuple[Any, ...] = attrs.field(default=(), init=False)
    _sorted: dict[_Sort, Numbers] = attrs.field(factory=dict, init=False)
    _within: tuple[Any, ...] = attrs.field(default=(), init=False)  # what is in tables and lists
    _walked: list[Any] = attrs.field(factory=list, init=False)
    _met: dict[int, int] = attrs.field(factory=dict, init=False)  # the modules, which are not walked again
    _tensors: list[Any] = attrs.field(factory=list, init=False)
    _memory: tuple[Any, ...] = attrs.field(default=(), init=False)
    _refreshed: list[Any] = attrs.field(factory=list, init=False)
    _kept: list[Any] = attrs.field(factory=list, init=False)  # atoms, whose place in memory no other may take
    _refs: list[Any] = attrs.field(factory=list, init=False)
    _dead: list[Any] = attrs.field(factory=list, init=False)

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
        every = (*census.parameters.values(), *census.buffers.values(), *census.tensors.values())
        tensors = [t for t in every if not nn.parameter.is_lazy(t)]
        self._tensors, self._memory = list(map(self._weak, tensors)), _memory(tensors)
        owners, sorts = list[Any](census.modules.values()), list[_Sort]()
        met = set(map(id, owners))
        for owner in owners:  # which grow while they are gone through
            for value in _attribute(owner, "__dict__").values():
                sorts.append(self._sort(value))
                if _is_plain(value) and id(value) not in met:
                    met.add(id(value))
                    owners.append(value)
        self._owners, self._kinds = list(map(self._weak, owners)), list(map(type, owners))
        self._sorted = {sort: np.flatnonzero(np.array(sorts) == sort) for sort in _Sort}
        self._attributes, values = _seen(owners)
        self._within, self._walked = self._inside(values), self._walk(values)

    def _sort(self, value: Any) -> _Sort:
        """Decide how an attribute is looked at, and see to it that no other object takes its place in memory unnoticed."""
        if isinstance(value, dict | list | set | tuple) and not value:
            return _Sort.EMPTY
        if (items := _items(value)) and all(map(_is_simple, items)):
            list(map(self._keep, items))
            return _Sort.TABLE if type(value) is dict else _Sort.LIST
        if _is_simple(value) or _is_plain(value):
            self._keep(value)
            return _Sort.TOLD
        return _Sort.EDITABLE

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

    def values(self) -> list[Tensor]:
        """The model's buffers and plain tensors, in the order of the census."""
        return [ref() for ref in self._refreshed]

    def holds(self) -> bool:
        """Whether nothing has changed."""
        if self.unread or self._dead:
            return False
        owners = [ref() for ref in self._owners]
        if list(map(type, owners)) != self._kinds:
            return False
        attributes, values = _seen(owners)
        if attributes != self._attributes or any(self._of(_Sort.EMPTY, values)) or self._inside(values) != self._within:
            return False
        return _memory([ref() for ref in self._tensors]) == self._memory and self._walk(values) == self._walked

    def _of(self, sort: _Sort, values: Objects) -> list[Any]:
        found: list[Any] = values[self._sorted[sort]].tolist()
        return found

    def _inside(self, values: Objects) -> tuple[Any, ...]:
        """What is in tables and lists."""
        tables = [t for t in self._of(_Sort.TABLE, values) if type(t) is dict]
        lists = [e for e in self._of(_Sort.LIST, values) if type(e) in _LISTS]
        return _contents(tables)[0], list(map(type, lists)), list(map(len, lists)), _together(lists).tobytes()

    def _walk(self, values: Objects) -> list[Any]:
        editable = self._of(_Sort.EDITABLE, values)
        return Census(editable, dict(self._met)).tokens if editable else []


def _together(containers: Iterable[Iterable[Any]]) -> Objects:
    """What is in all of them as an array, whose bytes are the addresses in memory: the identities of all at once."""
    return np.fromiter(chain.from_iterable(containers), dtype=object)


def _contents(dictionaries: list[dict[Any, Any]]) -> tuple[tuple[Any, ...], Objects]:
    """How much each dictionary holds, under which names, and the identity of that; and that itself."""
    values = _together(map(dict.values, dictionaries))
    return (list(map(len, dictionaries)), list(chain.from_iterable(dictionaries)), values.tobytes()), values


def _seen(owners: list[Any]) -> tuple[tuple[Any, ...], Objects]:
    """The contents of the attributes of all owners."""
    return _contents(list(map(_attribute, owners, repeat("__dict__"))))


def _memory(tensors: list[Tensor]) -> tuple[Any, ...]:
    """The memory that each tensor reads, and in which order."""
    return list(map(Tensor.data_ptr, tensors)), list(map(Tensor.size, tensors)), list(map(Tensor.stride, tensors))


def _items(value: Any) -> list[Any]:
    """What is in a dictionary, with its keys, a list or a set; nothing where it is none of these."""
    if type(value) is dict:
        return [*value, *value.values()]
    return list(value) if type(value) in _LISTS else []


def _is_simple(value: Any) -> bool:
    """Whether a value is told by its identity: an atom or a tuple of atoms, a module, a tensor, a function."""
    if isinstance(value, tuple):
        return type(value) is tuple and all(type(v) in ATOMS for v in value)
    return type(value) in ATOMS or isinstance(value, nn.Module | Tensor) or is_inert(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is an object of which only attributes can change."""
    if _is_simple(value) or isinstance(value, types.MethodType | partial | dict | list | set | frozenset | tuple):
        return False
    return hasattr(value, "__dict__") and not hasattr(type(value), "__slots__") and not hasattr(value, "__len__")
