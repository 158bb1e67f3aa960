"""Input minus baseline, times the gradient at a random place between them: one sample of expected gradients."""

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method(
    "input_baseline_x_gradient",
    baseline="required",
    distribution=True,
    complete="approximate",
    stochastic=True,
    forward_passes="1 + layer * (1 + multiply_by_inputs)",
    backward_passes="1",
    references=("arXiv:1906.10670", "arXiv:1705.07874"),
)
def input_baseline_x_gradient(problem: Problem, *, multiply_by_inputs: bool = True) -> Tensors:
    """Gradient at a random place on the straight path from a random baseline, times the difference from that baseline.

    Args:
        multiply_by_inputs: multiply by the difference; without, the gradient alone.
    """
    position = problem.uniform(0)

    def between() -> Tensors:
        pairs = zip(problem.start, problem.inputs, strict=True)
        return tuple(b + position.to(x).reshape(-1, *[1] * (x.dim() - 1)) * (x - b) for b, x in pairs)

    _, gradient = next(problem.along([between()]))
    return tuple(g * d for g, d in zip(gradient, problem.delta, strict=True)) if multiply_by_inputs else gradient
