"""Trying a ruleset: what governs each operation, what falls back, and how that can be mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from attrkit.attributing import Request, propagated
from attrkit.doctoring.diagnosis import Fallen, RulesetFinding
from attrkit.doctoring.examination import Examined
from attrkit.doctoring.mending import PERMISSIVE, general, is_open, mended
from attrkit.doctoring.trial import Outcome, tried
from attrkit.propagation import Row, operations
from attrkit.registry import registry
from attrkit.rulesets.reader import read_ruleset
from attrkit.rulesets.ruleset import Parameter, Ruleset

UNREACHED = "no gradient comes back to the inputs or to a layer, so that rules have no backward pass to change"

#: Values for parameters that have none, by type: what a rule computes does not matter, only whether it can.
_STAND_INS = {"number": 1.0, "tensor": 1.0, "stabilizer": 1e-6, "bool": False}


@attrs.frozen
class Bound:
    """What a ruleset does with a model: what governs each operation, what is wrong, what it warns of, and where it began."""

    rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layer: str = ""  # empty for the inputs


def bound(ruleset: Ruleset, examined: Examined, parameters: Mapping[str, Any], *, at_layer: bool = False) -> Bound:
    """Run a ruleset's rules on a model, back to the inputs; where these are not reached, or ``at_layer`` is set, to a layer."""
    inputs = examined.at_inputs and not at_layer
    if not (inputs or examined.reached):
        return Bound(problems=(UNREACHED,))
    layer = "" if inputs else examined.reached[0]
    done = _run(ruleset, examined, parameters, layer)
    if done.works:
        return Bound(done.result or (), (), done.notes, layer)
    every = attrs.evolve(ruleset, fallback=PERMISSIVE)
    ran = _run(every, examined, parameters, layer)  # with whatever falls back, so that rules are heard too
    problems = () if done.problems == ran.problems else done.problems
    for entry in every.entries if ran.problems else ():
        alone = _run(attrs.evolve(every, entries=(entry,)), examined, parameters, layer)
        problems += tuple(f"{entry.origin}: entry {entry.id!r} ({entry.rule}): {problem}" for problem in alone.problems)
    notes = tuple(dict.fromkeys((*done.notes, *ran.notes)))
    return Bound(ran.result or (), problems or done.problems, notes, layer)


def _run(source: Any, examined: Examined, parameters: Mapping[str, Any], layer: str) -> Outcome[tuple[Row, ...]]:
    layers = (examined.layers[layer],) if layer else ()
    request = Request(model=examined.model, arguments=examined.arguments, target=examined.target, layers=layers)
    return tried(partial(propagated, request, source, parameters))


def ruleset_finding(source: str, examined: Examined, parameters: Mapping[str, Any], model: str) -> RulesetFinding:
    """Whether a ruleset governs the model, and what would mend it."""
    known = frozenset(operation.name for operation in operations())
    read = tried(lambda: read_ruleset(source, registry, known))
    if read.result is None:
        return RulesetFinding(source, works=False, problems=read.problems)
    ruleset = read.result
    given = {name: value for name, value in parameters.items() if name in ruleset.parameters}
    lacking = tuple(name for name, p in ruleset.parameters.items() if p.required and name not in given)
    values = {**given, **{name: _stand_in(ruleset.parameters[name]) for name in lacking}}
    found = bound(ruleset, examined, values)
    mend = ""
    if found.rows and (found.problems or any(is_open(row, ruleset.fallback) for row in found.rows)):
        place = str(Path(source).resolve()) if Path(source).is_file() else source
        mend = mended(place, ruleset, found.rows, known, model, lambda d: _run(d, examined, values, found.layer).problems)
    return RulesetFinding(
        name=source,
        works=not found.problems,
        needs=lacking,
        layer=found.layer,
        operations=sum(bool(row.entry) and not row.entry.startswith("fallback.") for row in found.rows),
        fallen=_fallen(found.rows, ruleset),
        problems=found.problems,
        notes=found.notes,
        mended=mend,
    )


def _stand_in(parameter: Parameter) -> Any:
    if parameter.type == "choice":
        return parameter.choices[0]
    bounds = (bound for bound in (parameter.min, parameter.max) if bound is not None)
    return next(bounds, _STAND_INS[parameter.type])


def _fallen(rows: Sequence[Row], ruleset: Ruleset) -> tuple[Fallen, ...]:
    """What nothing matched, by operation."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.entry.startswith("fallback."):
            groups.setdefault((row.operation, row.entry.removeprefix("fallback.")), []).append(row.path)
    return tuple(
        Fallen(operation, len(paths), tuple(dict.fromkeys(map(general, paths))), f"{kind}: {getattr(ruleset.fallback, kind)}")
        for (operation, kind), paths in groups.items()
    )
