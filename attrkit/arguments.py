"""What a model is called with: the attributed tensors, and everything else; for some examples or several copies of them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from attrkit.protocols import Tensors


@attrs.frozen(slots=False)
class Arguments:
    """The attributed tensors by name, and everything else as it is.

    ``keyword`` says that the tensors are passed by their names. The first dimension of every tensor is the batch.
    """

    names: tuple[str, ...]
    tensors: Tensors
    keyword: bool = False
    extra: tuple[Any, ...] = ()
    fixed: Mapping[str, Any] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    @cached_property
    def digest(self) -> bytes:
        """A hash of the values of the tensors beside the attributed ones."""
        digest = hashlib.sha1(usedforsecurity=False)
        for tensor in tree_leaves((self.extra, dict(self.fixed))):
            if isinstance(tensor, Tensor):
                digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        return digest.digest()

    @cached_property
    def kind(self) -> Any:
        """What is passed beside the attributed tensors: the shapes of tensors, and everything that can be compared."""
        return tuple(map(_kind, (*self.extra, *sorted(self.fixed.items()))))

    @cached_property
    def likeness(self) -> Any:
        """All that a forward pass may depend on, save the values of tensors and the size of the batch."""
        return tuple([(t.shape[1:], t.dtype) for t in self.tensors]), self.kind if self.extra or self.fixed else ()

    def call(self, tensors: Tensors, copies: int, part: slice) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for copies of a part of the batch, ``tensors`` in place of the attributed ones."""
        extra = tuple([tiled(e, len(self), copies, part) for e in self.extra])
        fixed = {k: tiled(v, len(self), copies, part) for k, v in self.fixed.items()}
        if self.keyword:
            return extra, {**dict(zip(self.names, tensors, strict=True)), **fixed}
        return (*tensors, *extra), fixed

    def on(self, device: torch.device) -> Arguments:
        """These with all tensors on a device; themselves where they are there already."""
        leaves = tree_leaves((self.tensors, self.extra, dict(self.fixed)))
        if all(leaf.device == device for leaf in leaves if isinstance(leaf, Tensor)):
            return self
        extra, fixed = tree_map(lambda v: v.to(device) if isinstance(v, Tensor) else v, (self.extra, dict(self.fixed)))
        return attrs.evolve(self, tensors=tuple(t.to(device) for t in self.tensors), extra=extra, fixed=fixed)

    def taken(self, rows: Tensor, tensors: Tensors | None = None) -> Arguments:
        """Those of the examples ``rows``, in that order, with other ``tensors`` where they are given."""
        n = len(self)
        return attrs.evolve(
            self,
            tensors=tuple(taken(t, n, rows) for t in self.tensors) if tensors is None else tensors,
            extra=tuple(taken(e, n, rows) for e in self.extra),
            fixed={k: taken(v, n, rows) for k, v in self.fixed.items()},
        )


def _kind(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape[1:], value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_kind, value))
    if isinstance(value, Mapping):
        return tuple((key, _kind(item)) for key, item in value.items())
    if isinstance(value, bool | int | float | str | None):
        return type(value), value
    return type(value)


def tiled(value: Any, n: int, copies: int, part: slice) -> Any:
    """``copies`` copies of a part of a tensor with a row for each of ``n`` examples; anything else as it is.

    Tensors are always copied, so that the model may write into them.
    """
    if not isinstance(value, Tensor):
        return _fresh(value)
    if value.dim() == 0 or len(value) != n:
        return value.clone()
    return value[part].repeat(copies, *[1] * (value.dim() - 1))


def _fresh(value: Any) -> Any:
    """A copy of what a model may write into, like a cache; what cannot be copied, and what is no data, as it is."""
    if value is None or isinstance(value, bool | int | float | str | type | nn.Module) or callable(value):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a copy may refuse in any way
        return value


def taken(value: Any, n: int, rows: Tensor) -> Any:
    """The entries ``rows`` of a tensor with a row for each of ``n`` examples, also within a tuple; anything else as it is."""
    if isinstance(value, tuple | list):
        return tuple(taken(v, n, rows) for v in value)
    if isinstance(value, Mapping):
        return {k: taken(v, n, rows) for k, v in value.items()}
    if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != n:
        return value
    return value[rows.to(value.device)]


def for_rows(option: Any, n: int, rows: Tensor, dims: set[int]) -> Any:
    """A method's option for some of ``n`` examples: of tensors with a row for each, like a mask of features, their rows.

    ``dims`` are the numbers of dimensions that values with rows have.
    """
    if isinstance(option, tuple):
        return tuple(for_rows(v, n, rows, dims) for v in option)
    return taken(option, n, rows) if isinstance(option, Tensor) and option.dim() in dims - {0, 1} else option
