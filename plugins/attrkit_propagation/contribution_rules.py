"""Rules that share the relevance of a sum by what each input contributes to it, perhaps with more weight on some.

Notation: ``z = W x + b``; input i contributes ``w_ji x_i`` to output j.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step
from attrkit_propagation.bias import Bias, contributions, counted, handed, handed_by_all, spread, unless_spread
from attrkit_propagation.stabilizer import RELATIVE, Stabilizer, looks_at_all, stabilized


def _kept(output: Tensor, total: Tensor, stabilizer: Stabilizer, option: str = "stabilizer") -> Tensor:
    """How much of the relevance of an output is shared."""
    denominator = stabilized(total, stabilizer, option)
    return torch.div(output, denominator, out=denominator)


@rule(
    "epsilon",
    operations={"linear_like", "homogeneous", "norm", "module"},
    takes="quotient",
    returns=unless_spread("cotangent"),
    all_outputs=looks_at_all("epsilon"),
    sees_inputs=False,
    conserves="without_bias",
    references=("doi:10.1371/journal.pone.0130140",),
)
def epsilon(
    step: Step, carried: Tensor, *, epsilon: Stabilizer = RELATIVE, bias: Bias = "absorb"
) -> Tensor | tuple[Tensor, ...]:
    """Share by contribution; what epsilon adds to a small denominator is absorbed.

    Args:
        epsilon: a number, or {epsilon: number, relative: true} in units of each example's root mean square.
        bias: absorb (it keeps its share), zero (it is left out) or distribute (its share is spread over what is read).
    """
    total = contributions(step) if bias == "zero" else step.output
    share = _kept(step.output, total, epsilon, "epsilon").mul_(carried)
    if bias != "distribute":
        return share
    if step.bias is None:
        return handed_by_all(step, share)
    return step.input * step.transpose(share) + spread(step, share, step.bias)


@rule(
    "norm",
    operations={"homogeneous"},
    takes="quotient",
    returns="cotangent",
    sees_inputs=False,
    conserves="without_bias",
    references=("doi:10.1371/journal.pone.0130140",),
)
def norm(step: Step, carried: Tensor, *, stabilizer: Stabilizer = RELATIVE) -> Tensor:
    """Share by contribution at operations without a weight: sums, averages, the largest of some.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
    """
    return _kept(step.output, step.output, stabilizer).mul_(carried)


@rule(
    "gamma",
    returns=unless_spread("quotient"),
    all_outputs=looks_at_all("stabilizer"),
    conserves="without_bias",
    references=("doi:10.1007/978-3-030-28954-6_10", "doi:10.1186/s13640-021-00558-5"),
)
def gamma(
    step: Step, relevance: Tensor, *, gamma: float = 0.25, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb"
) -> Tensor:
    """Share by contribution, those of the output's own sign counted 1 + gamma times.

    Half of gamma favours all contributions, the other half their sizes, with the output's sign: that takes two products
    with W and one or two with its absolute values, for inputs and outputs of any sign.

    Args:
        gamma: how much more they count; 0 is LRP-0, and very large is zplus for positive outputs.
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (it keeps its share), zero (it is left out) or distribute (its share is spread over what is read).
    """
    _check_gamma(gamma)
    half, x, added = gamma / 2, step.input, counted(step, bias)
    sign, positive = torch.sign(step.output), _is_positive(x)
    size = step.forward(x if positive else x.abs(), torch.abs)
    size = size if added is None else size.add_(added.abs())
    total = size.mul_(sign * half).add_(step.output if bias != "zero" else contributions(step), alpha=1 + half)
    share = relevance.div_(stabilized(total, stabilizer))
    signed = share * sign
    if positive and bool(torch.linalg.vector_norm(signed - share) == 0):  # nothing for outputs below zero, as under a ReLU
        quotient = step.transpose(share, _favouring(gamma))
    else:
        odd = step.transpose(signed, torch.abs)
        odd = odd if positive else odd.mul_(torch.sign(x))
        quotient = step.transpose(share).mul_(1 + half).add_(odd, alpha=half)
    favoured = None if added is None else added * (1 + half) + added.abs() * half * sign
    return handed(step, quotient, share, favoured, bias)


def _check_gamma(gamma: float) -> None:
    """Raise UsageError where it is NaN or infinite."""
    if not math.isfinite(gamma):
        raise UsageError(f"gamma must be a finite number, got {gamma}; for positive contributions alone, use rule zplus")


def _is_positive(x: Tensor) -> bool:
    """Whether no entry is negative."""
    return not bool(x.amin() < 0)


def _favouring(gamma: float) -> Callable[[Tensor], Tensor]:
    """Positive weights counted ``1 + gamma`` times."""
    return lambda w: w.clamp(min=0).mul_(gamma).add_(w)


def _positive(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _reweighted(
    step: Step,
    relevance: Tensor,
    change: Callable[[Tensor], Tensor],
    added: Tensor | None,
    stabilizer: Stabilizer,
    bias: Bias,
) -> Tensor:
    """Share by contribution under changed weights."""
    total = step.forward(step.input, change)
    share = relevance.div_(stabilized(total if added is None else total.add_(added), stabilizer))
    return handed(step, step.transpose(share, change), share, added, bias)


@rule(
    "gamma_positive",
    returns=unless_spread("quotient"),
    all_outputs=False,
    conserves="without_bias",
    references=("doi:10.1007/978-3-030-28954-6_10",),
)
def gamma_positive(
    step: Step,
    relevance: Tensor,
    *,
    gamma: float = 0.25,
    stabilizer: Stabilizer = RELATIVE,
    favour_bias: bool = False,
    bias: Bias = "absorb",
) -> Tensor:
    """Share by contribution, positive weights counted 1 + gamma times: for inputs and outputs that are not negative.

    Args:
        gamma: how much more they count.
        stabilizer: keeps denominators from zero, like epsilon's.
        favour_bias: count positive biases 1 + gamma times too.
        bias: absorb (it keeps its share), zero (it is left out) or distribute (its share is spread over what is read).
    """
    _check_gamma(gamma)
    added, change = counted(step, bias), _favouring(gamma)
    return _reweighted(step, relevance, change, change(added) if favour_bias and added is not None else added, stabilizer, bias)


@rule(
    "weights_plus",
    returns=unless_spread("quotient"),
    all_outputs=False,
    conserves="without_bias",
    references=("doi:10.1016/j.patcog.2016.11.008",),
)
def weights_plus(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by contribution of the positive weights alone: for inputs that are not negative. A bias is not changed.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (it keeps its share), zero (it is left out) or distribute (its share is spread over what is read).
    """
    return _reweighted(step, relevance, _positive, counted(step, bias), stabilizer, bias)


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return epsilon, norm, gamma, gamma_positive, weights_plus
