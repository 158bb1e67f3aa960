"""Features: groups of positions, over all tensors at the site, that are there or absent together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors

#: The number that positions have in a mask which belong to no feature: they are never replaced.
NO_FEATURE = torch.iinfo(torch.int64).min


@runtime_checkable
class Players(Protocol):
    """Features of any kind: how many there are, where they are, and how a score for each becomes one for each position.

    ``present`` tells for coalitions, boolean of shape ``(k, count)``, which positions keep their value: one boolean tensor per
    tensor at the site, broadcasting to ``(k, batch, ...)``. ``spread`` takes scores of shape ``(batch, *outputs, count)``, with
    1 for the batch where there is one for all, to shape ``(batch, *outputs, ...)`` for tensors ``like`` the site.
    """

    @property
    def count(self) -> int: ...  # noqa: D102
    def present(self, coalitions: Tensor) -> Tensors: ...  # noqa: D102
    def spread(self, scores: Tensor, like: Tensors) -> Tensors: ...  # noqa: D102


@attrs.frozen(eq=False, slots=False)
class Features:
    """Features that share no position: ``ids`` tells, per tensor, the feature of each, from 0 to ``count`` - 1.

    Each tensor of ids broadcasts to the site's tensor, its first dimension being 1 where all examples share it. A position of
    number ``count`` belongs to none, and always keeps its value.
    """

    ids: Tensors
    count: int
    fixed: bool = False  # whether there are positions that belong to none

    @classmethod
    def of(cls, point: Tensors, mask: Any) -> Features:
        """Features from a mask of group numbers, one integer tensor per tensor; without a mask, each position is one.

        Equal numbers are one feature, also in different tensors; numbers may have gaps.

        Raises:
            UsageError: another number of masks than tensors, or a mask that does not broadcast to its tensor.
            UsageTypeError: a mask that is no integer tensor.
        """
        if mask is None:
            return Positions(point)
        masks = mask if isinstance(mask, tuple) else (mask,)
        if len(masks) != len(point):
            raise UsageError(
                f"feature_mask has {len(masks)} tensors, but there are {len(point)} to attribute to; give one for each"
            )
        fitted = tuple(_fitted(m, x, i) for i, (m, x) in enumerate(zip(masks, point, strict=True)))
        known, flat = torch.unique(torch.cat([m.flatten() for m in fitted]), return_inverse=True)
        fixed = bool(len(known)) and int(known[0]) == NO_FEATURE  # the least of all numbers
        if fixed:
            flat = torch.where(flat == 0, len(known), flat) - 1
        pieces = flat.split([m.numel() for m in fitted])
        ids = tuple(piece.reshape(m.shape) for piece, m in zip(pieces, fitted, strict=True))
        return cls(ids, len(known) - fixed, fixed)

    def present(self, coalitions: Tensor) -> Tensors:
        """Which positions keep their value, boolean, one tensor per tensor at the site, shape ``(k, batch or 1, ...)``."""
        if self.fixed:
            coalitions = torch.cat([coalitions, coalitions.new_ones(len(coalitions), 1)], 1)
        return tuple(coalitions.index_select(1, i.flatten()).reshape(len(coalitions), *i.shape) for i in self.ids)

    def spread(self, scores: Tensor, like: Tensors) -> Tensors:
        """Each feature's score, shape ``(batch or 1, *outputs, count)``, at each of its positions; 0 where there is none.

        Raises:
            UsageError: a tensor has another number of rows than there are examples.
        """
        _check_rows(scores, like)
        if self.fixed:
            scores = torch.cat([scores, scores.new_zeros(*scores.shape[:-1], 1)], -1)
        return tuple(self._spread(scores, i, x) for i, x in zip(self.ids, like, strict=True))

    @staticmethod
    def _spread(scores: Tensor, ids: Tensor, like: Tensor) -> Tensor:
        outputs, shape = scores.shape[1:-1], like.shape[1:]
        if len(ids) == 1:
            return scores[..., ids[0]].expand(*scores.shape[:-1], *shape)
        rows = scores.expand(len(like), *outputs, -1)
        index = ids.reshape(len(like), *[1] * len(outputs), math.prod(ids.shape[1:])).expand(-1, *outputs, -1)
        return rows.gather(-1, index).reshape(len(like), *outputs, *ids.shape[1:]).expand(len(like), *outputs, *shape)

    def totals(self, tensors: Tensors) -> Tensor:
        """The sum over each feature's positions of tensors like the site, shape ``(batch, count)``, float64."""
        batch = len(tensors[0])
        total = torch.zeros(batch, self.count + self.fixed, dtype=torch.float64, device=tensors[0].device)
        for t, i in zip(tensors, self.ids, strict=True):
            flat = batch, math.prod(t.shape[1:])
            total.scatter_add_(1, i.expand_as(t).reshape(flat), t.reshape(flat).double())
        return total[:, : self.count]


