"""Conductance: integrated gradients along the inputs' path, collected where attributions land."""

from itertools import pairwise

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_gradients.quadrature import quadrature


@method(
    "conductance",
    baseline="optional",
    complete="approximate",
    linear=True,
    neuron="through",
    forward_passes="n_steps + 2",
    backward_passes="n_steps + 2",
    references=("arXiv:1805.12233", "arXiv:1807.09946"),
)
def conductance(
    problem: Problem, *, n_steps: int = 50, method: str = "gausslegendre", multiply_by_inputs: bool = True
) -> Tensors:
    """Sum, along the inputs' path, the gradient at a place times the change of its value.

    The change is taken between neighbouring points, the two ends included, with the mean of their gradients: the changes then
    add up to the whole one at any number of steps.

    Args:
        n_steps: points on the path between its two ends.
        method: the quadrature rule whose nodes the points are.
        multiply_by_inputs: multiply by the change; without, the average gradient.
    """
    rule = quadrature(method, n_steps)
    path = sorted({0.0, *rule.nodes, 1.0})
    total = problem.zeros()
    legs = zip(pairwise(path), pairwise(problem.along(map(problem.input_lerp, path), len(path))), strict=True)
    for (low, high), ((start, before), (end, after)) in legs:
        means = tuple((b + a) / 2 for b, a in zip(before, after, strict=True))
        if multiply_by_inputs:
            total = tuple(t + (e - s) * m for t, s, e, m in zip(total, start, end, means, strict=True))
        else:
            total = tuple(t + (high - low) * m for t, m in zip(total, means, strict=True))
    return total
