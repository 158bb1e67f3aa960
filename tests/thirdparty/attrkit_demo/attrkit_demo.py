"""A complete third-party plugin: one method, one rule."""

import torch

from attrkit import Problem, method, rule
from attrkit.protocols import Step, Tensors


@method("noise", gradient=False, stochastic=True)
def noise(problem: Problem, *, scale: float = 1.0) -> Tensors:
    """Random attributions, the control that every study should have.

    Args:
        scale: the standard deviation.
    """
    generator = problem.generator(0)
    return tuple(scale * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device) for x in problem.point)


@rule("half")
def half(step: Step, relevance: torch.Tensor, *, share: float = 0.5) -> torch.Tensor:
    """Share relevance by contribution, and lose a part of it on the way.

    Args:
        share: the part that arrives.
    """
    quotient = torch.where(step.output == 0, 0, relevance / step.output)
    return share * step.input * step.vjp(quotient)
