"""Activation: the value of a layer itself."""

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method("activation", where={"layer"}, gradient=False, objective=False)
def activation(problem: Problem) -> Tensors:
    """What the layer passes on for the inputs."""
    return problem.point
