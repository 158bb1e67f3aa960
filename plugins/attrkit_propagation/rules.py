"""Rules that share the relevance of a linear map's outputs among its inputs.

Notation: z = W x + b, with positive parts W+ and negative parts W-. Sums of contributions of one sign are computed from those
parts, never as differences: what is left of a difference by rounding would be shared as if it meant something.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step
from attrkit_propagation.stabilizer import RELATIVE, Stabilizer, stabilized

Bias = Literal["absorb", "zero"]  # the bias takes its share of relevance, or is left out


def _bias(step: Step, bias: Bias) -> Tensor | float:
    """What counts as a contribution beside the inputs'."""
    if bias not in ("absorb", "zero"):
        raise UsageError(f"bias must be 'absorb' or 'zero', got {bias!r}")
    return step.bias if step.bias is not None and bias == "absorb" else 0.0


def _contributions(step: Step) -> Tensor:
    """The sum of all contributions: the output without the bias."""
    return step.output if step.bias is None else step.output - step.bias


def _positive(t: Tensor | float) -> Tensor | float:
    return t.clamp(min=0) if isinstance(t, Tensor) else max(t, 0.0)


def _negative(t: Tensor | float) -> Tensor | float:
    return t.clamp(max=0) if isinstance(t, Tensor) else min(t, 0.0)


