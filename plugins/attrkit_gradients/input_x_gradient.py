"""Input times gradient: the first-order contribution of each feature."""

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method(
    "input_x_gradient",
    linear=True,
    backward_passes="1",
    references=("arXiv:1605.01713",),
    classes={"layer": "LayerGradientXActivation"},
)
def input_x_gradient(problem: Problem, *, multiply_by_inputs: bool = True) -> Tensors:
    """Gradient of the objective times the value: what each feature contributes to first order.

    Args:
        multiply_by_inputs: multiply by the value; without, the plain signed gradient.
    """
    _, gradient = problem.value_and_grad()
    return tuple(x * g for x, g in zip(problem.point, gradient, strict=True)) if multiply_by_inputs else gradient
