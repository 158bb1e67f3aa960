"""Rules that keep an operation's own backward pass, and say what share of it each operand gets.

An operation that is homogeneous of degree one shares relevance by contribution (LRP-0) by its own backward pass; a product of
two factors hands all of its relevance to each of them, and so twice as much as there is.
"""

from collections.abc import Iterable
from typing import Literal

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError
from attrkit.protocols import Step

Shares = tuple[float, ...]


@rule("gradient", operations={"any"}, carries="anything", returns="shares")
def gradient(step: Step) -> Shares:
    """Keep the operation's own backward pass: LRP-0 for linear maps, and the gradient's share for everything else."""
    return (1.0,) * len(step.inputs)


@rule("stop", operations={"any"}, carries="anything", returns="shares", references=("arXiv:2202.07304",))
def stop(step: Step) -> Shares:
    """Take the output for a constant: nothing is handed back."""
    return (0.0,) * len(step.inputs)


@rule("uniform", operations={"bilinear", "pow"}, returns="shares", conserves="yes", references=("arXiv:2402.05602",))
def uniform(step: Step) -> Shares:
    """Share the relevance of a product equally among its factors; a power has as many as its exponent says."""
    if not step.degree:
        return (0.0,) * len(step.inputs)
    return (1 / step.degree,) * len(step.inputs)


@rule("one_operand", operations={"bilinear", "div", "attention"}, carries="anything", returns="shares")
def one_operand(step: Step, *, operand: Literal[0, 1, 2] = 0) -> Shares:
    """Hand all of it to one operand, and take the others for constants.

    Args:
        operand: which one, counted from 0: of a quotient, 0 is the numerator.

    Raises:
        UsageError: the operation has no such operand.
    """
    if operand >= len(step.inputs):
        raise UsageError(f"one_operand needs an operand below {len(step.inputs)} at {step.operation}, got {operand}")
    return tuple(float(i == operand) for i in range(len(step.inputs)))


@rule("gated", operations={"mul"}, returns="shares", conserves="yes", references=("arXiv:1706.07206", "arXiv:1909.12114"))
def gated(step: Step) -> Shares:
    """Hand all of it to the signal, none to the gate that it is multiplied by; half to each where neither is more of a gate.

    A gate is what comes out of a sigmoid or softmax, or else of any activation.
    """
    if len(set(step.gates)) == 1:
        return (1 / step.degree,) * len(step.inputs)
    signals = [gate == min(step.gates) for gate in step.gates]
    return tuple(signal / sum(signals) for signal in signals)


@rule("softmax_taylor", operations={"softmax"}, returns="shares", references=("arXiv:2402.05602",))
def softmax_taylor(step: Step) -> Shares:
    """Share by a Taylor decomposition at the input: ``R_i = x_i (R_i - p_i sum(R))``, which is the gradient's share."""
    return (1.0,) * len(step.inputs)


@rule("attention", operations={"sdpa"}, returns="shares", references=("arXiv:2402.05602",))
def attention(step: Step) -> Shares:  # noqa: ARG001 - a rule takes the step
    """AttnLRP of fused attention: both of its products shared equally, softmax by Taylor decomposition."""
    return 0.25, 0.25, 0.5


@rule("attention_cp", operations={"sdpa"}, returns="shares", conserves="yes", references=("arXiv:2202.07304",))
def attention_cp(step: Step) -> Shares:  # noqa: ARG001 - a rule takes the step
    """Conservative propagation: attention weights are constants, and values get everything."""
    return 0.0, 0.0, 1.0


@rule("expand", operations={"any"}, carries="anything", returns="parts")
def expand(step: Step) -> None:
    """Govern the operations that this one is made of, instead of this one: a norm as means, squares, roots and products."""


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """The rules of this family."""
    return gradient, stop, uniform, one_operand, gated, softmax_taylor, attention, attention_cp, expand
