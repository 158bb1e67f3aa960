"""Whether values of the inputs decide what a forward pass does: it asks for them as numbers, or makes shapes of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

_NUMBERS = {
    getattr(Tensor, name)
    for name in ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "nonzero")
} | {torch.nonzero, torch.masked_select, Tensor.masked_select, torch.unique, Tensor.unique, torch.equal, Tensor.equal,
     torch.allclose, Tensor.allclose, torch.is_nonzero}  # fmt: skip
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
_SIZES = {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "requires_grad", "is_leaf", "ndim", "layout")}
_SIZES |= {Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point, Tensor.stride, Tensor.is_contiguous}


class Watch(TorchFunctionMode):
    """Follows what is made of some tensors, by a mark; ``decides`` says afterwards whether a value of it was asked for."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.decides = False
        for tensor in tensors:
            _mark(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.decides or func in _SIZES or not any(map(_marked, tree_iter((args, kwargs)))):
            return func(*args, **kwargs)
        masks = tree_iter(args[1]) if func in _INDEXING else ()
        self.decides = func in _NUMBERS or any(isinstance(m, Tensor) and m.dtype is torch.bool for m in masks)
        output = func(*args, **kwargs)
        for made in (*tree_iter(output), *args[:1]):  # the first argument may be written into
            _mark(made)
        return output


def _mark(value: Any) -> None:
    if isinstance(value, Tensor):
        value._attrkit_moved = True  # type: ignore[attr-defined]


def _marked(value: Any) -> bool:
    return isinstance(value, Tensor) and "_attrkit_moved" in vars(value)
