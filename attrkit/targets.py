"""Choosing one number per example out of what a model returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from numbers import Integral
from typing import Any, TypeAlias

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from attrkit.errors import UsageError, UsageTypeError

TargetLike: TypeAlias = "int | tuple[int, ...] | Sequence[int] | Sequence[tuple[int, ...]] | Tensor | None"


def output_tensor(output: Any) -> Tensor:
    """The tensor of a model's output: the output itself, its only tensor, or the one called ``logits``; of a number, one of it.

    Raises:
        UsageTypeError: the output is a future, or holds no tensor or several, none of them called ``logits``.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, int | float):
        return torch.tensor(output, dtype=torch.float64 if isinstance(output, float) else None)
    if isinstance(output, torch.futures.Future):
        raise UsageTypeError("the model returned a future; use attribute_future, for the classes that have it, or wait for it")
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if len(tensors) != 1:
        raise UsageTypeError(
            f"the model returned {type(output).__name__} with {len(tensors)} tensors, of which attrkit cannot choose one; "
            "pass a function that returns the tensor to explain, like: lambda x: model(x)[0]"
        )
    return tensors[0]


def _is_index(value: Any) -> bool:
    """Whether a value is an integer, also one of numpy's."""
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def _rows(target: Any) -> Tensor | None:
    """One row of indices per example, from a list or a 1-d integer tensor or array; None where it is none of these."""
    if isinstance(target, np.ndarray):
        target = torch.as_tensor(target)
    if isinstance(target, Tensor):
        whole = not (target.is_floating_point() or target.is_complex() or target.dtype is torch.bool)
        return target.reshape(-1, 1) if whole and (target.dim() == 1 or target.numel() == 1) else None
    if not isinstance(target, list):
        return None
    entries = [tuple(t) if isinstance(t, tuple | list) else (t,) for t in target]
    if not all(_is_index(i) for t in entries for i in t) or len({len(t) for t in entries}) > 1:
        return None
    return torch.tensor([[int(i) for i in t] for t in entries], dtype=torch.long).reshape(len(entries), -1 if entries else 1)


@attrs.frozen
class Target:
    """Which number of each row of the output. ``rows`` holds one index per example, ``index`` one for all of them."""

    index: tuple[int, ...] | None = None
    rows: Tensor | None = None  # (n, number of indices), integer
    given: Target | None = attrs.field(default=None, repr=False)  # what this is a part of, for messages

    @classmethod
    def of(cls, target: Any, n: int) -> Target:
        """Read what a caller gave for a batch of ``n``.

        Raises:
            UsageTypeError: it is none of the accepted kinds.
            UsageError: it holds another number of entries than there are examples.
        """
        if target is None or isinstance(target, Target):
            return target or cls()
        if _is_index(target):
            return cls((int(target),))
        if isinstance(target, Mapping) and target.keys() == {"index"}:  # as to_json describes a tuple
            target = tuple(target["index"])
        if isinstance(target, tuple) and all(map(_is_index, target)):
            return cls(tuple(map(int, target)))
        rows = _rows(target)
        if rows is not None and (len(rows) or not n):
            single = isinstance(target, Tensor) and rows.numel() == 1
            return cls((int(rows),)) if single else cls._per_example(rows, n)
        got = f"a tensor of shape {tuple(target.shape)} and {target.dtype}" if isinstance(target, Tensor) else repr(target)
        raise UsageTypeError(
            "target must be an int, a tuple of ints, a list of ints or of tuples with one entry per example, or a 1-d integer "
            f"tensor, got {got}"
        )

    @classmethod
    def _per_example(cls, rows: Tensor, n: int) -> Target:
        if len(rows) != n:
            raise UsageError(
                f"target has {len(rows)} entries for a batch of {n} examples; give one per example, or a single int"
            )
        return cls(None, rows)

    def tile(self, copies: int, part: slice) -> Target:
        """The target for ``copies`` copies of a part of the batch."""
        if self.rows is None:
            return self
        return Target(None, self.rows[part].repeat(copies, 1), self.given or self)

    def taken(self, rows: Tensor) -> Target:
        """The target of those of the examples ``rows``, in that order."""
        return self if self.rows is None else Target(None, self.rows[rows], self.given or self)

    def choose(self, output: Tensor, n: int, *, every: bool = False) -> Tensor:
        """One number per example, shape ``(n,)``; shape ``(1,)`` where the model returns one number for the whole batch.

        ``every`` takes all outputs where there is no target, shape ``(n, *outputs)``.

        Raises:
            UsageError: a target is missing, has another number of indices than the output has dimensions after the batch, or is
                out of range; or one is given per example and the output has another number of rows.
        """
        if self.index is None and self.rows is None:
            if output.dim() == 0 or output.shape == (1,):
                return output.reshape(1)
            if every:
                return output
            if output.shape[1:].numel() != 1:
                raise UsageError(
                    f"target is missing: the model returns {tuple(output.shape[1:])} numbers per example; choose one by target="
                )
            return output.reshape(len(output))
        if self.rows is not None and not len(self.rows):
            return output.flatten(1).sum(1)  # of no examples
        wanted = self.index if self.rows is None else tuple(int(i) for i in self.rows.amax(0))
        assert wanted is not None  # for the type checker; one of the two is given
        shape = tuple(output.shape[1:])
        if output.dim() == 0 or len(wanted) != len(shape):
            raise UsageError(
                f"target {self.given or self} has {len(wanted)} indices, but after the batch the model's output has "
                f"{len(shape)} dimensions {shape}" + ("" if shape else "; leave target out")
            )
        lowest = wanted if self.rows is None else tuple(int(i) for i in self.rows.amin(0))
        if any(not -size <= low or not high < size for low, high, size in zip(lowest, wanted, shape, strict=True)):
            raise UsageError(f"target {self.given or self} is out of range: the model returns {shape} numbers per example")
        if self.rows is None:
            return reduce(lambda chosen, place: chosen.select(1, place), wanted, output)
        if len(output) != n:
            raise UsageError(f"target has one entry per example, but the model returned {len(output)} rows for {n} examples")
        index: Any = (torch.arange(n, device=output.device), *self.rows.to(output.device).unbind(1))
        return output[index]

    def plain(self) -> Any:
        """The target in a form that the established API takes."""
        if self.rows is not None:
            return [int(r[0]) if len(r) == 1 else tuple(r) for r in self.rows.tolist()]
        return self.index[0] if self.index is not None and len(self.index) == 1 else self.index

    def to_json(self) -> Any:
        """The target in a form that JSON keeps and ``of`` reads."""
        if self.rows is not None:
            return [r[0] if len(r) == 1 else r for r in self.rows.tolist()]
        if self.index is None or len(self.index) == 1:
            return self.index and self.index[0]
        return {"index": list(self.index)}

    def __str__(self) -> str:
        described = self.to_json()
        return str(self.index) if isinstance(described, dict) else str(described)
