"""DeepLIFT against a whole distribution of baselines, which approximates SHAP values."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_propagation.contributions import contributing
from attrkit_propagation.deeplift import EPS, settings


@method(
    "deeplift_shap",
    baseline="required",
    distribution=True,
    forward_passes="2",  # for each row of the distribution
    backward_passes="1",
    complete="exact",
    references=("arXiv:1704.02685", "arXiv:1705.07874"),
    classes={"input": "DeepLiftShap", "layer": "LayerDeepLiftShap", "neuron": "NeuronDeepLiftShap"},
)
def deeplift_shap(
    problem: Problem,
    *,
    rules: Any = "deeplift_transformer",
    parameters: Mapping[str, Any] | None = None,
    multiply_by_inputs: bool = True,
    eps: float = EPS,
    custom_attribution_func: Callable[..., Any] | None = None,
) -> Tensors:
    """Average of deeplift over the baselines: every example is compared with every row of their distribution.

    Args:
        rules: a ruleset's name, the path of a YAML file, or the document itself as a mapping.
        parameters: values for the ruleset's parameters, by name.
        multiply_by_inputs: give contributions, and not the multipliers of the changes.
        eps: the ruleset's parameter of that name: below which change a derivative takes the place of a ratio.
        custom_attribution_func: what to make of the multipliers instead, as of deeplift; called once for each baseline.
    """
    assert problem.background is not None  # for the type checker: the declaration says that it is a distribution
    rows, count, n = problem.background, len(problem.background[0]), len(problem.arguments)
    contribute = contributing(custom_attribution_func, multiply=multiply_by_inputs)

    def references() -> Iterator[Tensors]:
        for i in range(count):
            yield tuple(b[i : i + 1].expand(n, *b.shape[1:]) for b in rows)

    total: Tensors = ()
    for values in problem.contributions(references(), contribute, rules, settings(parameters, eps), count):
        parts = tuple(v / count for v in values)
        total = tuple(t + p for t, p in zip(total, parts, strict=True)) if total else parts
    return total
