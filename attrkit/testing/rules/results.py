"""What a rule's function returns, and what it may do with what it is given."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from attrkit.propagation.step import Kept, OperationStep
from attrkit.rulesets.vocabulary import COMPOSITE, members
from attrkit.testing.models import points
from attrkit.testing.rules.registered import check
from attrkit.testing.rules.steps import cases, operation_of
from attrkit.testing.rules.subject import RuleSubject, carried, computes
from attrkit.testing.snapshots import Bits, untouched
from attrkit.testing.subject import close
from attrkit.testing.zoo import NETS


def _returns_tensors(s: RuleSubject) -> bool:
    return s.returns not in ("parts", "shares")


@check(computes)
def is_for_an_operation(s: RuleSubject) -> None:
    """There is an operation that it is defined for, and governs with these options."""
    known = list(cases(s.spec.operations))
    if known and not s.cases:
        call = s.call(known[0])
        s.raw(call.step, carried(call.step))  # raises what it refuses the operation with
    named = s.spec.operations - {"module"}
    apart = sorted(members(named) & COMPOSITE)
    assert not apart or members(named) - COMPOSITE or s.returns in ("parts", "shares"), (
        f"operations={sorted(named)}: {', '.join(apart)} are taken apart, and rules govern what they are made of; be for that"
    )
    assert known or not named, f"operations={sorted(named)} names no operation that exists; attrkit rules lists them"


@check(_returns_tensors)
def returns_what_it_declares(s: RuleSubject) -> None:
    """The function's return has the shapes that ``returns=`` says, no graph, and no less precision than the model."""
    for case in s.cases:
        for dtype, rows in ((torch.float64, 3), (torch.float64, 1), (torch.float32, 2)):
            call = s.call(case, rows=rows, dtype=dtype)
            found = s.raw(call.step, carried(call.step))
            like = (call.step.output,) if s.returns == "cotangent" else call.step.inputs
            each = found if isinstance(found, tuple) else (found,)
            assert all(isinstance(t, Tensor) for t in each), f"{case.label}: returned {found!r}, not tensors"
            shapes, wanted = [tuple(t.shape) for t in each], [tuple(t.shape) for t in like]
            assert shapes == wanted, (
                f"{case.label}: returns={s.returns!r} is of shapes {wanted}, the function returned {shapes}"
            )
            assert not any(t.requires_grad for t in each), f"{case.label}: returned a tensor with a graph"
            for t in each:
                precise = t.is_floating_point() and torch.finfo(t.dtype).bits >= torch.finfo(dtype).bits
                assert precise, f"{case.label}: returned {t.dtype} for an operation of {dtype}"


@check(lambda s: s.returns == "shares")
def returns_a_share_for_each_operand(s: RuleSubject) -> None:
    """One finite number for each operand of the operation."""
    for call in s.calls():
        found = s.raw(call.step, carried(call.step))
        count = len(call.inputs)
        assert isinstance(found, tuple | list), f"{call.case.label}: shares are a tuple of numbers, got {found!r}"
        assert len(found) == count, f"{call.case.label}: returned {len(found)} shares for {count} operands"
        assert all(math.isfinite(share) for share in found), f"{call.case.label}: shares {found} are not finite"


@check(_returns_tensors)
def writes_into_nothing_of_the_step(s: RuleSubject) -> None:
    """The step's input, output, weight and bias are as they were; a quotient or gradient that is carried too."""
    for call in s.calls():
        step, given = call.step, carried(call.step)
        watched = {f"inputs[{i}]": x for i, x in enumerate(step.inputs)} | {"output": step.output}
        watched |= {name: t for name in ("weight", "offset") if (t := getattr(step, name)) is not None}
        if s.spec.carries == "relevance" and s.spec.takes == "relevance":
            given = given * step.output  # its own to write into
        else:
            watched["what is carried"] = given
        before = {name: Bits(t) for name, t in watched.items()}
        s.spec.function(step, given, **s.parameters)
        changed = [name for name, t in watched.items() if Bits(t) != before[name]]
        assert not changed, f"{call.case.label}: wrote into {', '.join(changed)}; that belongs to the model's own pass"


@check(computes)
def leaves_the_model_alone(s: RuleSubject) -> None:
    """No parameter, hook, input or random state differs after a backward pass with it."""
    for call in s.calls():
        with untouched(call.compute, *call.inputs):
            s.engine(call, carried(call.step))


