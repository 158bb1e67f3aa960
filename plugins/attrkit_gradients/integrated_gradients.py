"""Integrated gradients: the gradient averaged on the straight path from baseline to point, times their difference."""

from typing import Literal

from attrkit import Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_gradients.adaptive import adaptive
from attrkit_gradients.quadrature import quadrature

_RULE = "gausslegendre"
_TOL = 0.01  # of n_steps="auto", unless told otherwise


@method(
    "integrated_gradients",
    baseline="optional",
    complete="approximate",
    linear=True,
    forward_passes="n_steps + 2 * layer",
    backward_passes="n_steps",
    references=("arXiv:1703.01365",),
)
def integrated_gradients(
    problem: Problem,
    *,
    n_steps: int | Literal["auto"] = 50,
    method: str = _RULE,
    tol: float = _TOL,
    multiply_by_inputs: bool = True,
) -> Tensors:
    """Average the gradient on the straight path from baseline to point, and scale by their difference.

    Args:
        n_steps: points on the path; "auto" takes 5 to 257 for each example, until attributions add up within ``tol``.
        method: quadrature rule: gausslegendre, clenshaw_curtis, riemann_left, riemann_right, riemann_middle or
            riemann_trapezoid; "auto" has its own.
        tol: of "auto": how far the sum may be from the change of the objective, relative to that change.
        multiply_by_inputs: scale by the difference; without, the average gradient.

    Raises:
        UnknownName: there is no such rule.
        UsageError: ``tol`` or ``n_steps`` is not positive, or ``method`` is given beside n_steps="auto", or ``tol`` beside a
            number.
    """
    if n_steps == "auto" and method != _RULE:
        raise UsageError(
            f"method={method!r} has no effect with n_steps='auto', which has a rule of its own; leave one of them out"
        )
    if n_steps != "auto" and tol != _TOL:
        raise UsageError(f"tol={tol!r} has no effect beside n_steps={n_steps!r}: leave it out, or give n_steps='auto'")
    total = adaptive(problem, tol) if n_steps == "auto" else problem.path_sum(quadrature(method, n_steps))
    return tuple(t * d for t, d in zip(total, problem.delta, strict=True)) if multiply_by_inputs else total
