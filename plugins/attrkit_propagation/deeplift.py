"""DeepLIFT: how much of the change of the objective comes from each change of the inputs, operation by operation."""

from collections.abc import Callable, Mapping
from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_propagation.contributions import contributing
from attrkit_propagation.parameters import named

EPS = 1e-10


@method(
    "deeplift",
    baseline="optional",
    forward_passes="2",
    backward_passes="1",
    complete="exact",
    references=("arXiv:1704.02685",),
    classes={"input": "DeepLift", "layer": "LayerDeepLift", "neuron": "NeuronDeepLift"},
)
def deeplift(
    problem: Problem,
    *,
    rules: Any = "deeplift_transformer",
    parameters: Mapping[str, Any] | None = None,
    multiply_by_inputs: bool = True,
    eps: float = EPS,
    custom_attribution_func: Callable[..., Any] | None = None,
) -> Tensors:
    """Compare with a baseline at every operation, and hand on what each input's change contributes to the objective's.

    Args:
        rules: a ruleset's name, the path of a YAML file, or the document itself as a mapping.
        parameters: values for the ruleset's parameters, by name.
        multiply_by_inputs: give contributions, and not the multipliers of the changes.
        eps: the ruleset's parameter of that name: below which change a derivative takes the place of a ratio.
        custom_attribution_func: what to make of the multipliers instead, of these and of the inputs and of the baselines
            (the layer's values), which it may take too; tuples in, a tuple out.
    """
    contribute = contributing(custom_attribution_func, multiply=multiply_by_inputs)
    _, multipliers = problem.propagate(rules, settings(parameters, eps))
    return contribute(multipliers, problem.point, problem.baseline)


def settings(parameters: Mapping[str, Any] | None, eps: float) -> Mapping[str, Any]:
    """Values for a ruleset's parameters, ``eps`` among them where it is not what rulesets have anyway."""
    return {**({} if eps == EPS else {"eps": eps}), **named(parameters)}
