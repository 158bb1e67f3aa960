"""Gradient SHAP: gradients at random places between random baselines and noisy inputs, averaged."""

from functools import partial

from attrkit import Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_gradients.input_baseline_x_gradient import input_baseline_x_gradient
from attrkit_gradients.noise import Deviations, deviations, noisy


@method(
    "gradient_shap",
    baseline="required",
    distribution=True,
    complete="approximate",
    stochastic=True,
    forward_passes="n_samples * (1 + 2 * layer * multiply_by_inputs) + layer",
    backward_passes="n_samples",
    references=("arXiv:1705.07874", "arXiv:1906.10670"),
)
def gradient_shap(
    problem: Problem, *, n_samples: int = 5, stdevs: Deviations = 0.0, multiply_by_inputs: bool = True
) -> Tensors:
    """Average of input_baseline_x_gradient over noisy copies of the inputs, each with a baseline of its own.

    An estimate of SHAP values that assumes independent features; ``expected_gradients`` has a lower error at the same cost.

    Args:
        n_samples: random places for each example.
        stdevs: standard deviation of the noise that is added to the inputs; a number, or one for each input.
        multiply_by_inputs: multiply by the difference from the baseline; without, the average gradient.

    Raises:
        UsageError: ``n_samples`` is less than 1, or ``stdevs`` are negative or not as many as inputs.
        UsageTypeError: ``stdevs`` are no numbers, or noise is to be added to an input of integers.
    """
    if n_samples < 1:
        raise UsageError(f"n_samples must be at least 1, got {n_samples}")
    inner = partial(input_baseline_x_gradient, multiply_by_inputs=multiply_by_inputs)
    spread = deviations(stdevs, len(problem.inputs))
    copies = (noisy(problem, spread, sample) for sample in range(n_samples))
    total = problem.zeros()
    for attribution in problem.attributions(inner, copies, n_samples):
        total = tuple(t + a / n_samples for t, a in zip(total, attribution, strict=True))
    return total
