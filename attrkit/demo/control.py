"""Attributions that mean nothing: what any method must beat. Also how short a method is."""

import torch

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method("random_control", gradient=False, stochastic=True, forward_passes="0")
def random_control(problem: Problem) -> Tensors:
    """Draw every attribution from a normal distribution, whatever the model does."""
    generator = problem.generator(0)
    return tuple(torch.randn(x.shape, generator=generator, device=x.device).to(x) for x in problem.point)
