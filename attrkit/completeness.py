"""Whether attributions add up to what they explain: the change of the objective from baseline to point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import attrs
import torch
from torch import Tensor

from attrkit.problem import Problem
from attrkit.protocols import Tensors


def ends(problem: Problem, *, compared: bool) -> tuple[Tensor, Tensor | None]:
    """The objective at the point and, where attributions are ``compared`` with one, at the baseline.

    What a pass of the method has shown already costs none here.
    """
    at = problem if problem.site_baseline is not None else attrs.evolve(problem, layers=())
    wanted = ("point", "baseline") if compared else ("point",)
    missing = [end for end in wanted if end not in problem.outputs]
    known = dict(problem.outputs)
    if missing:
        values = at.values([at.point if end == "point" else at.baseline for end in missing])
        known |= zip(missing, values, strict=True)
    return known["point"], known["baseline"] if compared else None


def drawn_ends(problem: Problem) -> tuple[Tensor, Tensor]:
    """The objective at the point, and at the baseline that was drawn for each example.

    Where a method drew by itself: the objective's mean over the whole distribution.
    """
    at = problem.at_inputs()
    if "start" in vars(problem) or problem.background is None:
        point, baseline = at.values([at.inputs, problem.start])
        return point, baseline
    n, count = len(at.arguments), len(problem.background[0])
    rows = (tuple(b[i : i + 1].expand(n, *b.shape[1:]) for b in problem.background) for i in range(count))
    point, *values = at.values(chain([at.inputs], rows))
    return point, torch.stack(values).mean(0)


def gaps(values: Tensors, counts: Sequence[int], output: Tensor, baseline_output: Tensor | None) -> Tensor | None:
    """Sum of the attributions minus the change of the objective, shape (batch,); (layers, batch) for several layers.

    ``counts`` says how many of the tensors each layer has. None where the rows of a tensor are not the examples.
    """
    change = output if baseline_output is None else output - baseline_output
    if any(len(v) not in (1, len(change)) for v in values):
        return None
    rest = iter(values)
    dims = change.dim()  # more than one where every output is explained
    each = [sum((v.flatten(dims).sum(-1) for v in islice(rest, n)), torch.zeros_like(change)) - change for n in counts]
    return each[0] if len(each) == 1 else torch.stack(each)
