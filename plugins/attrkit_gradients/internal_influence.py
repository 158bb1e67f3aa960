"""Internal influence: the gradient at a layer, averaged along the inputs' path."""

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_gradients.quadrature import quadrature


@method(
    "internal_influence",
    where={"layer"},
    baseline="optional",
    linear=True,
    forward_passes="n_steps + 1",
    backward_passes="n_steps",
    references=("arXiv:1802.03788",),
    classes={"layer": "InternalInfluence"},
)
def internal_influence(problem: Problem, *, n_steps: int = 50, method: str = "gausslegendre") -> Tensors:
    """Average the gradient at a layer while the inputs go from the baseline to their values.

    Args:
        n_steps: points on the path.
        method: quadrature rule: gausslegendre, clenshaw_curtis, riemann_left, riemann_right, riemann_middle or
            riemann_trapezoid.

    Raises:
        UnknownName: there is no such rule.
        UsageError: ``n_steps`` is no integer, or less than the rule needs.
    """
    return problem.input_path_sum(quadrature(method, n_steps))