class Positions(Features):
    """Features each of which is one position of the site, in their order: all that others look up is there as it is."""

    _point: Tensors
    _sizes: list[int]

    def __init__(self, point: Tensors) -> None:
        """Those of a site."""
        sizes = [math.prod(x.shape[1:]) for x in point]
        vars(self).update(_point=point, _sizes=sizes, count=sum(sizes), fixed=False)

    @cached_property
    def ids(self) -> Tensors:  # noqa: D102  # pyright: ignore[reportIncompatibleVariableOverride] - it is read only
        numbers = torch.arange(self.count).split(self._sizes)
        return tuple(n.to(x.device).reshape(1, *x.shape[1:]) for n, x in zip(numbers, self._point, strict=True))

    def present(self, coalitions: Tensor) -> Tensors:  # noqa: D102
        rows = coalitions.shape[0]
        pairs = zip(self._parted(coalitions), self._point, strict=True)
        return tuple([part.reshape(rows, 1, *x.shape[1:]) for part, x in pairs])

    def spread(self, scores: Tensor, like: Tensors) -> Tensors:  # noqa: D102
        _check_rows(scores, like)
        pairs = zip(self._parted(scores.contiguous()), like, strict=True)
        return tuple([part.reshape(*part.shape[:-1], *x.shape[1:]) for part, x in pairs])

    def totals(self, tensors: Tensors) -> Tensor:  # noqa: D102
        shaped = (t.expand(-1, *x.shape[1:]) for t, x in zip(tensors, self._point, strict=True))
        parts = [t.reshape(t.shape[0], size).double() for t, size in zip(shaped, self._sizes, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _parted(self, entries: Tensor) -> Sequence[Tensor]:
        """Entries for features, those of each tensor's positions."""
        return (entries,) if len(self._sizes) == 1 else entries.split(self._sizes, -1)


def _check_rows(scores: Tensor, like: Tensors) -> None:
    for x in like:
        if scores.shape[0] not in (1, x.shape[0]):
            raise UsageError(
                f"layer: its value has {len(x)} rows for {scores.shape[0]} examples; ablation needs one row for each"
            )


def _fitted(mask: Any, x: Tensor, position: int) -> Tensor:
    """A mask with as many dimensions as its tensor."""
    if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.is_complex() or mask.dtype is torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise UsageTypeError(f"feature_mask[{position}] must be an integer tensor of group numbers, got {got}")
    shaped = mask.reshape((1,) * (x.dim() - mask.dim()) + tuple(mask.shape)).to(x.device, torch.int64)
    try:
        whole = torch.broadcast_shapes(shaped.shape, x.shape) == x.shape
    except RuntimeError:
        whole = False
    if not whole:
        raise UsageError(
            f"feature_mask[{position}] has shape {tuple(mask.shape)}, which does not broadcast to its tensor's {tuple(x.shape)}"
        )
    return shaped
