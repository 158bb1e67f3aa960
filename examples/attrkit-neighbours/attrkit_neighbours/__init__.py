"""What absent features are replaced by: their values in the rows of a data set that are most like the example."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from attrkit import Problem, replacement
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

Replacing: TypeAlias = (
    tuple[Tensor, ...] | Callable[[Tensor], tuple[Tensor, ...]]
)  # for all coalitions, or for numbers of draws


@replacement("neighbours")
def neighbours(problem: Problem, *, data: Any = None, k: int = 5, draw: bool = False) -> Replacing:
    """Values of the rows of a data set that are most like the example: their mean, or those of one for each draw.

    Rows are compared by squared differences, each position in units of its standard deviation in the data. A row that equals
    the example is no neighbour of it, so the data may hold the examples.

    Args:
        data: rows like an example: a tensor, or for several tensors a tuple of them; required.
        k: how many rows are neighbours.
        draw: take one of them at random for each coalition, instead of their mean; methods that do not sample take one draw.

    Raises:
        UsageError: there is no data, or its rows do not look like an example; fewer than ``k`` rows differ from an example;
            the inputs are integers, and ``draw`` is false.
    """
    rows = _like(problem.point, data)
    nearest = _nearest(_flat(problem.point), _flat(rows), k)
    if not draw:
        if not all(r.is_floating_point() for r in rows):
            raise UsageError("integers have no mean that is one: set draw=True, which takes one row at a time")
        return tuple(r[nearest].mean(1, dtype=torch.float64).to(r.dtype) for r in rows)

    def drawn(numbers: Tensor) -> Tensors:
        which = torch.stack([problem.uniform(int(n)) for n in numbers]).mul(k).long().clamp(max=k - 1).to(nearest.device)
        chosen = nearest.T.gather(0, which)  # shape (draws, batch)
        return tuple(r[chosen] for r in rows)

    return drawn


def _like(point: Tensors, data: Any) -> Tensors:
    try:
        rows = tuple(torch.as_tensor(d).to(x) for d, x in zip(data if isinstance(data, tuple) else (data,), point, strict=True))
        shapes = [(len(rows[0]), *x.shape[1:]) for x in point]
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"data must be rows like an example, a tensor for each of {len(point)}, got {data!r}") from error
    if [tuple(r.shape) for r in rows] != shapes or not len(rows[0]):
        raise UsageError(f"data must have rows like an example, shapes {shapes}, got {[tuple(r.shape) for r in rows]}")
    return rows


def _flat(tensors: Tensors) -> Tensor:
    return torch.cat([t.reshape(len(t), t[:1].numel()).double() for t in tensors], 1)


def _nearest(points: Tensor, rows: Tensor, k: int) -> Tensor:
    scale = rows.std(0, correction=0)
    units = torch.where(scale > 0, scale, 1)
    distances = torch.cdist(points / units, rows / units, compute_mode="donot_use_mm_for_euclid_dist")  # exactly 0 if equal
    ordered = distances.masked_fill(distances == 0, torch.inf).sort(stable=True, dim=1)
    differ = int(ordered.values.isfinite().sum(1).min()) if len(points) else len(rows)
    if not 1 <= k <= differ:
        raise UsageError(f"k must be from 1 to {differ}, the rows of data that differ from every example, got {k!r}")
    return ordered.indices[:, :k]
