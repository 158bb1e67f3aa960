"""Averaging the gradient over a path with as many points as each example needs."""

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor

from attrkit import Problem
from attrkit.errors import UsageError, warn
from attrkit.protocols import Tensors
from attrkit_gradients.quadrature import clenshaw_curtis

_LEVELS = 8  # of 3, 5, 9, ... 257 points, each with the points of the one before
_IN_A_ROW = 2  # levels whose sum must fit: a single one may do so by luck


@attrs.define
class Levels:
    """The sums of all levels at once, so that no gradient has to be kept for the levels to come."""

    sums: list[Tensors]
    ends: dict[float, Tensor] = attrs.field(factory=dict)  # the objective at both ends of the path
    largest: float = 0.0  # the objective in size, anywhere

    def add(self, level: int, node: float, value: Tensor, gradient: Tensors, rows: Tensor) -> None:
        """Take in the gradient at a node that first occurs at ``level``, for some of the rows."""
        if node in (0.0, 1.0):
            self.ends[node] = value
        self.largest = max(self.largest, *value.abs().nan_to_num().tolist(), 0.0)
        for later in range(level, _LEVELS):
            weight = _weights(later)[node]
            for total, g in zip(self.sums[later], gradient, strict=True):
                total.index_add_(0, rows.to(g.device), g.to(total.dtype), alpha=weight)


def _weights(level: int) -> dict[float, float]:
    rule = clenshaw_curtis(2 ** (level + 1) + 1)
    return {round(node, 15): weight for node, weight in zip(rule.nodes, rule.weights, strict=True)}


def adaptive(problem: Problem, tol: float) -> Tensors:
    """The average gradient from baseline to point, each example with 5 to 257 points.

    An example is done when its attributions add up to the change of its objective within ``tol`` of that change at two levels
    of nested Clenshaw-Curtis quadrature in a row.

    Raises:
        UsageError: tol is not positive, or the site has other rows than the batch.
    """
    if not tol > 0:
        raise UsageError(f"tol must be a positive number, got {tol}")
    n = len(problem.inputs[0])
    if any(len(t) != n for t in problem.point):
        raise UsageError(
            "n_steps='auto' stops example by example, but the layer's value has other rows; give a number of steps"
        )
    levels = Levels([problem.zeros() for _ in range(_LEVELS)])
    result, fitting = problem.zeros(), torch.zeros(n, dtype=torch.long)
    every = active = torch.arange(n)
    separate: bool | None = None  # whether examples can leave the batch; asked when the first one does
    for level in range(_LEVELS):
        if not len(active):
            break
        if separate is None and len(active) < n:
            separate = _alike(problem, levels, active)
        rows = every if separate is False else active
        for node, value, gradient in _evaluated(problem, level, rows):
            levels.add(level, node, value, gradient, rows)
        gap, allowed = _gap(problem, levels, level, tol)
        fitting = torch.where(gap <= allowed, fitting + 1, 0)
        last = level == _LEVELS - 1
        done = active[(fitting[active] >= _IN_A_ROW) | last]
        for total, found in zip(result, levels.sums[level], strict=True):
            total[done] = found[done]
        if last and bool((late := fitting[active] < _IN_A_ROW).any()):
            _warn(int(late.sum()), n, tol, float((gap / allowed)[active][late].max()) * tol)
        active = active[~torch.isin(active, done)]
    return result


def _alike(problem: Problem, levels: Levels, rows: Tensor) -> bool:
    """Whether the model says the same of some examples without the others."""
    part, known = problem.taken(rows), levels.ends[1.0]
    value = next(part.values([part.point]))
    near = 4 * torch.finfo(value.dtype).eps ** 0.5
    return len(known) == len(problem.inputs[0]) and torch.allclose(value, known[rows], rtol=near, atol=near * levels.largest)


def _evaluated(problem: Problem, level: int, rows: Tensor) -> Iterator[tuple[float, Tensor, Tensors]]:
    """The objective and its gradient at the nodes that this level adds."""
    before = set() if level == 0 else set(_weights(level - 1))
    nodes = [node for node in _weights(level) if node not in before]
    part = problem if len(rows) == len(problem.inputs[0]) else problem.taken(rows)
    found = part.values_and_grads(map(part.lerp, nodes), len(nodes))
    return ((node, value, gradient) for node, (value, gradient) in zip(nodes, found, strict=True))


def _gap(problem: Problem, levels: Levels, level: int, tol: float) -> tuple[Tensor, Tensor]:
    """How far the sums of attributions are from the changes of the objective, and how far they may be; on the CPU."""
    start, end = levels.ends[0.0].double().cpu(), levels.ends[1.0].double().cpu()
    parts = zip(levels.sums[level], problem.delta, strict=True)
    total = torch.stack([(t * d).flatten(1).sum(1).double().cpu() for t, d in parts]).sum(0)
    rounding = 64 * torch.finfo(levels.ends[0.0].dtype).eps * levels.largest
    if len(start) != len(total):  # one output for the batch
        total = total.sum().expand(len(total))
    return (total - (end - start)).abs(), (tol * (end - start).abs()).clamp(min=rounding)


def _warn(late: int, n: int, tol: float, worst: float) -> None:
    warn(
        f"n_steps='auto': {late} of {n} examples did not reach tol={tol:g} with {2**_LEVELS + 1} points; the largest gap is "
        f"{worst:.2g} of the change of the objective"
    )
