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
Lists: TypeAlias = list["list[Any] | set[Any]"]
_LISTS = {list, set}
_GONE: dict[Any, Any] = {}  # in place of a table that is there no more
_attribute = object.__getattribute__  # what a class makes of reading its attributes may take any time


class _Sort(IntEnum):
    """How an attribute is looked at, beside which object it is."""

    TOLD = 0  # by nothing else
    EMPTY = 1  # it holds nothing, like most tables of hooks
    TABLE = 2  # a dictionary of what is told by its identity
    LIST = 3  # a list or a set of that
    EDITABLE = 4  # by walking it


@attrs.frozen
class _Contents:
    """Under which names dictionaries hold something, and the identity of each thing that they hold, one's after another's."""

    names: list[tuple[Any, ...]]
    count: int
    identities: bytes

    @classmethod
    def of(cls, dictionaries: list[dict[Any, Any]]) -> _Contents:
        """What is in them now."""
        names = list(map(tuple, dictionaries))
        count = sum(map(len, names))
        return cls(names, count, _together(map(dict.values, dictionaries), count).tobytes())

    def seen(self, dictionaries: list[dict[Any, Any]]) -> Objects | None:
        """What they hold, where that is the same; else None."""
        try:
            if list(map(tuple, dictionaries)) != self.names:
                return None
            values = _together(map(dict.values, dictionaries), self.count)
        except (TypeError, ValueError):  # one is no dictionary any more, or another thread has just taken something out
            return None
        return values if values.tobytes() == self.identities else None


@attrs.define(eq=False)
class Glance:
    """The same objects in the same places, the same memory under the same tensors, and the same in whatever can be edited.

    An edit that puts an equal object in the place of another is taken for a change; a census then tells better. Nothing is
    held that could keep the model alive: when anything of it dies, whose place in memory another might take, nothing holds.

    Everything is asked of all owners at once, which are modules and plain objects in them: what their attributes are, and what
    is in the ``_tables`` among these, told by owner and name. ``_places`` are the numbers of attributes in which one looks
    further, the ones of a sort together, and ``_bounds`` where each sort but the first begins among these.
    """

    unread: bool
    tokens: list[Any]  # of the census
    _owners: list[Any] = attrs.field(factory=list, init=False)
    _kinds: list[type] = attrs.field(factory=list, init=False)
    _tables: list[tuple[int, str]] = attrs.field(factory=list, init=False)
    _contents: _Contents = attrs.field(default=_Contents([], 0, b""), init=False)
    _places: Numbers = attrs.field(factory=lambda: np.zeros(0, np.intp), init=False)
    _bounds: list[int] = attrs.field(factory=list, init=False)
    _listed: tuple[Any, ...] = attrs.field(default=(), init=False)  # what is in lists and sets
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
        for number, owner in enumerate(owners):  # which grow while they are gone through
            for name, value in _attribute(owner, "__dict__").items():
                sorts.append(self._sort(value))
                if sorts[-1] is _Sort.TABLE:
                    self._tables.append((number, name))
                if _is_plain(value) and id(value) not in met:
                    met.add(id(value))
                    owners.append(value)
        self._owners, self._kinds = list(map(self._weak, owners)), list(map(type, owners))
        dictionaries = self._dictionaries(owners)
        self._contents = _Contents.of(dictionaries)
        numbered = [np.flatnonzero(np.array(sorts) == sort) for sort in (_Sort.EMPTY, _Sort.LIST, _Sort.EDITABLE)]
        self._places, self._bounds = np.concatenate(numbered), np.cumsum(list(map(len, numbered)))[:-1].tolist()
        _, lists, editable = self._further(_together(map(dict.values, dictionaries), self._contents.count))
        self._listed, self._walked = _held(lists), self._walk(editable)

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
        values = self._contents.seen(self._dictionaries(owners))
        if values is None:
            return False
        empty, lists, editable = self._further(values)
        if any(empty) or (lists and _held(lists) != self._listed):
            return False
        return _memory([ref() for ref in self._tensors]) == self._memory and self._walk(editable) == self._walked

    def _dictionaries(self, owners: list[Any]) -> list[dict[Any, Any]]:
        """The owners' attributes, and tables that are among these."""
        attributes: list[dict[Any, Any]] = list(map(_attribute, owners, repeat("__dict__")))
        return attributes + [attributes[number].get(name, _GONE) for number, name in self._tables]

    def _further(self, values: Objects) -> tuple[list[Any], Lists, list[Any]]:
        """The attributes in which one looks further: those that were empty, lists, and what is walked."""
        found: list[Any] = values[self._places].tolist()
        lists, editable = self._bounds
        return found[:lists], found[lists:editable], found[editable:]

    def _walk(self, editable: list[Any]) -> list[Any]:
        return Census(editable, dict(self._met)).tokens if editable else []


def _together(containers: Iterable[Iterable[Any]], count: int) -> Objects:
    """What is in all of them, so many things, as an array, whose bytes are the addresses in memory: all identities at once."""
    return np.fromiter(chain.from_iterable(containers), dtype=object, count=count)


def _held(lists: Lists) -> tuple[list[int], bytes]:
    """How many things lists and sets hold, and the identity of each."""
    sizes = list(map(len, lists))
    return sizes, _together(lists, sum(sizes)).tobytes()


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
