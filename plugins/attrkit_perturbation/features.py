"""Features: groups of positions, over all tensors at the site, that are present or absent together."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


@attrs.frozen
class Features:
    """Which feature each position belongs to: ``ids`` holds, per tensor, integers from 0 to ``count`` - 1.

    Each tensor of ids has the shape of the site's tensor, with a first dimension of 1 where all examples share it.
    """

    ids: Tensors
    count: int

    @classmethod
    def of(cls, point: Tensors, mask: Any) -> Features:
        """Features from a mask of group numbers, one integer tensor per tensor; without a mask, each position is one.

        Equal numbers are one feature, also in different tensors; numbers may have gaps.

        Raises:
            UsageError: another number of masks than tensors, or a mask that does not broadcast to its tensor.
            UsageTypeError: a mask that is no integer tensor.
        """
        if mask is None:
            return cls._each(point)
        masks = mask if isinstance(mask, tuple) else (mask,)
        if len(masks) != len(point):
            raise UsageError(
                f"feature_mask has {len(masks)} tensors, but there are {len(point)} to attribute to; give one for each"
            )
        fitted = tuple(_fitted(m, x, i) for i, (m, x) in enumerate(zip(masks, point, strict=True)))
        known, flat = torch.unique(torch.cat([m.flatten() for m in fitted]), return_inverse=True)
        pieces = flat.split([m.numel() for m in fitted])
        return cls(tuple(piece.reshape(m.shape) for piece, m in zip(pieces, fitted, strict=True)), len(known))

    @classmethod
    def _each(cls, point: Tensors) -> Features:
        ids, start = [], 0
        for x in point:
            size = math.prod(x.shape[1:])
            ids.append(torch.arange(start, start + size, device=x.device).reshape(1, *x.shape[1:]))
            start += size
        return cls(tuple(ids), start)

    def masked(self, present: Tensor, point: Tensors, baseline: Tensors) -> Tensors:
        """The point with the baseline wherever a feature is absent; ``present`` has shape ``(count,)``."""
        return tuple(torch.where(present[i], x, b) for i, x, b in zip(self.ids, point, baseline, strict=True))

    def spread(self, scores: Tensor, like: Tensors) -> Tensors:
        """Each feature's score, shape ``(batch, count)`` (or ``(1, count)`` for the whole batch), at each of its positions.

        Raises:
            UsageError: a tensor has another number of rows than there are examples.
        """
        for x in like:
            if len(scores) not in (1, len(x)):
                raise UsageError(
                    f"layer: its value has {len(x)} rows for {len(scores)} examples; ablation needs one row for each"
                )
        return tuple(self._spread(scores, i, x) for i, x in zip(self.ids, like, strict=True))

    @staticmethod
    def _spread(scores: Tensor, ids: Tensor, like: Tensor) -> Tensor:
        if len(ids) == 1:
            return scores[:, ids[0]]
        rows: Tensor = scores.expand(len(like), -1)
        return rows.gather(1, ids.reshape(len(like), -1)).reshape(like.shape)


def _fitted(mask: Any, x: Tensor, position: int) -> Tensor:
    if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.is_complex() or mask.dtype is torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise UsageTypeError(f"feature_mask[{position}] must be an integer tensor of group numbers, got {got}")
    mask = mask.reshape((1,) * (x.dim() - mask.dim()) + tuple(mask.shape))
    rows = len(x) if mask.dim() == x.dim() and len(mask) == len(x) and len(x) > 1 else 1
    try:
        fitted: Tensor = mask.to(x.device).expand(rows, *x.shape[1:])
    except RuntimeError as error:
        raise UsageError(
            f"feature_mask[{position}] has shape {tuple(mask.shape)}, which does not broadcast to its tensor's {tuple(x.shape)}"
        ) from error
    return fitted