def _clamped(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _flipped(w: Tensor) -> Tensor:
    """The negative weights, as positive numbers."""
    return (-w).clamp(min=0)


def _sums(step: Step) -> tuple[Tensor, Tensor]:
    """For each output, the sum of the positive contributions, and that of the negative ones with its sign turned."""
    x, flipped = step.input.clamp(min=0), (-step.input).clamp(min=0)
    positive, negative = step.forward(x, _clamped), step.forward(x, _flipped)
    if bool(flipped.any()):
        positive, negative = positive + step.forward(flipped, _flipped), negative + step.forward(flipped, _clamped)
    return positive, negative


def _shared(step: Step, positive: Tensor, negative: Tensor | None = None) -> Tensor:
    """Share a cotangent by positive contributions, and take back another by negative ones."""
    below = step.input < 0
    mixed = bool(below.any())
    result = step.transpose(positive, _clamped)
    if mixed:
        result = torch.where(below, -step.transpose(positive, _flipped), result)
    if negative is not None:
        back = -step.transpose(negative, _flipped)
        if mixed:
            back = torch.where(below, step.transpose(negative, _clamped), back)
        result = result + back
    return result


@rule(
    "epsilon",
    operations={"linear_like", "homogeneous"},
    returns="cotangent",
    references=("doi:10.1371/journal.pone.0130140",),
)
def epsilon(step: Step, relevance: Tensor, *, epsilon: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by contribution; what epsilon adds to a small denominator is absorbed.

    Args:
        epsilon: a number, or {epsilon: number, relative: true} in units of each example's root mean square.
        bias: absorb (the bias takes its share) or zero (it is left out).
    """
    total = step.output if isinstance(_bias(step, bias), Tensor) else _contributions(step)
    return relevance / stabilized(total, epsilon)


@rule("zplus", returns="quotient", references=("doi:10.1016/j.patcog.2016.11.008",))
def zplus(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by positive contributions alone, as alphabeta does with alpha 1 and beta 0.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (its positive part takes a share) or zero.
    """
    x, flipped = step.input.clamp(min=0), (-step.input).clamp(min=0)
    total = step.forward(x, _clamped) + _positive(_bias(step, bias))
    if bool(flipped.any()):
        total = total + step.forward(flipped, _flipped)
    return _shared(step, relevance / stabilized(total, stabilizer))


@rule("alphabeta", returns="quotient", references=("doi:10.1371/journal.pone.0130140",))
def alphabeta(
    step: Step,
    relevance: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    stabilizer: Stabilizer = RELATIVE,
    bias: Bias = "absorb",
) -> Tensor:
    """Share alpha times the relevance by positive contributions, and take back beta times by negative ones.

    Args:
        alpha: weight of the positive contributions.
        beta: weight of the negative ones; alpha - beta must be 1.
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (its parts take a share) or zero.
    """
    if alpha < 0 or beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise UsageError(f"alphabeta needs alpha and beta of at least 0 with alpha - beta = 1, got alpha={alpha}, beta={beta}")
    added = _bias(step, bias)
    positive, negative = _sums(step)
    gained = alpha * relevance / stabilized(positive + _positive(added), stabilizer)
    taken = beta * relevance / stabilized(negative - _negative(added), stabilizer)
    return _shared(step, gained, taken)


@rule("gamma", returns="quotient", references=("doi:10.1007/978-3-030-28954-6_10", "doi:10.1186/s13640-021-00558-5"))
def gamma(
    step: Step, relevance: Tensor, *, gamma: float = 0.25, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb"
) -> Tensor:
    """Share by contribution, those of the output's own sign counted 1 + gamma times.

    Args:
        gamma: how much more they count; 0 is LRP-0, and very large is zplus for positive outputs.
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (it takes its share) or zero.
    """
    total, added = _contributions(step), _bias(step, bias)
    sign = torch.sign(step.output)
    favoured = torch.where(step.output > 0, _positive(added), _negative(added)) if isinstance(added, Tensor) else 0.0
    size = step.forward(step.input.abs(), torch.abs)
    denominator = total * (1 + gamma / 2) + gamma / 2 * sign * size + added + gamma * favoured
    share = torch.where(step.output == 0, 0, relevance / stabilized(denominator, stabilizer))
    even, odd = step.transpose(share), step.transpose(share * sign, torch.abs)
    return (1 + gamma / 2) * even + gamma / 2 * torch.where(step.input < 0, -odd, odd)


@rule("flat", references=("doi:10.1371/journal.pone.0130140", "arXiv:1902.10178"))
def flat(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE) -> Tensor:
    """Share equally among all inputs that an output reads, whatever their values.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
    """
    count = step.forward(torch.ones_like(step.input), torch.ones_like)
    return step.transpose(relevance / stabilized(count, stabilizer), torch.ones_like)


@rule("wsquare", references=("doi:10.1016/j.patcog.2016.11.008",))
def wsquare(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by squared weights, for inputs that may have any value.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (its square takes a share) or zero.
    """
    total = step.forward(torch.ones_like(step.input), torch.square) + _bias(step, bias) ** 2
    return step.transpose(relevance / stabilized(total, stabilizer), torch.square)


def _bound(value: Any, x: Tensor, name: str) -> Tensor:
    """A bound of the input: a number, one per channel, or a tensor of the input's shape."""
    if value is None:
        raise UsageError(f"zbox needs {name}, the {'smallest' if name == 'low' else 'largest'} value an input can have")
    bound = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if bound.dim() == 1 and x.dim() > 1 and len(bound) == x.shape[1]:
        bound = bound.reshape(1, -1, *[1] * (x.dim() - 2))
    try:
        return bound.expand(x.shape)
    except RuntimeError as error:
        raise UsageError(
            f"{name} has shape {tuple(bound.shape)}, which does not fit an input of shape {tuple(x.shape)}"
        ) from error


@rule("zbox", references=("doi:10.1016/j.patcog.2016.11.008",))
def zbox(
    step: Step,
    relevance: Tensor,
    *,
    low: Any = None,
    high: Any = None,
    stabilizer: Stabilizer = RELATIVE,
    bias: Bias = "absorb",
) -> Tensor:
    """Share by contribution above the lowest one that an input between two bounds can make: for pixels.

    Args:
        low: the smallest value of an input: a number, one per channel, or a tensor.
        high: the largest value of an input.
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (it takes its share) or zero.
    """
    bottom, top, added = _bound(low, step.input, "low"), _bound(high, step.input, "high"), _bias(step, bias)
    lowest = step.forward(bottom, _clamped) - step.forward(top, _flipped) + _positive(added) + _negative(added)
    share = relevance / stabilized(_contributions(step) + added - lowest, stabilizer)
    positive, negative = step.transpose(share, _clamped), -step.transpose(share, _flipped)
    return step.input * (positive + negative) - bottom * positive - top * negative


@rule(
    "pass",
    operations={"activation", "batch_norm"},
    identity=True,
    references=("doi:10.1371/journal.pone.0130140",),
)
def passing(step: Step, relevance: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand relevance through unchanged: for functions of each entry."""
    return relevance


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return epsilon, zplus, alphabeta, gamma, flat, wsquare, zbox, passing
