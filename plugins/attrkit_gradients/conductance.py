"""Conductance: integrated gradients along the inputs' path, collected where attributions land."""

from torch import Tensor

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
    forward_passes="n_steps + layer * (1 + multiply_by_inputs)",
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

    Raises:
        UnknownName: there is no such rule.
        UsageError: ``n_steps`` is no integer, or less than the rule needs.
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
    value, slope = problem.baseline, None
    total = problem.zeros()
    for at, gradient in problem.input_path(rule.nodes):  # several places at once
        slope = slope or tuple(g[0] for g in gradient)
        parts = zip(total, value, slope, at, gradient, strict=True)
        total = tuple(t + _changes(v, s, a, g) for t, v, s, a, g in parts)
        value, slope = tuple(a[-1] for a in at), tuple(g[-1] for g in gradient)
    assert slope is not None  # for the type checker: a rule has a node
    return tuple(t + (x - v) * s for t, x, v, s in zip(total, problem.point, value, slope, strict=True))


def _changes(value: Tensor, slope: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """The sum of changes between neighbours, from ``value`` on, each times the mean gradient of the two."""
    first = (at[0] - value) * (gradient[0] + slope)
    if len(at) == 1:
        return first / 2
    slopes = gradient[1:] + gradient[:-1]
    return (first + slopes.mul_(at[1:] - at[:-1]).sum(0)) / 2
