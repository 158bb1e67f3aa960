"""A plugin that takes a name that attrkit's own plugins have."""

import torch

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method("saliency", gradient=False)
def saliency(problem: Problem) -> Tensors:
    """Ones, which nobody would take for a gradient."""
    return tuple(map(torch.ones_like, problem.point))
