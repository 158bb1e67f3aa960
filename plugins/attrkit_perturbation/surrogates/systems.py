"""Weighted linear regressions with an intercept, of many columns at once."""

from collections.abc import Callable, Iterator

import attrs
import torch
from torch import Tensor

_ENTRIES = 2**24  # of the scaled coalitions that are there at a time


@attrs.frozen(eq=False)
class System:
    """Coalitions and values less their weighted means, times the roots of the weights.

    What is solved is ``a @ x = b`` for ``x`` of shape ``(c, features, r)``: ``c`` is 1 where all columns share their weights,
    and ``r`` is 1 where each has its own.
    """

    a: Tensor  # (c, k, features)
    b: Tensor  # (c, k, r)
    weights: Tensor  # (c, k)
    middle: Tensor  # means of the coalitions, (c, 1, features)
    level: Tensor  # means of the values, (c, 1, r)


def systems(coalitions: Tensor, values: Tensor, weights: Tensor) -> Iterator[System]:
    """The regressions of values, shape ``(k, columns)``, on coalitions; weights have that shape, or ``(k, 1)``."""
    if weights.shape[1] == 1:
        yield _system(coalitions, values[None], weights.T)
        return
    step = max(1, _ENTRIES // max(1, coalitions.numel()))
    for y, w in zip(values.split(step, 1), weights.split(step, 1), strict=True):
        yield _system(coalitions, y.T[..., None], w.T)


def _system(coalitions: Tensor, values: Tensor, weights: Tensor) -> System:
    share = (weights / weights.sum(1, keepdim=True))[:, None]
    middle, level, root = share @ coalitions, share @ values, weights.sqrt()[..., None]
    return System(root * (coalitions - middle), root * (values - level), weights, middle, level)


def solved(solve: Callable[[System], Tensor], coalitions: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients, shape ``(features, columns)``, and intercepts, shape ``(columns,)``, from the solution of each system."""
    coefficients, intercepts = [values.new_zeros(coalitions.shape[1], 0)], [values.new_zeros(0)]
    for system in systems(coalitions, values, weights) if values.shape[1] else ():
        x = solve(system)
        coefficients.append(columns_of(x))
        intercepts.append((system.level - system.middle @ x).flatten())
    return torch.cat(coefficients, 1), torch.cat(intercepts)


def columns_of(x: Tensor) -> Tensor:
    """What is of shape ``(c, features, r)`` as ``(features, columns)``."""
    return x.transpose(0, 1).flatten(1)
