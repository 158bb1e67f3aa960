"""Whether values of the inputs decide what a forward pass does: it asks for them as numbers, or makes shapes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

_NUMBERS = {
    getattr(place, name)
    for place in (torch, Tensor)
    for name in (
        "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__", "__format__",
        "__repr__", "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount", "repeat_interleave",
        "equal", "allclose", "is_nonzero",
    )
    if hasattr(place, name)
}  # fmt: skip
_FURTHER, _MOVING = 1, 2  # marks; what is made of both has the larger
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
_SIZES = {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "requires_grad", "is_leaf", "ndim", "layout")}
_SIZES |= {Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point, Tensor.stride, Tensor.is_contiguous}


class Watch(TorchFunctionMode):
    """Follows what is made of some tensors, by a mark on each; says afterwards whether a value of it was asked for.

    ``decides`` speaks of what moves, ``further_decide`` of the further arguments.
    """

    def __init__(self, moving: Iterable[Tensor], further: Iterable[Any]) -> None:
        super().__init__()
        self.decides = self.further_decide = False
        for value in tree_iter(tuple(further)):
            _mark(value, _FURTHER)
        for tensor in moving:
            _mark(tensor, _MOVING)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mark = 0 if func in _SIZES else max(map(_marked, tree_iter((args, kwargs))), default=0)
        if not mark:
            return func(*args, **kwargs)
        if _asks(func, args):
            self.decides |= mark == _MOVING
            self.further_decide = True  # what moves may have been made of both
        output = func(*args, **kwargs)
        for made in (*tree_iter(output), *args[:1]):  # the first argument may be written into
            _mark(made, mark)
        return output


def _asks(func: Any, args: Any) -> bool:
    """Whether a function makes numbers or shapes of values."""
    masks = tree_iter(args[1]) if func in _INDEXING else ()
    one_armed = func in (torch.where, Tensor.where) and len(args) == 1
    return func in _NUMBERS or one_armed or any(isinstance(m, Tensor) and m.dtype is torch.bool for m in masks)


def _mark(value: Any, mark: int) -> None:
    if isinstance(value, Tensor):
        value._attrkit_mark = max(mark, _marked(value))  # type: ignore[attr-defined]


def _marked(value: Any) -> int:
    return vars(value).get("_attrkit_mark", 0) if isinstance(value, Tensor) else 0
