"""What a rule's function returns, and what it may do with what it is given."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.propagation.step import Kept, OperationStep
from attrkit.testing.models import points
from attrkit.testing.rules.registered import check
from attrkit.testing.rules.subject import RuleSubject, carried
from attrkit.testing.snapshots import Bits, untouched
from attrkit.testing.subject import close


def computes(s: RuleSubject) -> bool:
    """Whether the function is ever called."""
    return s.returns != "parts"


def _returns_tensors(s: RuleSubject) -> bool:
    return s.returns not in ("parts", "shares")


@check(computes)
def is_for_an_operation(s: RuleSubject) -> None:
    """There is an operation that it is defined for, and governs with these options."""
    from attrkit.testing.rules.steps import cases

    known = list(cases(s.spec.operations))
    if known and not s.cases:
        call = s.call(known[0])
        s.raw(call.step, carried(call.step))  # raises what it refuses the operation with
    named = s.spec.operations - {"module"}
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
            assert shapes == wanted, f"{case.label}: returns={s.returns!r} is of shapes {wanted}, the function returned {shapes}"
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
        if s.spec.carries != "relevance" or s.spec.takes == "quotient":
            watched["what is carried"] = given
            s_given = given
        else:
            s_given = given * step.output  # its own to write into
        before = {name: Bits(t) for name, t in watched.items()}
        s.spec.function(step, s_given, **s.parameters)
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


@check(computes)
def refuses_options_that_are_nonsense(s: RuleSubject) -> None:
    """An option of no type that makes sense is refused by a UsageError that names the option."""
    call = next(s.calls())
    for option in s.spec.options:
        given = {**s.options, option.name: object()}
        try:
            RuleSubject(s.spec, given).raw(call.step, carried(call.step))
        except UsageError as error:
            assert option.name in str(error), f"the message about {option.name} does not name it: {error}"
        except Exception as error:
            raise AssertionError(
                f"{option.name}=object() ended in {type(error).__name__}: {error}; raise a UsageError that names {option.name}"
            ) from error
        else:
            raise AssertionError(f"{option.name}=object() was accepted; refuse it by a UsageError that names it")


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
