"""The ways to give an operation another backward pass, connected to what was before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from torch import Tensor

from attrkit.propagation.audit import Audit
from attrkit.propagation.binding import Binding
from attrkit.propagation.calls import Call, Row, flat
from attrkit.propagation.choices import Choices
from attrkit.propagation.governing import Governed, Governing, Hook, Scaled, Source
from attrkit.propagation.keeping import Keeper
from attrkit.propagation.made import Made, StandIn, made_by, moved, noted, unchanged
from attrkit.propagation.operations import live
from attrkit.propagation.rectified import Rectified
from attrkit.propagation.step import OperationStep
from attrkit.propagation.tape import Tape


@attrs.define(eq=False)
class Connections:
    """Those of one forward pass."""

    binding: Binding
    choices: Choices
    tape: Tape | None = None
    keeper: Keeper = attrs.field(factory=Keeper)
    audit: Audit = attrs.field(factory=Audit)
    rectified: Rectified = attrs.field(factory=Rectified)
    _stops: bool = False  # whether a rule has stopped something

    def shared(self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing) -> Any:
        """Its own backward pass, of which each operand gets a share."""
        shares = governing.shares(step)
        if set(shares) == {1.0}:
            output = self.audit.treated(call.run, *operands)
            return self._joinable(output, step, operands, governing) if step.map is not None else output
        if len(set(shares)) == 1 and shares[0]:
            output = self.audit.treated(call.run, *operands)
            output.register_hook(lambda carried: carried * shares[0])
            return output
        made = made_by(operands[signal := shares.index(max(shares))])
        stands = made.stand_in if made is not None and sum(map(bool, shares)) == 1 else None
        changed = [_scaled(x, share) for x, share in zip(operands, shares, strict=True)]
        output = self.written(call, self.audit.treated(lambda: call.on(*changed), *changed))
        if not live(output):
            return self.stopping(output)
        fixed = [x.detach() for x in operands]
        return output if stands is None else noted(output, stand_in=moved(stands, _with(call.on, fixed, signal)))

    def _joinable(self, output: Any, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing) -> Any:
        """A linear map that keeps its own backward pass, and that a rule of the next operation may be about too."""
        if self.binding.joins and (self.tape is None or self.compared(step, operands)):
            step.operands = tuple(self.keeper.keep(x.detach()) for x in operands)
            return noted(output, step=step, governing=governing, source=operands[0])
        return output

    def compared(self, step: OperationStep, operands: tuple[Tensor, ...]) -> bool:
        """Give a step its reference; False in the pass that only notes it."""
        if self.tape is None or self.choices.again.running:
            return True
        if self.tape.recording:
            self.tape.note(step.operation, step.path, tuple(self.keeper.keep(x.detach()) for x in operands))
            return False
        kept = self.tape.next(step.operation, step.path, operands)
        step.reference = attrs.evolve(step, operands=kept, changed={})
        return True

    def recorded(self, call: Call) -> Any:
        """The output in the pass that only notes what goes into operations."""
        return call.run()

    def handed_through(self, call: Call, x: Tensor) -> Any:
        """A function of each entry whose own backward pass hands relevance through, but for that of an output of 0."""
        stand_in, made, node = self._stand_in(x, written=call.writes), made_by(x), x.grad_fn
        spared = made.spared if call.name == "relu" and made is not None else None
        if spared is not None:
            spared.kept_output = None  # which would be copied where the ReLU writes into it
        output = call.run()
        if spared is not None:
            self.rectified.replace(spared, node, self.keeper.keep(output.detach()), output.grad_fn)
        return noted(output, stand_in=stand_in)

    def together(self, call: Call, operands: tuple[Tensor, ...]) -> StandIn | None:
        """What takes relevance that a linear operation hands through, where its output is 0 because its operands are."""
        stands = [None if (made := made_by(x)) is None else made.stand_in for x in operands]
        if not self.binding.hands_on_relevance or not any(stands) or (call.writes and stands[0] is None):
            return None
        on, kept = call.on, [None if stand else x for stand, x in zip(stands, operands, strict=True)]

        def stand_in() -> Tensor | None:
            found = [x if stand is None else stand() for stand, x in zip(stands, kept, strict=True)]
            return None if any(x is None for x in found) else on(*found)

        return stand_in

    def _stand_in(self, x: Tensor, *, written: bool) -> StandIn | None:
        """What takes relevance that a function of each entry of ``x`` hands through, where its output is 0."""
        if not self.binding.hands_on_relevance:
            return None
        made = made_by(x)
        return made.stand_in if made is not None and made.stand_in is not None else unchanged(x.clone() if written else x)

    def hooked(self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing) -> Any:
        """Its own backward pass, which starts from what a rule makes of what is carried at the output."""
        if step.map is not None or governing.rule.sees_inputs:
            copied = [x.detach().clone() if i == 0 and call.writes else x.detach() for i, x in enumerate(operands)]
            step.operands = tuple(map(self.keeper.keep, copied))
        output = self.audit.treated(call.run, *operands)
        step.kept_output = self.keeper.keep(output.detach())
        output.register_hook(Hook(step, governing))
        if step.map is None:
            return output
        return noted(output, step=step, governing=governing, source=operands[0])

    def governed(self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing) -> Any:
        """A rule for its backward pass, connected around what was before where that saves relevance."""
        step.operands = tuple(self.keeper.keep(x.detach()) for x in operands)
        made, ends = made_by(operands[0]), operands
        if governing.rule.joins and made is not None and made.step is not None and made.source is not None:
            step.before, ends = made.step, (made.source,)
        stand_in = self._stand_in(operands[0], written=call.writes) if governing.rule.identity else None
        output = self.written(call, self._connected(call, step, ends, governing))
        return noted(output, stand_in=stand_in) if governing.rule.identity else output

    def _connected(self, call: Call, step: OperationStep, operands: tuple[Tensor, ...], governing: Governing) -> Any:
        """The output of a call, whose backward pass leads to the operands, or to what is before them."""
        sources, tensors = [], []
        for i, x in enumerate(operands):
            if not live(x):
                continue
            made = made_by(x)
            gated = made.gated if made is not None and self.binding.carries == "relevance" else None
            sources.append(Source(i, gated=gated is not None))
            tensors.append(x if gated is None else gated)
            stands = made.stand_in if made is not None and gated is None else None
            if governing.returns == "relevance" and stands is not None and (other := stands()) is not None:
                beyond = made.gated if (made := made_by(other)) is not None else None
                sources.append(Source(i, gated=beyond is not None, stand_in=self.keeper.keep(other.detach())))
                tensors.append(other if beyond is None else beyond)
        compute = (lambda: call.on(*(x.detach() for x in step.inputs))) if call.writes else call.run
        output: Tensor = Governed.apply(compute, step, governing, self.keeper.keep, sources, *tensors)  # type: ignore[no-untyped-call]
        if step.map is not None:
            return noted(output, step=step, governing=governing, source=operands[0])
        return output

    def written(self, call: Call, output: Any) -> Any:
        """An output, put where an operation in place puts it."""
        if not call.writes:
            return output
        self.keeper.secure(call.args[0])
        return call.args[0].copy_(output)

    def merged(self, call: Call, made: Made, scale: Tensor, shift: Tensor) -> Any:
        """The output of an affine map per channel, governed together with the linear map before it."""
        assert made.step is not None  # for the type checker; there is a map to merge into
        assert made.governing is not None
        assert made.source is not None
        self.choices.report.append(Row(self.choices.path, call.name, f"merged into {made.step.path or 'the model'}"))
        step = made.step.merged(scale, shift)
        if made.governing.returns == "shares":
            step.reference = step.reference and step.reference.merged(scale, shift)
            return noted(self.audit.treated(call.run, made.source), step=step, governing=made.governing, source=made.source)
        return self._connected(call, step, (made.source,), made.governing)

    def multiplied(self, call: Call, factors: tuple[Any, ...], i: int) -> Any:
        """The product of the factor ``i``, which depends on the input, with constants."""
        made = made_by(factors[i])
        stands = None if made is None or call.writes else made.stand_in
        output = self.audit.treated(call.run, factors[i])
        if stands is None:
            return output
        return noted(output, stand_in=moved(stands, lambda x: call.on(*factors[:i], x, *factors[i + 1 :])))

    def picked(self, call: Call, x: Tensor, picked: Callable[[Tensor], Tensor]) -> Any:
        """The output of an operation that picks entries of ``x``."""
        made = made_by(x)
        stand_in = moved(made.stand_in, picked) if made is not None else None
        output = call.unary(x, "homogeneous")
        if stand_in is None or not isinstance(output, Tensor):
            return output
        return noted(output, stand_in=stand_in)

    def stopped(self, x: Any) -> bool:
        """Whether a constant was computed from the input by what a rule has stopped."""
        return self._stops and (made := made_by(x)) is not None and made.stopped

    def stopping(self, output: Any) -> Any:
        """An output that a rule takes for a constant."""
        self._stops = True
        for x in flat(output):
            noted(x, stopped=True)
        return output


def _scaled(x: Tensor, share: float) -> Tensor:
    """An operand that gets a share of its gradient."""
    if share == 1.0 or not live(x):
        return x
    return Scaled.apply(x, share) if share else x.detach()  # type: ignore[no-untyped-call]


def _with(on: Callable[..., Any], operands: list[Tensor], i: int) -> Callable[[Tensor], Tensor]:
    """An operation as a function of one operand."""
    return lambda x: on(*operands[:i], x, *operands[i + 1 :])
