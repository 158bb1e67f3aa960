"""Addressing a place in a model: which module, its input or output, and the tensors in whatever it passes on."""

from __future__ import annotations

import copy
import dataclasses
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from numbers import Integral
from typing import Any, Literal, TypeAlias

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UnknownName, UsageError, UsageTypeError, did_you_mean
from attrkit.protocols import Tensors

LayerLike: TypeAlias = "str | nn.Module | Call"
Selector: TypeAlias = "int | tuple[int | slice, ...] | Callable[..., Tensor]"


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A value with every tensor in it replaced, through tuples, lists, mappings and objects with declared fields."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        made = copy.copy(value)
        for key, item in value.items():
            made[key] = _mapped(item, change)  # type: ignore[index]
        return made
    if isinstance(value, tuple | list):
        items = [_mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if attrs.has(type(value)) or dataclasses.is_dataclass(value):
        made = copy.copy(value)
        for name, item in vars(value).items():
            object.__setattr__(made, name, _mapped(item, change))
        return made
    return value


def known_again(thing: object) -> Any:
    """What equals another one of these only while both are of one living thing, which it does not keep alive."""
    try:
        ref = weakref.ref(thing)
        hash(ref)
    except TypeError:  # it takes no weak references, or has no hash
        return type(thing), id(thing)
    return ref


@attrs.frozen
class ModuleLayer:
    """A module's output or input. Implements the Layer protocol.

    Its tensors are the floating-point tensors in the value, in order; where there is none, all tensors. A module that runs
    several times is seen at every call, or only at the one numbered ``call``.
    """

    name: str
    module: nn.Module = attrs.field(repr=False)
    io: Literal["input", "output"] = "output"
    call: int | None = None

    @property
    def key(self) -> weakref.ref[nn.Module]:
        """What knows the module again without keeping it alive; names of layers of plain functions may be equal."""
        return weakref.ref(self.module)

    def __str__(self) -> str:
        return self.name if self.call is None else f"{self.name}@{self.call}"

    def read(self, value: Any) -> Tensors:
        """The tensors in a value that passed by."""
        return tuple(t for t in _tensors(value) if _counts(t, value))

    def write(self, value: Any, tensors: Tensors) -> Any:
        """The same value with other tensors."""
        rest = iter(tensors)
        return _mapped(value, lambda t: next(rest) if _counts(t, value) else t)


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _mapped(value, lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
    return found


def _counts(tensor: Tensor, value: Any) -> bool:
    """Whether a tensor is one of those that attributions are for."""
    return tensor.is_floating_point() or not any(t.is_floating_point() for t in _tensors(value))


@attrs.frozen
class Call:
    """One call of a module that runs several times in a forward pass, counted from 0. As a path: ``"cell@2"``."""

    layer: str | nn.Module
    number: int


def find_layers(
    root: nn.Module | None, layers: Iterable[LayerLike], io: Literal["input", "output"] = "output"
) -> tuple[ModuleLayer, ...]:
    """The layers of ``root`` that dotted paths, module objects or calls of these name.

    Raises:
        UnknownName: no module of the model has that path, or is that module.
        UsageTypeError: one is neither a path nor a module, nor a call of one.
    """
    layers = tuple(layers)
    if not layers:
        return ()
    modules = (layer.layer if isinstance(layer, Call) else layer for layer in layers)
    names = _names(root, {id(module) for module in modules if isinstance(module, nn.Module)})
    return tuple(_found(root, names, layer, io) for layer in layers)


def _names(root: nn.Module | None, wanted: set[int]) -> dict[int, str]:
    """The paths of modules, by identity; no further than to the last of them."""
    found: dict[int, str] = {}
    for name, module in root.named_modules() if root is not None and wanted else ():
        if id(module) in wanted:
            found[id(module)] = name
            if len(found) == len(wanted):
                break
    return found


def _found(root: nn.Module | None, names: dict[int, str], layer: Any, io: Literal["input", "output"]) -> ModuleLayer:
    if isinstance(layer, Call):
        if type(layer.number) is not int or layer.number < 0:
            raise UsageTypeError(f"layer: the number of a call must be an integer of at least 0, got {layer.number!r}")
        return attrs.evolve(_found(root, names, layer.layer, io), call=layer.number)
    if isinstance(layer, nn.Module):
        return _of_module(root, names, layer, io)
    if not isinstance(layer, str):
        raise UsageTypeError(f"layer must be a module or the path of one, like 'encoder.3', got {type(layer).__name__}")
    if root is None:
        raise UsageError(f"layer {layer!r} is a path, but the model is a plain function; pass the module itself")
    if (module := _at(root, layer)) is not None:
        return ModuleLayer(layer, module, io)
    path, _, number = layer.rpartition("@")
    if path and number.isdecimal() and (module := _at(root, path)) is not None:
        return ModuleLayer(path, module, io, int(number))
    paths = [n for n, _ in root.named_modules() if n]
    raise UnknownName(f"the model has no layer {layer!r}.{did_you_mean(layer, paths)} Layers: {_some(paths)}")


def _at(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a path."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def _of_module(root: nn.Module | None, names: dict[int, str], layer: nn.Module, io: Literal["input", "output"]) -> ModuleLayer:
    if root is None:
        return ModuleLayer(type(layer).__name__, layer, io)
    name = names.get(id(layer))
    if name is None:
        raise UnknownName(
            f"layer {type(layer).__name__} is not a module of the model {type(root).__name__}; pass one of its submodules, "
            "or its path as model.named_modules() gives it"
        )
    return ModuleLayer(name, layer, io)


@lru_cache(maxsize=4096)
def path_pattern(pattern: str) -> re.Pattern[str]:
    """A glob of dotted paths: ``*`` stops at a dot, ``**`` does not."""
    escaped = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", r"[^.]*").replace(r"\?", r"[^.]")
    return re.compile(escaped)


def matching_layers(root: nn.Module | None, pattern: str, io: Literal["input", "output"] = "output") -> list[ModuleLayer]:
    """All layers whose paths match a glob: ``*`` stops at a dot, ``**`` does not.

    Raises:
        UnknownName: nothing matches.
        UsageTypeError: the pattern is no text, or the model a function whose layers have no paths.
    """
    if not isinstance(pattern, str) or root is None:
        got = type(pattern).__name__ if root is not None else "a model that is a plain function; pass layer= with its modules"
        raise UsageTypeError(f"layers must be a pattern of paths, like 'encoder.*', or a list of them, got {got}")
    modules = dict(root.named_modules())
    matches = path_pattern(pattern).fullmatch
    found = [ModuleLayer(name, module, io) for name, module in modules.items() if name and matches(name)]
    if not found:
        raise UnknownName(f"layers: no layer of the model matches {pattern!r}. Layers: {_some(n for n in modules if n)}")
    return found


def _some(names: Iterable[str], most: int = 12) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


@attrs.frozen
class Neuron:
    """One number per example out of a layer's value.

    ``selector`` is an index, a tuple of indices or slices over the dimensions after the batch (what slices select is summed),
    or a function of the layer's tensor (of all of them, as a tuple, where there are several).
    """

    layer: ModuleLayer
    selector: Selector

    def pick(self, value: Tensors) -> Tensor:
        """The neuron's value, shape ``(batch,)``.

        Raises:
            UsageTypeError: the selector is no function and holds something else than integers and slices.
            UsageError: it does not index each dimension after the batch, is out of range or picks nothing; it is no function,
                and the layer has several tensors; or the function does not return one number per example.
        """
        if callable(self.selector):
            picked = self.selector(value[0] if len(value) == 1 else value)
            if not isinstance(picked, Tensor) or picked.shape != value[0].shape[:1]:
                shape = tuple(picked.shape) if isinstance(picked, Tensor) else type(picked).__name__
                raise UsageError(
                    f"neuron: the function must return one number per example, shape ({len(value[0])},), got {shape}"
                )
            return picked
        if len(value) != 1:
            raise UsageError(
                f"neuron {self.selector!r}: layer {self.layer.name!r} passes on {len(value)} tensors; use a function "
                "that takes them as a tuple and returns one number per example"
            )
        index = self.selector if isinstance(self.selector, tuple) else (self.selector,)
        if any(isinstance(i, bool) or not isinstance(i, Integral | slice) for i in index):
            raise UsageTypeError(
                f"neuron must be an integer, a tuple of integers or slices, or a function, got {self.selector!r}"
            )
        shape = tuple(value[0].shape[1:])
        if len(index) != len(shape):
            raise UsageError(f"neuron {self.selector!r} must index each of the dimensions {shape} of layer {self.layer.name!r}")
        pairs = list(zip(index, shape, strict=True))
        if any(isinstance(i, slice) and not range(size)[i] for i, size in pairs):
            raise UsageError(
                f"neuron {self.selector!r} picks nothing of layer {self.layer.name!r}, of shape {shape} per example"
            )
        if any(not isinstance(i, slice) and not -size <= i < size for i, size in pairs):
            raise UsageError(
                f"neuron {self.selector!r} is out of range: layer {self.layer.name!r} has shape {shape} per example"
            )
        picked = value[0][(slice(None), *index)]
        return picked.flatten(1).sum(1) if picked.dim() > 1 else picked

    def mask(self, value: Tensors) -> Tensors:
        """The derivative of the pick by each of the layer's tensors.

        Raises:
            UsageTypeError: as :meth:`pick`.
            UsageError: as :meth:`pick`, or what is picked does not depend on the layer's value.
        """
        with torch.enable_grad():
            leaves = tuple(v.detach().requires_grad_() for v in value)
            picked = self.pick(leaves)
            if not picked.requires_grad:
                raise UsageError(
                    "neuron: what the function returns does not depend on the layer's value, or is detached from it"
                )
            return torch.autograd.grad(picked.sum(), leaves, materialize_grads=True)
