"""Deconvolution: the gradient, in which every ReLU is applied to what comes back and not to what went through."""

from collections.abc import Mapping
from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_propagation.parameters import named


@method(
    "deconvnet",
    backward_passes="1",
    references=("arXiv:1311.2901",),
    classes={"input": "Deconvolution", "layer": "LayerDeconvolution", "neuron": "NeuronDeconvolution"},
)
def deconvnet(problem: Problem, *, rules: Any = "deconvnet", parameters: Mapping[str, Any] | None = None) -> Tensors:
    """Gradient of the objective, of which every ReLU hands back what is positive, whatever its own input was.

    Args:
        rules: a ruleset's name, the path of a YAML file, or the document itself as a mapping.
        parameters: values for the ruleset's parameters, by name.
    """
    _, gradient = problem.propagate(rules, named(parameters))
    return gradient
