"""Rules that change gradients instead of sharing relevance."""

from collections.abc import Iterable

from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.protocols import Step


@rule("guided", operations={"activation"}, carries="gradient", returns="cotangent", references=("arXiv:1412.6806",))
def guided(step: Step, gradient: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand back what is positive of the gradient, as far as the activation itself lets it through."""
    return gradient.clamp(min=0)


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return (guided,)