@check(computes)
def gives_the_same_twice(s: RuleSubject) -> None:
    """The same step and relevance give the same bits."""
    for call in s.calls():
        first, second = (s.handed(call, carried(call.step)) for _ in range(2))
        assert all(map(torch.equal, first, second)), f"{call.case.label}: two calls with the same step gave different results"


@check(computes)
def float32_is_near_float64(s: RuleSubject) -> None:
    """float32 hands on what float64 does, to a hundredth of the largest."""
    for case in s.cases:
        precise, rough = (s.call(case, dtype=dtype) for dtype in (torch.float64, torch.float32))
        expected, found = (s.handed(call, carried(call.step)) for call in (precise, rough))
        for e, f in zip(expected, found, strict=True):
            off = float((f.double() - e).abs().max() / e.abs().max().clamp_min(1e-9))
            assert off <= 1e-2, f"{case.label}: float32 is off by {off:.2g} of the largest"


@check(computes)
def is_finite_at_zero(s: RuleSubject) -> None:
    """Inputs and outputs of 0 give no NaN and no infinity."""
    for case in s.cases:
        if not case.smooth_at_zero:
            continue
        some = case.inputs()
        half = tuple(torch.where(points(*x.shape, seed=9) > 0, x, 0.0) for x in some)
        for inputs in (tuple(map(torch.zeros_like, some)), half):
            for bias in (True, False):
                call = s.call(case, inputs=inputs, bias=bias)
                for way in (s.handed, s.engine):
                    found = way(call, carried(call.step))
                    assert all(bool(t.isfinite().all()) for t in found), f"{case.label}: NaN or infinity where inputs are 0"


# Facts by which the engine saves work: where they are wrong, some models get wrong numbers.


@check(lambda s: computes(s) and s.spec.identity)
def identity_is_what_it_says(s: RuleSubject) -> None:
    """A rule with ``identity=True`` returns the relevance that it was given."""
    for call in s.calls():
        given = carried(call.step)
        found = s.raw(call.step, given)
        assert isinstance(found, Tensor), f"{call.case.label}: returned {type(found).__name__}"
        close((found,), (given * call.step.output if s.spec.takes == "relevance" else given,))


class _Blind(OperationStep):
    """A step that does not say what went in."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Not kept."""
        raise AssertionError("the rule declares sees_inputs=False, and looks at step.input")

    input = inputs  # type: ignore[assignment]


@check(lambda s: s.returns == "cotangent" and not s.spec.sees_inputs)
def sees_no_inputs_where_it_says_so(s: RuleSubject) -> None:
    """A rule with ``sees_inputs=False`` looks at no input of operations without a weight, for none is kept."""
    for call in s.calls():
        if call.step.map is None:
            fields = {a.name: getattr(call.step, a.name) for a in attrs.fields(OperationStep) if a.name != "_changed"}
            s.raw(_Blind(**fields), carried(call.step))


@check(lambda s: computes(s) and s.shares_relevance and not s.spec.heeds(s.parameters))
def outputs_without_relevance_do_not_matter(s: RuleSubject) -> None:
    """With ``all_outputs=False``, an output that carries nothing may have any value: a ReLU's is kept in its place."""
    for call in s.calls():
        if call.step.map is None:
            continue
        given = carried(call.step) * (call.step.output > 0)
        expected = s.raw(call.step, given)
        kept = attrs.evolve(call.step, kept_output=Kept(call.step.output.clamp(min=0)), changed={})
        found = s.raw(kept, given)
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (
            f"{call.case.label}: outputs that carry no relevance change what others hand on; declare all_outputs=True"
        )


def _promises(s: RuleSubject) -> bool:
    return s.spec.identity or not s.spec.sees_inputs or not s.spec.heeds(s.parameters)


@check(lambda s: computes(s) and s.spec.carries == "relevance" and _promises(s))
def facts_change_no_number(s: RuleSubject) -> None:
    """Networks get the same relevance without ``identity``, ``sees_inputs`` and ``all_outputs``: these only save work."""
    plain = RuleSubject(attrs.evolve(s.spec, identity=False, sees_inputs=True, all_outputs=True), s.options)
    for name in ("dense", "convolutional", "residual"):
        model, x = NETS[name].built(), NETS[name].inputs()
        given = points(len(x), 3, seed=5)
        words = {operation for case in s.cases if (operation := operation_of(case)) != "add"}
        (found,), (expected,) = (way.governed(model, (x,), given, *words) for way in (s, plain))
        try:
            close((found,), (expected,), 1e-7)
        except AssertionError as error:
            raise AssertionError(f"{name} network: a fact that the rule declares is wrong; {error}") from None
