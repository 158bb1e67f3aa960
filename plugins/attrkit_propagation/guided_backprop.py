"""Guided backpropagation: the gradient, of which every ReLU hands back only what is positive."""

from collections.abc import Mapping
from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_propagation.parameters import named


@method("guided_backprop", backward_passes="1", references=("arXiv:1412.6806",))
def guided_backprop(
    problem: Problem, *, rules: Any = "guided_backprop", parameters: Mapping[str, Any] | None = None
) -> Tensors:
    """Gradient of the objective, of which every ReLU that lets something through hands back what is positive.

    Args:
        rules: a ruleset's name, the path of a YAML file, or the document itself as a mapping.
        parameters: values for the ruleset's parameters, by name.
    """
    _, gradient = problem.propagate(rules, named(parameters))
    return gradient
