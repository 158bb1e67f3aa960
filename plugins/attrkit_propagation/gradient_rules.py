"""Rules that change gradients instead of sharing relevance."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step


@rule("guided", operations={"activation"}, carries="gradient", returns="cotangent", references=("arXiv:1412.6806",))
def guided(step: Step, gradient: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand back what is positive of the gradient, as far as the activation itself lets it through."""
    return gradient.clamp(min=0)


@rule("deconvnet", operations={"activation"}, carries="gradient", references=("arXiv:1311.2901",))
def deconvnet(step: Step, gradient: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand back what is positive of the gradient, whatever the activation itself lets through."""
    return gradient.clamp(min=0)


@rule("beta_smooth", operations={"relu"}, carries="gradient", references=("arXiv:1906.07983",))
def beta_smooth(step: Step, gradient: Tensor, *, beta: float = 10.0) -> Tensor:
    """Give a ReLU the derivative of softplus, which it is close to.

    Args:
        beta: how close; the smaller, the smoother.

    Raises:
        UsageError: beta is negative, infinite or NaN.
    """
    if not 0 <= beta < math.inf:
        raise UsageError(f"beta must be a number of at least 0, got {beta}; the larger, the closer to ReLU's own derivative")
    return gradient * torch.sigmoid(beta * step.input)


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return guided, deconvnet, beta_smooth
