"""What is checked: one rule with options; and what it makes of what is carried at an operation's output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.governing import Governing
from attrkit.propagation.step import OperationStep
from attrkit.protocols import Tensors
from attrkit.specs import RuleSpec
from attrkit.testing.models import points
from attrkit.testing.rules.steps import Case, cases, reference_of, rewriter, step_of


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

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The operations that it is for, without those that it refuses by a UsageError."""
        return tuple(case for case in cases(self.spec.operations) if self._takes(case))

    def _takes(self, case: Case) -> bool:
        step = self.step(case)
        try:
            self.raw(step, carried(step))
        except UsageError:
            return False
        except Exception:  # noqa: BLE001 - which a check finds again, and can say where
            return True
        return True

    def step(
        self, case: Case, *, rows: int = 3, inputs: Tensors = (), bias: bool = True, dtype: torch.dtype = torch.float64
    ) -> OperationStep:
        """The operation as the rule sees it."""
        compute = case.compute(bias=bias, dtype=dtype)
        given = inputs or case.inputs(rows, dtype)
        step = step_of(compute, *given)
        return reference_of(compute, step, *map(_elsewhere, given)) if self.compares else step

    def raw(self, step: OperationStep, given: Tensor) -> Any:
        """What the function itself returns, given what is carried at the output; see :func:`carried`."""
        if self.returns == "shares":
            return self.spec.function(step, **self.parameters)
        relevance = self.spec.carries == "relevance" and self.spec.takes == "relevance"
        found = self.spec.function(step, given * step.output if relevance else given, **self.parameters)
        step.forget()
        return found

    def handed(self, step: OperationStep, given: Tensor) -> Tensors:
        """What each operand gets: relevance, or of rules that carry something else, that."""
        returned = self.raw(step, given)
        times = step.inputs if self.spec.carries == "relevance" else (1.0,) * len(step.inputs)
        if self.returns == "shares":
            own = step.vjps(given)
            return tuple(x * (share * g) for x, share, g in zip(times, returned, own, strict=True))
        if self.returns == "cotangent":
            returned = step.vjps(returned)
        each = returned if isinstance(returned, tuple) else (returned,)
        if self.returns == "relevance":
            return each
        return tuple(x * q for x, q in zip(times, each, strict=True))

    def engine(self, case: Case, given: Tensor, *inputs: Tensor, bias: bool = True) -> Tensors:
        """The same by a backward pass through the operation, as models are explained."""
        compute = case.compute(bias=bias)
        rules = rewriter(self.spec, dict(self.options))
        if self.compares:
            with torch.no_grad(), rules.recording(compute, lambda hook: hook) as gate:
                compute(*(gate(_elsewhere(x)) for x in inputs))
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        with torch.enable_grad(), rules.active(compute, lambda hook: hook) as gate:
            output = compute(*map(gate, leaves))
            return torch.autograd.grad(output, leaves, given, allow_unused=True, materialize_grads=True)


def _elsewhere(x: Tensor) -> Tensor:
    """The input of the reference: positive where x is, and near no x."""
    return x.flip(-1) * 0.7 + 0.1


def carried(step: OperationStep, seed: int = 5) -> Tensor:
    """Something to carry at the output: relevance divided by the output, a gradient, or a multiplier."""
    return points(*step.output.shape, seed=seed).to(step.output.dtype)


def total(handed: Tensors, batch: int) -> Tensor:
    """The sum over an example's entries, of all operands."""
    return sum((h.reshape(batch, -1).sum(1) for h in handed), torch.zeros(batch, dtype=torch.float64))


def every_case(s: RuleSubject) -> Iterator[tuple[Case, OperationStep]]:
    """Each operation that the rule is for, and its step."""
    return ((case, s.step(case)) for case in s.cases)
