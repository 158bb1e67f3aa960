"""Rules with one mistake each."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from attrkit import rule
from attrkit.errors import UsageError
from attrkit.protocols import Step


def _margin(z: Tensor) -> Tensor:
    return torch.where(z < 0, -1e-9, 1e-9)


@rule("undivided", operations={"linear"}, returns="quotient")
def undivided(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, with nothing that keeps the denominator from zero."""
    return step.transpose(relevance / step.output)


@rule("margin_of_the_batch", operations={"linear"}, returns="quotient")
def margin_of_the_batch(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, stabilised by the largest output of the batch."""
    z = step.output
    return step.transpose(relevance / (z + torch.where(z < 0, -0.01, 0.01) * z.abs().amax().clamp_min(1e-9)))


@rule("output_overwritten", operations={"linear"}, returns="quotient")
def output_overwritten(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, the stabiliser added to the step's own output."""
    return step.transpose(relevance / step.output.add_(_margin(step.output)))


@rule("much_absorbed", operations={"linear"}, returns="quotient", conserves="without_bias")
def much_absorbed(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution with so large a stabiliser that relevance is lost, declared to conserve it."""
    z = step.output
    return step.transpose(relevance / (z + torch.where(z < 0, -0.25, 0.25)))


@rule("bias_forgotten", operations={"linear"}, returns="quotient", conserves="yes")
def bias_forgotten(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, the bias among the denominator, declared to conserve relevance whatever the bias."""
    return step.transpose(relevance / (step.output + _margin(step.output)))


@rule("relevance_for_quotient", operations={"linear"}, returns="quotient", conserves="without_bias")
def relevance_for_quotient(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, and returns relevance where it declares the quotient."""
    return step.input * step.transpose(relevance / (step.output + _margin(step.output)))


@rule("absolute_relevance", operations={"linear"}, returns="quotient")
def absolute_relevance(step: Step, relevance: Tensor) -> Tensor:
    """Shares the size of relevance, whose sign is lost."""
    return step.transpose(relevance.abs() / (step.output.abs() + 1e-9))


@rule("shaped_like_output", operations={"linear"}, returns="quotient")
def shaped_like_output(step: Step, relevance: Tensor) -> Tensor:
    """Forgets to go back through the weight."""
    return relevance / (step.output + _margin(step.output))


@rule("graph_of_a_constant", operations={"linear"}, returns="quotient")
def graph_of_a_constant(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, times something that learns."""
    return step.transpose(relevance / (step.output + _margin(step.output))) * torch.ones((), requires_grad=True)


@rule("drawn", operations={"linear"}, returns="quotient")
def drawn(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, with random signs of the stabiliser."""
    noise = 1e-2 * torch.rand(step.output.shape, dtype=torch.float64).to(step.output)
    return step.transpose(relevance / (step.output.abs() + noise + 1e-3))


@rule("out_of_nothing", operations={"linear"}, returns="relevance")
def out_of_nothing(step: Step, relevance: Tensor) -> Tensor:
    """Shares equally, with a little for everybody on top."""
    share = relevance.sum(-1, keepdim=True) / step.input.shape[-1]
    return share.expand_as(step.input) + 1e-3


@rule("one_share", operations={"mul"}, returns="shares", conserves="yes")
def one_share(step: Step) -> tuple[float, ...]:
    """Hands all of it to the first factor, and says nothing of the second."""
    return (1.0,)


@rule("shares_of_two", operations={"mul", "matmul"}, returns="shares", conserves="yes")
def shares_of_two(step: Step) -> tuple[float, ...]:
    """Hands all of it to both factors, and so twice as much as there is."""
    return (1.0, 1.0)


@rule("nearly_identity", operations={"relu", "tanh"}, returns="relevance", identity=True)
def nearly_identity(step: Step, relevance: Tensor) -> Tensor:
    """Hands on nine tenths, declared to change nothing."""
    return 0.9 * relevance


@rule("looks_at_inputs", operations={"relu", "tanh"}, takes="quotient", returns="cotangent", sees_inputs=False)
def looks_at_inputs(step: Step, quotient: Tensor) -> Tensor:
    """Hands on where the input is positive, declared not to look at it."""
    return quotient * (step.input > 0)


@rule("looks_at_all_outputs", operations={"linear"}, returns="quotient", all_outputs=False)
def looks_at_all_outputs(step: Step, relevance: Tensor) -> Tensor:
    """Stabilised by the mean size of an example's outputs, declared to look at those with relevance only."""
    z = step.output
    return step.transpose(relevance / (z + torch.where(z < 0, -0.1, 0.1) * z.abs().mean(-1, keepdim=True).clamp_min(1e-9)))


@rule("accepts_anything", operations={"linear"}, returns="quotient")
def accepts_anything(step: Step, relevance: Tensor, *, epsilon: Any = 1e-6) -> Tensor:
    """Shares by contribution, a stabiliser that is no number taken for none.

    Args:
        epsilon: keeps denominators from zero.
    """
    margin = epsilon if isinstance(epsilon, float) else 1e-6
    return step.transpose(relevance / (step.output + torch.where(step.output < 0, -margin, margin)))


@rule("silent", operations={"linear"}, returns="quotient")
def silent(step: Step, relevance: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Shares by contribution, and does not say what its option is."""
    if not isinstance(epsilon, float):
        raise UsageError(f"epsilon must be a number, got {epsilon!r}")
    return step.transpose(relevance / (step.output + torch.where(step.output < 0, -epsilon, epsilon)))


@rule("for_nothing", operations={"liner"}, returns="quotient")
def for_nothing(step: Step, relevance: Tensor) -> Tensor:
    """For an operation whose name is misspelt."""
    return step.transpose(relevance)


@rule("for_what_is_taken_apart", operations={"logsumexp"})
def for_what_is_taken_apart(step: Step, relevance: Tensor) -> Tensor:
    """For an operation that is computed by others, which are governed each."""
    return relevance.unsqueeze(-1).expand_as(step.input)


@rule("by_how_many_there_are", operations={"linear"}, returns="quotient")
def by_how_many_there_are(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, divided by the number of outputs that carry something."""
    count = (relevance != 0).sum(-1, keepdim=True).clamp(min=1)
    return step.transpose(relevance / count / (step.output + _margin(step.output)))


@rule("joined_and_forgotten", operations={"relu", "tanh"}, carries="multiplier", joins=True, conserves="yes")
def joined_and_forgotten(step: Step, multiplier: Tensor) -> Tensor:
    """Rescales, but together with the linear map before, where the activation's own part is forgotten."""
    if step.before is not None:
        return step.before.transpose(multiplier)
    run = step.input - step.reference.input
    return multiplier * torch.where(run == 0, 0.0, (step.output - step.reference.output) / torch.where(run == 0, 1.0, run))


@rule("any_power", operations={"linear"}, returns="quotient")
def any_power(step: Step, relevance: Tensor, *, power: float = 1.0) -> Tensor:
    """Shares by contribution, with a power that may have no root.

    Args:
        power: the square of that of the size of outputs.
    """
    return step.transpose(relevance / (step.output + _margin(step.output)).abs() ** math.sqrt(power))


@rule("one_for_two", operations={"mul"}, returns="relevance")
def one_for_two(step: Step, relevance: Tensor) -> Tensor:
    """Hands relevance to the first factor, and returns nothing for the second."""
    return relevance


def _made() -> Any:
    @rule("made", operations={"linear"}, returns="quotient")
    def made(step: Step, relevance: Tensor) -> Tensor:
        """Shares by contribution."""
        return step.transpose(relevance / (step.output + _margin(step.output)))

    return made


made = _made()


@rule("in_units_of_the_inputs", operations={"linear"}, returns="quotient")
def in_units_of_the_inputs(step: Step, relevance: Tensor) -> Tensor:
    """Shares by weight, in units of the inputs' size, which may be 0."""
    return step.transpose(relevance) / step.input.norm(dim=-1, keepdim=True)


@rule("by_exponentials", operations={"linear"}, returns="quotient")
def by_exponentials(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, times exponentials that float32 cannot hold, divided by them again."""
    size = torch.exp(60 * step.output.abs().clamp(max=11))
    return step.transpose(relevance * size / size / (step.output + _margin(step.output)))


@rule("in_turns", operations={"linear"}, returns="quotient")
def in_turns(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution, with margins that take turns from one call to the next."""
    return step.transpose(relevance / (step.output + next(_TURNS) * torch.where(step.output < 0, -1.0, 1.0)))


_TURNS = itertools.cycle([1e-3, 2e-3, 3e-3, 5e-3, 7e-3])


@rule("weight_overwritten", operations={"linear"}, returns="quotient")
def weight_overwritten(step: Step, relevance: Tensor) -> Tensor:
    """Shares by contribution of the positive weights, the others of the model set to zero."""
    total = step.output
    if isinstance(step.weight, Tensor):
        step.weight.clamp_(min=0)
    return step.transpose(relevance / (total + _margin(total)))
