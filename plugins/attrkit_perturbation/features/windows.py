"""Sliding windows: features that share positions, one set of them for each tensor."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


@attrs.frozen
class Span:
    """Windows along one dimension: of ``width``, a ``stride`` apart, the last cut off where the dimension ends."""

    size: int
    width: int
    stride: int

    @property
    def count(self) -> int:
        """How many windows there are."""
        return -(-(self.size - self.width) // self.stride) + 1

    @property
    def depth(self) -> int:
        """How many windows a position may be in."""
        return min(self.count, -(-self.width // self.stride))

    def missed(self, windows: Tensor) -> Tensor:
        """Which positions one window does not cover, shape ``(windows, size)``; none is covered by a window numbered -1."""
        starts = torch.where(windows < 0, self.size, windows * self.stride)[:, None]
        positions = torch.arange(self.size, device=windows.device)
        return (positions < starts) | (positions >= starts + self.width)

    def covering(self, values: Tensor, dim: int) -> Tensor:
        """The sum over the windows that cover each position, in place of one value for each window along ``dim``."""
        positions = torch.arange(self.size, device=values.device)
        first = ((positions - self.width).div(self.stride, rounding_mode="floor") + 1).clamp_min(0)
        last = positions.div(self.stride, rounding_mode="floor").clamp_max(self.count - 1)
        total = values.new_zeros(*values.shape[:dim], self.size, *values.shape[dim + 1 :])
        for step in range(self.depth):  # so that what is not finite stays where it is
            covers = (first + step <= last).reshape(-1, *[1] * (values.dim() - dim - 1))
            found = values.index_select(dim, (first + step).clamp_max(self.count - 1))
            total += torch.where(covers, found, 0)
        return total


@attrs.frozen
class Windows:
    """All places of a window in each tensor, as features. A position keeps its value where no absent window covers it.

    ``spans`` holds, for each tensor, one for each of its dimensions after the batch. Windows are numbered tensor by tensor, the
    last dimension first.
    """

    spans: tuple[tuple[Span, ...], ...]

    @classmethod
    def of(cls, point: Tensors, shapes: Any, strides: Any = None) -> Windows:
        """Windows of these shapes, without the batch, and strides: for one tensor, or a tuple with an entry for each.

        Strides are 1 where there are none, and equal in all dimensions where they are one number.

        Raises:
            UsageError: other numbers of entries than tensors or dimensions, a window larger than its tensor, or a stride larger
                than its window, where that leaves positions out.
            UsageTypeError: no integers of at least 1.
        """
        several = len(point) > 1
        each = _each(shapes, len(point), "sliding_window_shapes", nested=several or _nested(shapes))
        steps = _each(strides, len(point), "strides", nested=several or _nested(strides))
        return cls(tuple(_spans(x, s, t, i) for i, (x, s, t) in enumerate(zip(point, each, steps, strict=True))))

    @property
    def count(self) -> int:
        """How many windows there are, in all tensors."""
        return sum(map(_count, self.spans))

    def present(self, coalitions: Tensor) -> Tensors:
        """Which positions no absent window covers, boolean, one tensor per tensor at the site, shape ``(k, 1, ...)``."""
        rows, absent = torch.nonzero(~coalitions, as_tuple=True)
        if bool((rows.diff() == 0).any()):
            parts = coalitions.split(list(map(_count, self.spans)), 1)
            return tuple(_uncovered(part, spans) for part, spans in zip(parts, self.spans, strict=True))
        one = torch.full((len(coalitions),), -1, device=coalitions.device).index_copy(0, rows, absent)
        found, start = [], 0
        for spans in self.spans:
            end = start + _count(spans)
            found.append(_outside(torch.where((one >= start) & (one < end), one - start, -1), spans))
            start = end
        return tuple(found)

    def spread(self, scores: Tensor, like: Tensors) -> Tensors:
        """The mean score of the windows that cover each position, of ``scores`` with shape ``(batch, *outputs, count)``."""
        for x in like:
            if len(scores) not in (1, len(x)):
                raise UsageError(
                    f"layer: its value has {len(x)} rows for {len(scores)} examples; occlusion needs one row for each"
                )
        scores = scores if scores.is_floating_point() or scores.is_complex() else scores.to(torch.get_default_dtype())
        parts = scores.split(list(map(_count, self.spans)), -1)
        return tuple(_mean(part, spans, x) for part, spans, x in zip(parts, self.spans, like, strict=True))


def _count(spans: tuple[Span, ...]) -> int:
    return math.prod(span.count for span in spans) if all(span.size for span in spans) else 0


def _outside(windows: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """The positions outside of one window for each row, -1 being none."""
    if not all(span.size for span in spans):
        return torch.ones(len(windows), *[1] * (len(spans) + 1), dtype=torch.bool, device=windows.device)
    if not spans:
        return (windows < 0).reshape(-1, 1)
    kept, rest = [], windows
    for dim in reversed(range(len(spans))):
        span = spans[dim]
        number = torch.where(windows < 0, -1, rest % span.count)
        rest = rest.div(span.count, rounding_mode="floor")
        if span.width < span.size or dim == 0:  # what covers a whole dimension is the same all along it
            kept.append(span.missed(number).unflatten(1, [-1 if d == dim else 1 for d in range(len(spans))]))
    outside: Tensor = reduce(torch.logical_or, reversed(kept))
    return outside.unsqueeze(1)


def _uncovered(coalitions: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """The positions outside of all windows that are absent."""
    if not all(span.size for span in spans):
        return coalitions.new_ones(len(coalitions), 1, *(span.size for span in spans))
    absent = (~coalitions).reshape(len(coalitions), *(span.count for span in spans)).int()
    for dim, span in enumerate(spans):
        absent = span.covering(absent, dim + 1).clamp_max(1)
    return (absent == 0).unsqueeze(1)


def _mean(scores: Tensor, spans: tuple[Span, ...], like: Tensor) -> Tensor:
    rows, shape = scores.shape[:-1], like.shape[1:]
    if not all(shape):
        return scores.new_zeros(*rows, *shape)
    total = scores.reshape(-1, *(span.count for span in spans))
    total = total.to(torch.promote_types(total.dtype, torch.float32))
    for dim, span in enumerate(spans):
        number = span.covering(torch.ones(span.count, device=total.device, dtype=torch.int64), 0)
        total = span.covering(total, dim + 1) / number.reshape(-1, *[1] * (len(spans) - dim - 1))
    return total.reshape(*rows, *shape).to(scores.dtype)


def _nested(given: Any) -> bool:
    return isinstance(given, tuple | list) and any(isinstance(part, tuple | list) for part in given)


def _each(given: Any, count: int, name: str, *, nested: bool) -> tuple[Any, ...]:
    """One entry for each tensor."""
    if given is None or isinstance(given, int):
        return (given,) * count
    if not isinstance(given, tuple | list):
        raise UsageTypeError(f"{name} must be a tuple of integers, or a tuple with one of these for each tensor, got {given!r}")
    if not nested:
        return (given,)
    if len(given) != count:
        raise UsageError(f"{name} has {len(given)} entries, but there are {count} tensors to attribute to; give one for each")
    return tuple(given)


def _spans(x: Tensor, shape: Any, strides: Any, position: int) -> tuple[Span, ...]:
    sizes = tuple(x.shape[1:])
    if not isinstance(shape, tuple | list):
        raise UsageTypeError(
            f"sliding_window_shapes must say how large the windows in tensor {position} are, one integer for each of its "
            f"dimensions {sizes} after the batch, got {shape!r}"
        )
    widths = _integers(shape, sizes, "sliding_window_shapes", position)
    given = [1 if strides is None else strides] * len(sizes) if strides is None or isinstance(strides, int) else strides
    steps = _integers(given, sizes, "strides", position)
    for size, width, step in zip(sizes, widths, steps, strict=True):
        if width > size > 0:
            raise UsageError(
                f"sliding_window_shapes: a window of {width} is larger than its dimension of tensor {position}, whose shape "
                f"after the batch is {sizes}; give at most that"
            )
        if width < min(step, size):
            raise UsageError(
                f"strides: windows of {width} which are {step} apart leave out positions of tensor {position}; give at most "
                f"{width}"
            )
    return tuple(Span(size, width, step) for size, width, step in zip(sizes, widths, steps, strict=True))


def _integers(given: Any, sizes: tuple[int, ...], name: str, position: int) -> tuple[int, ...]:
    if not isinstance(given, tuple | list) or len(given) != len(sizes):
        raise UsageError(
            f"{name}: for tensor {position}, whose shape after the batch is {sizes}, give {len(sizes)} integers, got {given!r}"
        )
    if any(type(n) is not int or n < 1 for n in given):
        raise UsageTypeError(f"{name} must be integers of at least 1, got {given!r}")
    return tuple(given)
