"""What a rule hands on: linear in what it is given, example by example, and as much as it says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrkit.protocols import Tensors
from attrkit.testing.models import points, seeded
from attrkit.testing.rules.registered import check
from attrkit.testing.rules.steps import Called, elsewhere
from attrkit.testing.rules.subject import RuleSubject, carried, computes, total
from attrkit.testing.subject import close

_STABILIZED = 1e-3  # of what is carried, what stabilisers may absorb


def _linear(s: RuleSubject) -> bool:
    return computes(s) and s.spec.carries != "gradient"


@check(computes)
def nothing_carried_gives_nothing(s: RuleSubject) -> None:
    """Zero relevance at the output is zero relevance at every input."""
    for call in s.calls():
        for way in (s.handed, s.engine):
            found = way(call, torch.zeros_like(call.step.output))
            assert not any(bool(t.any()) for t in found), f"{call.case.label}: made relevance out of nothing"


@check(_linear)
def is_linear_in_what_it_is_given(s: RuleSubject) -> None:
    """Twice the relevance hands on twice as much, and a sum the sum: relevance has no units."""
    for call in s.calls():
        one, other = (carried(call.step, seed) for seed in (5, 6))
        together = s.handed(call, 2 * one - 3 * other)
        apart = tuple(2 * a - 3 * b for a, b in zip(s.handed(call, one), s.handed(call, other), strict=True))
        _same(call, together, apart, "is not linear in the relevance it is given")


@check(computes)
def examples_do_not_mix(s: RuleSubject) -> None:
    """An example hands on in a batch what it hands on alone."""
    for call in s.calls():
        given = carried(call.step)
        together = s.handed(call, given)
        rows = range(len(call.inputs[0]))
        each = [s.handed(s.call(call.case, inputs=tuple(x[i : i + 1] for x in call.inputs)), given[i : i + 1]) for i in rows]
        _same(call, together, tuple(map(torch.cat, zip(*each, strict=True))), "mixes examples")


@check(_linear)
def agrees_with_a_slow_oracle(s: RuleSubject) -> None:
    """A model's backward pass gives what comes of single outputs of single examples, by explicit Jacobians, added up."""
    for call in s.calls():
        given = carried(call.step)
        found = s.engine(call, given)
        rows = []
        for i in range(len(given)):
            one = s.call(call.case, inputs=tuple(x[i : i + 1] for x in call.inputs))
            rows.append(_by_output(s, one, given[i : i + 1]))
        expected = tuple(map(torch.cat, zip(*rows, strict=True)))
        _same(call, found, expected, "gives other relevance in a model than output by output")


@check(lambda s: computes(s) and not _linear(s))
def agrees_with_the_engine(s: RuleSubject) -> None:
    """A model's backward pass gives what the function returns, as it is declared."""
    for call in s.calls():
        given = carried(call.step)
        _same(call, s.engine(call, given), s.handed(call, given), "gives something else in a model than its function returns")


def _by_output(s: RuleSubject, call: Called, given: Tensor) -> Tensors:
    """The sum over outputs of what each alone hands on."""
    parts = torch.diag(given.flatten()).reshape(-1, *given.shape)
    if s.returns in ("cotangent", "shares"):
        jacobians = torch.autograd.functional.jacobian(call.compute, call.inputs)
        sums = [torch.zeros_like(x) for x in call.inputs]
        for part in parts:
            returned = s.raw(call.step, part)
            for i, (x, j) in enumerate(zip(call.inputs, jacobians, strict=True)):
                cotangent, share = (part, returned[i]) if s.returns == "shares" else (returned, 1.0)
                back = torch.tensordot(cotangent, j.detach(), cotangent.dim()) * share
                sums[i] += x * back if s.shares_relevance else back
        return tuple(sums)
    each = [s.handed(call, part) for part in parts]
    return tuple(torch.stack(t).sum(0) for t in zip(*each, strict=True))


@check(lambda s: computes(s) and s.spec.conserves != "no")
def relevance_is_conserved(s: RuleSubject) -> None:
    """Relevance at the inputs adds up to that at the outputs, as ``conserves=`` says; multipliers to the output's change."""
    for bias in (False, True) if s.spec.conserves == "yes" else (False,):
        for call in s.calls(bias=bias):
            if s.returns == "cotangent" and call.step.operation.endswith(("layer_norm", "rms_norm", "group_norm")):
                continue  # whose own backward pass hands on a change of direction alone
            given = carried(call.step) * _has_both_signs(call)
            found, had = s.handed(call, given), given * call.step.output
            if s.compares and (reference := call.step.reference) is not None:
                changes = zip(found, call.inputs, reference.inputs, strict=True)
                found, had = tuple(m * (x - r) for m, x, r in changes), given * (call.step.output - reference.output)
            off = (total(found) - had.flatten(1).sum(1)).abs().max() / had.abs().flatten(1).sum(1).max()
            with_bias = " with a bias" if bias else ""
            assert off <= _STABILIZED, f"{call.case.label}{with_bias}: {float(off):.2g} of the relevance was made or lost"


@check(lambda s: computes(s) and s.spec.joins)
def joins_the_map_before(s: RuleSubject) -> None:
    """Together with the linear map before an operation it hands on finite numbers of that map's input's shape, linearly."""
    for call in s.calls():
        first, *others = call.inputs
        if call.step.map is not None or others or first.dim() != 2:
            continue
        model, x = seeded(lambda call=call: nn.Sequential(nn.Linear(5, 6), call.compute)), points(3, 5)  # type: ignore[misc]
        with torch.no_grad():
            risen = model(x) - model(elsewhere(x))
        one, other = (points(3, *risen.shape[1:], seed=i) for i in (5, 6))

        def back(given: Tensor, model: nn.Module = model, x: Tensor = x, at: str = call.step.operation) -> Tensor:
            return s.governed(model, (x,), given, at)[0]

        assert bool(back(one).isfinite().all()), f"{call.case.label} after a linear map: NaN or infinity"
        _same(call, (back(2 * one - other),), (2 * back(one) - back(other),), "is not linear after a linear map")
        if s.compares and s.spec.conserves == "yes":
            off = (total((back(one) * (x - elsewhere(x)),)) - total((one * risen,))).abs().max() / (one * risen).abs().max()
            assert off <= _STABILIZED, f"{call.case.label} after a linear map: {float(off):.2g} of the change was made or lost"


def _has_both_signs(call: Called) -> Tensor | float:
    """Which outputs of a linear map get contributions of both signs, of which some rules need the one or the other."""
    step = call.step
    if step.map is None or step.operation.endswith("_norm"):
        return 1.0
    up, down = step.input.clamp(min=0), (-step.input).clamp(min=0)
    gains = step.forwards((up, _positive), (down, _negative))
    losses = step.forwards((up, _negative), (down, _positive))
    step.forget()
    return ((gains > 0.1 * losses) & (losses > 0.1 * gains)).to(gains)


def _positive(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _negative(w: Tensor) -> Tensor:
    return (-w).clamp(min=0)


def _same(call: Called, found: Tensors, expected: Tensors, wrong: str) -> None:
    try:
        close(found, expected, 1e-7)
    except AssertionError as error:
        raise AssertionError(f"{call.case.label}: the rule {wrong}; {error}") from None
