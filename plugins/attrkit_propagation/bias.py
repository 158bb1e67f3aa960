"""What becomes of a bias's share of relevance, in every rule that shares by a sum of contributions and a bias."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from torch import Tensor

from attrkit.protocols import Step, Tensors

#: It keeps its share, or is left out, or its share is spread equally over the inputs that the output reads.
Bias: TypeAlias = Literal["absorb", "zero", "distribute"]
Returned: TypeAlias = Literal["relevance", "quotient", "cotangent"]


def unless_spread(otherwise: Returned) -> Callable[[Mapping[str, Any]], Returned]:
    """What a rule returns: relevance where it gives a share of the bias to inputs that may be 0."""
    return lambda parameters: "relevance" if parameters["bias"] == "distribute" else otherwise


def counted(step: Step, bias: Bias) -> Tensor | None:
    """The bias, as far as it is a contribution beside the inputs'."""
    return None if bias == "zero" else step.bias


def contributions(step: Step) -> Tensor:
    """The sum of all contributions: the output without the bias."""
    return step.output if step.bias is None else step.output - step.bias


def spread(step: Step, share: Tensor, added: Tensor | None) -> Tensor | float:
    """To each input an equal part of what ``added`` has of the outputs that read it: the share of each unit of it."""
    return 0.0 if added is None else step.evenly(share * added / step.reads().clamp(min=1))


def handed(step: Step, quotient: Tensor, share: Tensor, added: Tensor | None, bias: Bias) -> Tensor:
    """What a rule returns that is declared by ``unless_spread``, given the quotient by the input that contributions have."""
    return step.input * quotient + spread(step, share, added) if bias == "distribute" else quotient


def handed_by_all(step: Step, share: Tensor) -> Tensors:
    """Relevance of every operand by contribution, for operations on several that have no bias."""
    return tuple(x * v for x, v in zip(step.inputs, step.vjps(share), strict=True))
