"""Layer-wise relevance propagation: the backward pass of every operation is a rule."""

from collections.abc import Mapping
from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_propagation.parameters import named


@method(
    "lrp",
    backward_passes="1",
    complete="approximate",
    references=("doi:10.1371/journal.pone.0130140", "doi:10.1007/978-3-030-28954-6_10"),
    classes={"input": "LRP", "layer": "LayerLRP", "neuron": "NeuronLRP"},
)
def lrp(problem: Problem, *, rules: Any = "default", parameters: Mapping[str, Any] | None = None) -> Tensors:
    """Send the objective's value back through the model, shared at every operation by the rule that a ruleset declares.

    Args:
        rules: a ruleset's name, the path of a YAML file, or the document itself as a mapping.
        parameters: values for the ruleset's parameters, by name.
    """
    _, relevance = problem.propagate(rules, named(parameters))
    return relevance
