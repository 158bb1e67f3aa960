"""Conductance: integrated gradients along the inputs' path, collected where attributions land."""

import torch

from attrkit import Problem, Where, method
from attrkit.protocols import Tensors
from attrkit_gradients.quadrature import Rule, quadrature

_FORWARD = "forward_"


@method(
    "conductance",
    baseline="optional",
    complete="approximate",
    linear=True,
    neuron="through",
    forward_passes="n_steps + 2",
    backward_passes="n_steps",
    references=("arXiv:1805.12233", "arXiv:1807.09946"),
)
def conductance(
    problem: Problem, *, n_steps: int = 50, method: str = "gausslegendre", multiply_by_inputs: bool = True
) -> Tensors:
    """Sum, along the inputs' path, the gradient at a place times the change of its value.

    At a layer the change is taken between neighbouring points, the path's ends included, with the mean of their gradients; the
    first and the last change with that of the nearest point. The changes add up to the whole one at any number of steps.
    With ``forward_`` the value's derivative along the path is taken instead (forward-mode differentiation), which needs far
    fewer steps where the model is smooth. At the inputs the change is that of the path itself.

    Args:
        n_steps: points on the path at which gradients are taken.
        method: the quadrature rule whose nodes the points are, as of integrated_gradients; with ``forward_`` before it,
            like forward_gausslegendre, also its weights, for the derivative.
        multiply_by_inputs: multiply by the change; without, the average gradient.
    """
    rule = quadrature(method.removeprefix(_FORWARD), n_steps)
    if problem.where is not Where.LAYER or not multiply_by_inputs:
        total = problem.input_path_sum(rule)
        return tuple(t * d for t, d in zip(total, problem.delta, strict=True)) if multiply_by_inputs else total
    return _by_derivatives(problem, rule) if method.startswith(_FORWARD) else _by_differences(problem, rule)


def _by_derivatives(problem: Problem, rule: Rule) -> Tensors:
    total = problem.zeros()
    for weight, (change, gradient) in zip(rule.weights, problem.along_path(rule.nodes), strict=True):
        total = tuple(t + weight * c * g for t, c, g in zip(total, change, gradient, strict=True))
    return total


def _by_differences(problem: Problem, rule: Rule) -> Tensors:
    """Gradients are taken at the nodes alone: at the baseline they may be huge, as of a norm at zero, and mean nothing."""
    before, slope = problem.baseline, None
    total = problem.zeros()
    for at, gradient in problem.along(map(problem.input_lerp, rule.nodes), len(rule.nodes)):
        doubled = tuple(2 * g for g in gradient) if slope is None else tuple(map(torch.add, slope, gradient))
        total = tuple(torch.addcmul(t, a - b, g) for t, a, b, g in zip(total, at, before, doubled, strict=True))
        before, slope = at, gradient
    assert slope is not None  # for the type checker: a rule has a node
    last = zip(total, problem.point, before, slope, strict=True)
    return tuple((t + 2 * (x - b) * g) / 2 for t, x, b, g in last)
