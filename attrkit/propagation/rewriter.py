"""A ruleset at work on a model: which rule governs an operation, and what its output becomes then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.propagation.binding import Binding
from attrkit.propagation.calls import Call, Row, flat
from attrkit.propagation.choices import Choices, Own
from attrkit.propagation.connecting import Connections
from attrkit.propagation.governing import Gate, Governing
from attrkit.propagation.interception import Interception
from attrkit.propagation.made import made_by, noted
from attrkit.propagation.modulepath import ModulePath
from attrkit.propagation.opaque import OpaqueModules
from attrkit.propagation.operations import Operation, live
from attrkit.propagation.step import OperationStep
from attrkit.propagation.tape import Tape, nothing_saved
from attrkit.rulesets.vocabulary import GROUPS, MODULE

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]


@attrs.define(eq=False)
class Rewriter:
    """A bound ruleset at work on one forward pass after the other."""

    binding: Binding
    operations: Mapping[Callable[..., Any], Operation]
    choices: Choices = attrs.field(init=False)
    links: Connections = attrs.field(init=False)
    _mode: Interception | None = None
    _tape: Tape | None = None
    _opaque: OpaqueModules | None = None

    def __attrs_post_init__(self) -> None:
        """Begin with nothing seen."""
        self._restart()

    def another(self) -> Rewriter:
        """One for another replica of the model, which works at the same time."""
        return Rewriter(attrs.evolve(self.binding, hits={}), self.operations)

    def _restart(self) -> None:
        self.binding.restart()
        self.choices = Choices(self.binding)
        self.links = Connections(self.binding, self.choices, self._tape)

    @property
    def report(self) -> list[Row]:
        """What governed each operation of the last pass."""
        return self.choices.report

    @property
    def path(self) -> str:
        """The path of the running module."""
        return self.choices.path

    @property
    def closed(self) -> bool:
        """Whether a module is running that is governed as a whole."""
        return self._opaque is not None and self._opaque.closed is not None

    @contextmanager
    def active(self, root: nn.Module | None, guard: Guard) -> Iterator[Callable[[Tensor], Tensor]]:
        """Govern what this thread computes inside the block; yields the gate for attributed tensors."""
        self._restart()
        self._opaque = OpaqueModules(self) if self.binding.governs_modules else None
        try:
            with ModulePath.followed(root, guard, self._opaque) as self.choices.modules, Interception(self) as self._mode:
                yield self.gate
        finally:
            self._mode = self._opaque = None
            self.links = Connections(self.binding, self.choices)  # the other holds nodes of the graph, which lead back here

    @contextmanager
    def recording(self, root: nn.Module | None, guard: Guard, *, one_row: bool = False) -> Iterator[Callable[[Tensor], Tensor]]:
        """Note what goes into operations inside the block, for rules that compare with it the next time ``active``.

        ``one_row`` says that one row is to be compared with all rows of that next time.
        """
        self._tape = Tape(one_row)
        with ExitStack() as stack:
            stack.enter_context(nothing_saved())
            yield stack.enter_context(self.active(root, guard))
        self._tape.recording = False

    # What handlers ask for.

    def applied(self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], own: Own = "") -> Any:
        """The output of a call under the rule for it; ``own`` says for what its own backward pass will do."""
        step.live = tuple(map(live, operands))
        if operands[1:]:
            step.gates = tuple(0 if (made := made_by(x)) is None else made.gate for x in operands)
        governing = self.choices.governing(call, operands[0], own)
        if not any(step.live):
            return call.run()
        return self.applied_by(governing, call, step, operands, own)

    def applied_by(
        self, governing: Governing | None, call: Call, step: OperationStep, operands: tuple[Tensor, ...], own: Own = ""
    ) -> Any:
        """The output of a call of which the rule is known; None for its own backward pass."""
        stand_in = self.links.together(call, operands) if own == "linear" else None
        output = self._applied(call, step, operands, governing, own)
        if isinstance(output, Tensor) and (gate := _gate(call.name)):
            (made_by(output) or noted(output)._attrkit_made).gate = gate
        return output if stand_in is None else noted(output, stand_in=stand_in)

    def _applied(
        self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing | None, own: Own
    ) -> Any:
        if governing is None:
            return self.links.audit.treated(call.run, *operands)
        if governing.returns == "parts":
            return self.taken_apart(call)
        if governing.returns == "shares":
            return self.links.shared(call, step, operands, governing)
        if governing.rule.carries == "multiplier" and not self.links.compared(step, operands):
            return self.links.recorded(call)
        if governing.rule.identity and own == "homogeneous":
            return self.links.handed_through(call, operands[0])
        way = self.links.hooked if governing.returns == "cotangent" else self.links.governed
        return way(call, step, operands, governing)

    def composite(self, call: Call) -> Any:
        """A call of an operation that is made of others: as these, unless an entry is about the whole."""
        given = [*call.args, *call.kwargs.values()]
        alive = [x for value in given for x in flat(value) if live(x)]
        whole = self.binding.governing(self.choices.site(call.name, None)) if alive else None
        if whole is None or whole.returns == "parts":
            return self.taken_apart(call)
        self.choices.report.append(
            Row(self.choices.path, call.name, whole.rule.name, whole.parameters, whole.entry, whole.origin)
        )
        shares = set(whole.shares(call.step(tuple(alive)))) if whole.returns == "shares" else set()
        if shares == {1.0}:
            return self.links.audit.treated(call.run, *alive)
        if shares == {0.0}:
            with torch.no_grad():
                return self.links.stopping(call.run())
        self.choices.problem(call.name, f"rule {whole.rule.name!r} cannot govern it as a whole; use expand, gradient or stop")
        return call.run()

    def taken_apart(self, call: Call) -> Any:
        """What a call returns, computed by operations that are governed each."""
        assert call.operation.parts is not None  # for the type checker; refused before
        assert self._mode is not None
        with self._mode:
            result = call.operation.parts(*call.args, **call.kwargs)
        return self.links.written(call, result)

    def intercepted(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Another operation, governed like those of the model."""
        assert self._mode is not None  # for the type checker; only an active rewriter is asked
        return self._mode.call(function, args, kwargs)

    def gate(self, x: Tensor) -> Any:
        """What goes on from an attributed tensor: the same values, where what is carried turns into relevance."""
        y: Tensor = Gate.apply(x) if self.binding.carries == "relevance" else x.clone()  # type: ignore[no-untyped-call]
        return noted(y, gated=x)

    # Afterwards.

    def plan(self) -> None:
        """Settle the positions that depend on the whole pass, from the pass that was just made."""
        self.choices.plan()

    def audit(self, value: Tensor) -> None:
        """Report what no rule governed on the way from the inputs to ``value``.

        Raises:
            UngovernedError: the ruleset's fallback for something that was found is ``error``.
            UsageError: the pass that was recorded ran more operations.
        """
        if self._tape is not None:
            self._tape.conclude()
        self.links.rectified.settle(value)
        self.choices.conclude(self.links.audit.ungoverned(value, self.binding.carries))


@lru_cache(maxsize=1024)
def _gate(operation: str) -> int:
    """How much of a gate the output of an operation is."""
    if operation in GROUPS["normaliser"]:
        return 3
    return 2 if operation in GROUPS["gate"] else int(operation in GROUPS["activation"] or operation == MODULE)
