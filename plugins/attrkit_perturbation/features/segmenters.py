"""Which positions make a feature: each, patches, columns, tokens, channels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attrkit import NO_FEATURE, segmenter
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


def counted_through(ids: Sequence[Tensor]) -> Tensors:
    """Numbers of features, from 0 in each tensor, made to differ between tensors."""
    found, start = [], 0
    for each in ids:
        found.append(each + start)
        start += int(each.max()) + 1 if each.numel() else 0
    return tuple(found)


def _along(x: Tensor, dims: Sequence[int], numbers: Tensor) -> Tensor:
    """Numbers for positions along some dimensions, with 1 for each other dimension."""
    shape = [x.shape[d] if d in dims else 1 for d in range(x.dim())]
    return numbers.reshape(shape).to(x.device)


def _counted(x: Tensor, dims: Sequence[int]) -> Tensor:
    return _along(x, dims, torch.arange(math.prod(x.shape[d] for d in dims)))


@segmenter("elements")
def elements(point: Tensors) -> Tensors:
    """Each position is a feature."""
    return counted_through([_counted(x, range(1, x.dim())) for x in point])


@segmenter("channels")
def channels(point: Tensors) -> Tensors:
    """Each channel, an entry of the second dimension, is a feature.

    Raises:
        UsageError: a tensor has no second dimension.
    """
    _check_dims(point, "channels", 2)
    return counted_through([_counted(x, [1]) for x in point])


@segmenter("patches")
def patches(point: Tensors, *, size: int | tuple[int, ...] = 8) -> Tensors:
    """Patches of positions, shared by all channels; those at the far borders may be smaller.

    Positions are the dimensions from the third on; of tensors with two dimensions, the second.

    Args:
        size: how many positions a patch has along each dimension, or along all.

    Raises:
        UsageError: a size is not positive, or there is another number of sizes than dimensions.
    """
    _check_dims(point, "patches", 2)

    def one(x: Tensor) -> Tensor:
        dims = range(2, x.dim()) or range(1, 2)
        sizes = tuple(size) if isinstance(size, list | tuple) else (size,) * len(dims)
        if len(sizes) != len(dims) or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sizes):
            raise UsageError(
                f"size must be a positive integer, or {len(dims)} of them for shape {tuple(x.shape)}, got {size!r}"
            )
        numbers = torch.zeros(1, dtype=torch.int64)
        for d, s in zip(dims, sizes, strict=True):
            numbers = numbers[..., None] * math.ceil(x.shape[d] / s) + torch.arange(x.shape[d]) // s
        return _along(x, dims, numbers)

    return counted_through([one(x) for x in point])


@segmenter("columns")
def columns(point: Tensors, *, groups: Sequence[Sequence[int]] = ()) -> Tensors:
    """Each column, an entry of the second dimension, is a feature, but for groups of columns that are one together.

    Args:
        groups: lists of column numbers, like those of one variable in one-hot code; columns of several tensors count through.

    Raises:
        UsageError: a tensor has no second dimension, or a number is that of no column, or stands in two groups.
        UsageTypeError: groups are no lists of numbers.
    """
    _check_dims(point, "columns", 2)
    listing = isinstance(groups, list | tuple) and all(isinstance(g, list | tuple) for g in groups)
    if not listing or any(type(c) is not int for group in groups for c in group):
        raise UsageTypeError(f"groups must be lists of column numbers, like [[0, 1], [4, 5]], got {groups!r}")
    counts = [x.shape[1] for x in point]
    numbers = torch.arange(sum(counts))
    listed = [c for group in groups for c in group]
    if stray := [c for c in listed if not 0 <= c < sum(counts)]:
        raise UsageError(f"groups names column {stray[0]}, but there are {sum(counts)}, counted from 0")
    if twice := [c for c in listed if listed.count(c) > 1]:
        raise UsageError(f"groups names column {twice[0]} twice; a column belongs to one group")
    for group in groups:
        numbers[list(group)] = min(group, default=0)
    return tuple(_along(x, [1], n) for x, n in zip(point, numbers.split(counts), strict=True))


@segmenter("tokens")
def tokens(point: Tensors, *, special: tuple[int, ...] = ()) -> Tensors:
    """Each token, an entry of the second dimension, is a feature, in all tensors together.

    Args:
        special: numbers of tokens that are never replaced, like those of ``[CLS]`` and padding; looked for in the first tensor.

    Raises:
        UsageError: tensors differ in their number of tokens.
        UsageTypeError: special are no numbers, or the first tensor holds no token numbers.
    """
    if not isinstance(special, list | tuple) or any(type(s) is not int for s in special):
        raise UsageTypeError(f"special must be numbers of tokens, like (101, 102), got {special!r}")
    _check_dims(point, "tokens", 2)
    first = point[0]
    if any(x.shape[1] != first.shape[1] for x in point):
        raise UsageError(f"segmenter 'tokens' needs as many tokens in each tensor, got {[x.shape[1] for x in point]}")
    ids = torch.arange(first.shape[1], device=first.device)[None]
    if special:
        if first.is_floating_point() or first.dim() != 2:
            raise UsageTypeError(
                f"special names token numbers, but the first tensor has shape {tuple(first.shape)} and dtype {first.dtype}; "
                "leave special out and give a feature_mask with attrkit.NO_FEATURE where nothing is to be replaced"
            )
        ids = torch.where(torch.isin(first, torch.tensor(special, device=first.device)), NO_FEATURE, ids)
    return tuple(ids.reshape(*ids.shape, *[1] * (x.dim() - 2)).to(x.device) for x in point)


def _check_dims(point: Tensors, name: str, least: int) -> None:
    for x in point:
        if x.dim() < least:
            raise UsageError(f"segmenter {name!r} needs at least {least} dimensions, got shape {tuple(x.shape)}")
