"""Rules for the first layer: they share by what an input may be, not only by what it is, and so give relevance to zeros."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Step
from attrkit_propagation.bias import Bias, counted, spread
from attrkit_propagation.stabilizer import RELATIVE, Stabilizer, looks_at_all, stabilized, stabilized_sum


@rule("flat", all_outputs=False, conserves="yes", references=("doi:10.1371/journal.pone.0130140", "arXiv:1902.10178"))
def flat(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE) -> Tensor:
    """Share equally among all inputs that an output reads, whatever their values. A bias has no part.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
    """
    return step.evenly(relevance.div_(stabilized_sum(step.reads(), stabilizer)))


@rule("wsquare", all_outputs=False, conserves="without_bias", references=("doi:10.1016/j.patcog.2016.11.008",))
def wsquare(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by squared weights, for inputs that may have any value.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (its square keeps a share), zero (it is left out) or distribute (that share is spread).
    """
    added = counted(step, bias)
    total = step.forward(step.input.new_ones(()).expand_as(step.input), torch.square) + (0 if added is None else added**2)
    share = relevance.div_(stabilized_sum(total, stabilizer))
    found = step.transpose(share, torch.square)
    return found + spread(step, share, added**2) if bias == "distribute" and added is not None else found


_EXTREME = {"low": "smallest", "high": "largest"}


def _bound(value: Any, x: Tensor, name: str) -> Tensor:
    """A bound of the input: a number, one per channel, or a tensor of the input's shape."""
    if value is None:
        raise UsageError(f"zbox needs {name}, the {_EXTREME[name]} value an input can have")
    try:
        bound = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    except (TypeError, ValueError, RuntimeError):
        raise UsageTypeError(f"{name} must be a number, one per channel, or a tensor like the input, got {value!r}") from None
    if bool(bound.isnan().any()):
        raise UsageError(f"{name} must be a number, got NaN; give the {_EXTREME[name]} value an input can have")
    if bound.dim() == 1 and x.dim() > 1 and len(bound) == x.shape[1]:
        bound = bound.reshape(1, -1, *[1] * (x.dim() - 2))
    try:
        return bound.expand(x.shape)
    except RuntimeError as error:
        raise UsageError(
            f"{name} has shape {tuple(bound.shape)}, which does not fit an input of shape {tuple(x.shape)}; give a number, one "
            "per channel, or a tensor that broadcasts to it"
        ) from error


def _positive(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _negative(w: Tensor) -> Tensor:
    """The negative weights, as positive numbers."""
    return (-w).clamp_(min=0)


@rule("zbox", all_outputs=looks_at_all("stabilizer"), conserves="yes", references=("doi:10.1016/j.patcog.2016.11.008",))
def zbox(
    step: Step,
    relevance: Tensor,
    *,
    low: Any = None,
    high: Any = None,
    stabilizer: Stabilizer = RELATIVE,
    bias: Bias = "absorb",  # noqa: ARG001 - the same whatever becomes of it
) -> Tensor:
    """Share by contribution above the lowest one that an input between two bounds can make: for pixels.

    Args:
        low: the smallest value of an input: a number, one per channel, or a tensor.
        high: the largest value of an input.
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: whatever is said, it has no part: it is in an output and in its lowest value.
    """
    x, bottom, top = step.input, _bound(low, step.input, "low"), _bound(high, step.input, "high")
    above = (step.output - step.forward(bottom, _positive)).add_(step.forward(top, _negative))
    share = relevance.div_(stabilized(above if step.bias is None else above.sub_(step.bias), stabilizer))
    del above
    up, down = step.transposes(share, _positive, _negative)
    return ((x - bottom) * up).addcmul_(top - x, down)


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return flat, wsquare, zbox
