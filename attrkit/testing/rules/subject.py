"""What is checked: one rule with options; and what it makes of what is carried at an operation's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UsageError
from attrkit.propagation.step import OperationStep
from attrkit.protocols import Tensors
from attrkit.specs import RuleSpec
from attrkit.testing.models import points
from attrkit.testing.rules.steps import Called, Case, cases, elsewhere, rewriter


@attrs.frozen(eq=False, slots=False)
class RuleSubject:
    """One rule, with the options under test."""

    spec: RuleSpec
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """A value for each of its options."""
        return self.spec.resolve(self.options)

    @cached_property
    def returns(self) -> str:
        """What the function returns."""
        return self.spec.returning(self.parameters)

    @property
    def compares(self) -> bool:
        """Whether it hands on multipliers, and so has a reference."""
        return self.spec.carries == "multiplier"

    @property
    def shares_relevance(self) -> bool:
        """Whether relevance is handed on, which is a multiple of the operand, and not a gradient or a multiplier."""
        return self.spec.carries in ("relevance", "anything")

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The operations that it is for, without those that it refuses by a UsageError, or that are refused for it.

        A rule for a group of operations may be for those on one tensor; it is refused where several depend on the input.
        """
        return tuple(case for case in cases(self.spec.operations) if self._takes(case))

    def _takes(self, case: Case) -> bool:
        call = self.call(case)
        try:
            found = self.raw(call.step, carried(call.step))
        except UsageError:
            return False
        except Exception:  # noqa: BLE001 - which a check finds again, and can say where
            return True
        one_for_several = isinstance(found, Tensor) and self.returns != "cotangent" and len(call.inputs) > 1
        return not one_for_several or call.step.operation in self.spec.operations

    def call(
        self, case: Case, *, rows: int = 3, inputs: Tensors = (), bias: bool = True, dtype: torch.dtype = torch.float64
    ) -> Called:
        """A call of the operation, as the rule sees it."""
        return Called.of(case, case.compute(bias=bias, dtype=dtype), inputs or case.inputs(rows, dtype), compares=self.compares)

    def calls(self, *, bias: bool = True) -> Iterator[Called]:
        """A call of each operation that the rule is for."""
        return (self.call(case, bias=bias) for case in self.cases)

    def raw(self, step: OperationStep, given: Tensor) -> Any:
        """What the function itself returns, given what is carried at the output; see :func:`carried`."""
        with _named(step.operation):
            if self.returns == "shares":
                return self.spec.function(step, **self.parameters)
            relevance = self.spec.carries == "relevance" and self.spec.takes == "relevance"
            found = self.spec.function(step, given * step.output if relevance else given.clone(), **self.parameters)
        step.forget()
        return found

    def handed(self, call: Called, given: Tensor) -> Tensors:
        """What each operand gets: relevance, or of rules that carry something else, that."""
        returned = self.raw(call.step, given)
        times = call.inputs if self.shares_relevance else (1.0,) * len(call.inputs)
        if self.returns == "shares":
            return tuple(x * (share * g) for x, share, g in zip(times, returned, call.own(given), strict=True))
        if self.returns == "cotangent":
            returned = call.own(returned)
        each = returned if isinstance(returned, tuple) else (returned,)
        assert len(each) == len(call.inputs), f"{call.case.label}: returned {len(each)} tensors for {len(call.inputs)} operands"
        if self.returns == "relevance":
            return each
        return tuple(x * q for x, q in zip(times, each, strict=True))

    def engine(self, call: Called, given: Tensor) -> Tensors:
        """The same by a backward pass through the operation, as models are explained."""
        with _named(call.case.label):
            return self.governed(call.compute, call.inputs, given)

    def governed(self, compute: nn.Module, inputs: Tensors, given: Tensor, *words: str) -> Tensors:
        """What comes back through a model of which the rule governs operations: every one, or those of some names."""
        rules = rewriter(self.spec, self.options, *words)
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        with torch.enable_grad():
            if self.compares:
                with rules.recording(compute, lambda hook: hook) as gate:
                    compute(*(gate(elsewhere(x).requires_grad_()) for x in inputs))
            with rules.active(compute, lambda hook: hook) as gate:
                output = compute(*map(gate, leaves))
                if not output.requires_grad:  # taken for a constant
                    return tuple(map(torch.zeros_like, leaves))
                rules.audit(output)
                return torch.autograd.grad(output, leaves, given, allow_unused=True, materialize_grads=True)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """A block whose errors say at what they happened, but those that a rule raises on purpose."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{where}: ended in {type(error).__name__}: {error}") from error


def computes(s: RuleSubject) -> bool:
    """Whether the function is ever called."""
    return s.returns != "parts"


def carried(step: OperationStep, seed: int = 5) -> Tensor:
    """Something to carry at the output: relevance divided by the output, a gradient, or a multiplier."""
    return points(*step.output.shape, seed=seed).to(step.output.dtype)


def total(handed: Tensors) -> Tensor:
    """The sum over each example's entries, of all operands."""
    return torch.stack([h.flatten(1).sum(1) for h in handed]).sum(0)
