"""Rules that share relevance by contributions of one sign, or by those of both signs apart.

Sums of contributions of one sign are computed from the positive and the negative weights, never as differences of other sums:
what is left of a difference by rounding would be shared as if it meant something.
"""

from collections.abc import Iterable

import attrs
import torch
from torch import Tensor

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step
from attrkit_propagation.bias import Bias, counted, spread, unless_spread
from attrkit_propagation.stabilizer import RELATIVE, Stabilizer, stabilized_sum


def _positive(t: Tensor) -> Tensor:
    return t.clamp(min=0)


def _negative(t: Tensor) -> Tensor:
    """What is negative, as positive numbers."""
    return (-t).clamp_(min=0)


@attrs.frozen
class _Contributions:
    """Those of one sign: of positive inputs by the weights of that sign, of negative inputs by the others.

    Relevance is shared by their sizes. Where no input is negative, the products with what would be its negative part are left
    out.
    """

    step: Step
    positive: bool  # which sign
    mixed: bool  # whether some inputs are negative

    def total(self, bias: Tensor | None) -> Tensor:
        """For each output the sum of their sizes, with what the bias has of that sign."""
        step, (up, down) = self.step, (_positive, _negative) if self.positive else (_negative, _positive)
        if self.mixed:
            total = step.forwards((_positive(step.input), up), (_negative(step.input), down))
        else:
            total = step.forward(step.input, up)
        return total if bias is None else total.add_(up(bias))

    def quotient(self, share: Tensor) -> Tensor:
        """What their sizes, times a share per unit, come to at each input, divided by the input."""
        step, (up, down) = self.step, (_positive, _negative) if self.positive else (_negative, _positive)
        if not self.mixed:
            return step.transpose(share, up)
        sign, (if_up, if_down) = torch.sign(step.input), step.transposes(share, up, down)
        return (sign.clamp(min=0) * if_up).addcmul_(sign.clamp(max=0), if_down)

    def relevance(self, share: Tensor, bias: Tensor | None) -> Tensor:
        """The same as relevance, with what the bias has spread over what each output reads."""
        added = None if bias is None else (_positive if self.positive else _negative)(bias)
        return self.step.input * self.quotient(share) + spread(self.step, share, added)


def _mixed(step: Step) -> bool:
    return bool(step.input.amin() < 0)


@rule(
    "zplus",
    returns=unless_spread("quotient"),
    all_outputs=False,
    conserves="without_bias",
    references=("doi:10.1016/j.patcog.2016.11.008",),
)
def zplus(step: Step, relevance: Tensor, *, stabilizer: Stabilizer = RELATIVE, bias: Bias = "absorb") -> Tensor:
    """Share by positive contributions alone, as alphabeta does with alpha 1 and beta 0.

    Args:
        stabilizer: keeps denominators from zero, like epsilon's.
        bias: absorb (its positive part keeps a share), zero (it is left out) or distribute (that share is spread).

    Raises:
        UsageError: the stabilizer is negative, not finite, or has other keys than epsilon and relative.
        UsageTypeError: it is no number and no mapping.
    """
    gains, added = _Contributions(step, positive=True, mixed=_mixed(step)), counted(step, bias)
    share = relevance.div_(stabilized_sum(gains.total(added), stabilizer))
    return gains.relevance(share, added) if bias == "distribute" else gains.quotient(share)


@rule("excitation", returns="quotient", all_outputs=False, conserves="yes", references=("arXiv:1608.00507",))
def excitation(step: Step, relevance: Tensor) -> Tensor:
    """Share by positive contributions alone, without bias or stabiliser: probabilities of who won, from above."""
    found: Tensor = zplus(step, relevance, stabilizer=0.0, bias="zero")
    return found


@rule(
    "alphabeta",
    returns=unless_spread("quotient"),
    all_outputs=False,
    conserves="without_bias",
    references=("doi:10.1371/journal.pone.0130140",),
)
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
        bias: absorb (its parts keep a share), zero (it is left out) or distribute (these shares are spread).

    Raises:
        UsageError: alpha or beta is negative, or alpha - beta is not 1; or the stabilizer is negative, not finite, or has other
            keys than epsilon and relative.
        UsageTypeError: the stabilizer is no number and no mapping.
    """
    if not (alpha >= 0 and beta >= 0 and abs(alpha - beta - 1) <= 1e-9):
        raise UsageError(f"alphabeta needs alpha and beta of at least 0 with alpha - beta = 1, got alpha={alpha}, beta={beta}")
    added, mixed = counted(step, bias), _mixed(step)
    gains, losses = (_Contributions(step, positive, mixed) for positive in (True, False))
    gained = (relevance / stabilized_sum(gains.total(added), stabilizer)).mul_(alpha)
    taken = relevance.div_(stabilized_sum(losses.total(added), stabilizer)).mul_(beta)
    if bias == "distribute":
        return gains.relevance(gained, added) - losses.relevance(taken, added)
    return gains.quotient(gained).sub_(losses.quotient(taken))


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return zplus, excitation, alphabeta
