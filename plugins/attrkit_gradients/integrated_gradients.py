"""Integrated gradients: the gradient averaged on the straight path from baseline to point, times their difference."""

import torch

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_gradients.quadrature import quadrature


@method(
    "integrated_gradients",
    baseline="optional",
    complete="approximate",
    linear=True,
    forward_passes="n_steps",
    backward_passes="n_steps",
    references=("arXiv:1703.01365",),
)
def integrated_gradients(
    problem: Problem, *, n_steps: int = 50, method: str = "gausslegendre", multiply_by_inputs: bool = True
) -> Tensors:
    """Average the gradient on the straight path from baseline to point, and scale by their difference.

    Args:
        n_steps: points on the path.
        method: quadrature rule: gausslegendre, riemann_left, riemann_right, riemann_middle or riemann_trapezoid.
        multiply_by_inputs: scale by the difference; without, the average gradient.
    """
    rule = quadrature(method, n_steps)
    total = problem.zeros()
    for weight, gradient in zip(rule.weights, problem.grads(map(problem.lerp, rule.nodes), n_steps), strict=True):
        total = tuple(torch.add(t, g, alpha=weight) for t, g in zip(total, gradient, strict=True))
    return tuple(t * d for t, d in zip(total, problem.delta, strict=True)) if multiply_by_inputs else total
