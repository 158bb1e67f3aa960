"""What a ruleset promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from attrkit.registry import registry
from attrkit.rulesets.ruleset import Entry, Match
from attrkit.rulesets.values import references
from attrkit.rulesets.vocabulary import members
from attrkit.testing.rulesets.registered import check
from attrkit.testing.rulesets.subject import Propagated, RulesetSubject
from attrkit.testing.snapshots import untouched
from attrkit.testing.subject import close
from attrkit.testing.zoo import NETS

_TINY = {"epsilon": 1e-9, "relative": True}


@check()
def reads_without_problems(s: RulesetSubject) -> None:
    """Every key, rule, operation and option is one that exists, and values fit."""
    assert s.ruleset.entries, "it has no entries"


@check()
def is_described(s: RulesetSubject) -> None:
    """``doc`` says in a sentence what it is for, and each parameter says what it means."""
    assert s.ruleset.doc.endswith("."), f"doc must be a sentence, it is {s.ruleset.doc!r}"
    silent = [name for name, parameter in s.ruleset.parameters.items() if not parameter.doc]
    assert not silent, f"nothing says what {', '.join(silent)} mean; give each parameter a doc"


@check()
def every_parameter_is_used(s: RulesetSubject) -> None:
    """What callers may set makes a difference to some entry."""
    used = {name for entry in s.ruleset.entries for value in (entry.rule, entry.parameters) for name in references(value)}
    idle = sorted(s.ruleset.parameters.keys() - used)
    assert not idle, f"no entry uses {', '.join('$' + name for name in idle)}: a caller's value would be ignored"


@check()
def every_entry_can_match(s: RulesetSubject) -> None:
    """No entry is about operations that entries above it govern already: the first that matches decides."""
    governed: frozenset[str] = frozenset()
    for entry in s.ruleset.entries:
        if _file(entry) != _file(s.ruleset.entries[0]):
            return  # of a ruleset that this one extends, which is fine by itself
        own = members(entry.match.op)
        assert not own or own - governed, (
            f"entry {entry.id!r} never matches: entries above it govern {', '.join(sorted(own))}; put it before them"
        )
        if entry.match == Match(op=entry.match.op):
            assert entry.match.op or entry is s.ruleset.entries[-1], (
                f"entries below {entry.id!r} never match: it takes everything"
            )
            governed |= own


def _file(entry: Entry) -> str:
    return entry.origin.partition(":")[0]


@check()
def covers_a_network(s: RulesetSubject) -> None:
    """It governs a network of the kit by its own entries, and says of each operation of the others why it does not."""
    governs = False
    for name, net in NETS.items():
        if name in s.refused:
            problems = s.refused[name].problems
            assert problems, f"refuses the {name} network, and does not say why"
            continue
        rows = s.run(net.built(), net.inputs()).rows
        governs |= any(row.entry and not row.entry.startswith("fallback.") for row in rows)
    assert governs, f"no entry governs anything of the kit's networks: {', '.join(NETS)}"


def _each(s: RulesetSubject, rows: int = 3) -> Iterator[tuple[str, Any, Any]]:
    """Each network that it covers, its name and inputs."""
    return ((name, net.built(), net.inputs(rows)) for name, net in s.covered())


@check()
def is_finite(s: RulesetSubject) -> None:
    """No NaN and no infinity at the input, also where that is zero."""
    for name, model, x in _each(s):
        for inputs in (x, torch.zeros_like(x)):
            found = s.run(model, inputs).carried
            assert found.shape == x.shape, f"{name}: relevance of shape {tuple(found.shape)} for inputs of {tuple(x.shape)}"
            assert bool(found.isfinite().all()), f"{name}: NaN or infinity"
            assert not found.requires_grad, f"{name}: relevance with a graph"


@check()
def says_something(s: RulesetSubject) -> None:
    """Relevance at the input is not zero everywhere."""
    for name, model, x in _each(s):
        assert bool(s.run(model, x).carried.any()), f"{name}: all relevance is lost on the way to the input"


def _conserves(found: Propagated) -> bool:
    """Whether every rule that governed something promises to."""
    for row in found.rows:
        if row.rule == "own gradient" and row.entry:
            return False
        if row.rule != "own gradient" and not row.rule.startswith("merged into") and registry.rule(row.rule).conserves == "no":
            return False
    return True


@check()
def relevance_is_conserved(s: RulesetSubject) -> None:
    """Where all its rules conserve, relevance at the input is the output, without biases and with stabilisers made small."""
    small = {name: _TINY for name, parameter in s.ruleset.parameters.items() if parameter.type == "stabilizer"}
    for name, net in s.covered():
        found = s.run(net.built(bias=False), net.inputs(), {**small, **s.options})
        if not _conserves(found):
            continue
        off = (found.relevance.flatten(1).sum(1) - found.explained).abs().max() / found.explained.abs().max()
        assert off <= 1e-2, f"{name}: {float(off):.2g} of the output was made or lost, although every rule conserves"


@check()
def examples_do_not_mix(s: RulesetSubject) -> None:
    """An example is explained in a batch as it is alone."""
    for name, model, x in _each(s):
        alone = torch.cat([s.run(model, row[None]).carried for row in x])
        try:
            close((s.run(model, x).carried,), (alone,), 1e-7)
        except AssertionError as error:
            raise AssertionError(f"{name}: examples mix; {error}") from None


@check()
def gives_the_same_twice(s: RulesetSubject) -> None:
    """Twice the same call, twice the same bits."""
    for name, model, x in _each(s):
        s.run(model, x)
        assert torch.equal(s.run(model, x).carried, s.run(model, x).carried), f"{name}: two calls gave different relevance"


@check()
def leaves_the_model_alone(s: RulesetSubject) -> None:
    """No hook, parameter, buffer, input or random state differs afterwards."""
    for _, model, x in _each(s):
        with untouched(model, x):
            s.run(model, x)


@check()
def float32_is_near_float64(s: RulesetSubject) -> None:
    """float32 gives what float64 gives, to a hundredth of the largest."""
    for name, model, x in _each(s):
        precise = s.run(model, x).carried
        rough = s.run(model.float(), x.float()).carried
        assert rough.dtype is torch.float32, f"{name}: float32 gives {rough.dtype}"
        off, scale = float((rough.double() - precise).abs().max()), float(precise.abs().max())
        assert off <= 1e-2 * scale, f"{name}: float32 is off by {off:.2g}, where the largest is {scale:.2g}"


@check(lambda s: any(p.type in ("choice", "bool", "number") for p in s.ruleset.parameters.values()))
def every_choice_works(s: RulesetSubject) -> None:
    """Every choice, and the least and the largest value of each number, is one that its rules accept."""
    for name, parameter in s.ruleset.parameters.items():
        values = {"choice": parameter.choices, "bool": (True, False)}.get(parameter.type, (parameter.min, parameter.max))
        for value in values:
            if parameter.type not in ("choice", "bool", "number") or value is None:
                continue
            label, net = next(s.covered())
            try:
                found = s.run(net.built(), net.inputs(), {**s.options, name: value})
            except Exception as error:
                raise AssertionError(f"{name}={value!r} on the {label} network: {type(error).__name__}: {error}") from error
            assert bool(found.carried.isfinite().all()), f"{name}={value!r} gives NaN or infinity on the {label} network"


@check(lambda s: any(p.required for p in s.ruleset.parameters.values()))
def what_is_required_is_named(s: RulesetSubject) -> None:
    """Without a parameter that has no default: an error that names it."""
    from attrkit.errors import RulesetError

    for name, parameter in s.ruleset.parameters.items():
        if not parameter.required:
            continue
        net = NETS["dense"]
        given = {k: v for k, v in s.options.items() if k != name}
        try:
            s.run(net.built(), net.inputs(), given)
        except RulesetError as error:
            assert name in str(error), f"the message does not name {name}: {error}"  # noqa: PT017 - no pytest here
        else:
            raise AssertionError(f"{name} has no default, and nobody missed it")
