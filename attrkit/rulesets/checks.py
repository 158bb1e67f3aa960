"""Whether a ruleset's entries fit its parameters and the rules that plugins provide. Rules are looked up, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from attrkit.errors import PluginUnavailable, UnknownName, did_you_mean
from attrkit.registry import Registry
from attrkit.rulesets.document import WRONG
from attrkit.rulesets.options import option_values
from attrkit.rulesets.ruleset import Entry
from attrkit.rulesets.shape import At
from attrkit.rulesets.values import references
from attrkit.rulesets.vocabulary import ANY, COMPOSITE, members
from attrkit.specs import RuleSpec


@attrs.frozen
class Context:
    """What entries are checked against: rules, and parameters by name, WRONG for those that could not be read."""

    registry: Registry
    parameters: Mapping[str, Any]
    complete: bool  # else a parameter that is not there may be in a ruleset that is not there


def check_entry(at: At, entry: Entry, context: Context) -> None:
    """Complain at ``at``, where ``entry`` stands, of all that does not fit."""
    options = at.to("with")
    for key, value in entry.parameters.items():
        _check_references(options.to(key), references(value), context)
    for name in _rule_names(at.to("rule"), entry.rule, context):
        try:
            spec = context.registry.rule(name)
        except (UnknownName, PluginUnavailable) as error:
            at.to("rule").complain(str(error))
        else:
            _check_operations(at.to("rule"), entry, spec, context.registry)
            _check_options(options, entry, spec)


def _check_references(at: At, names: Iterator[str], context: Context) -> None:
    for name in names:
        if context.complete and name not in context.parameters:
            known = ", ".join(context.parameters) or "none"
            at.complain(f"unknown parameter '${name}'; expected one of {known}.{did_you_mean(name, context.parameters)}")


def _rule_names(at: At, rule: str, context: Context) -> tuple[str, ...]:
    """The rules that an entry may come to: the one it names, or every choice of the parameter it names."""
    if not rule.startswith("$"):
        return (rule,) if rule else ()
    _check_references(at, references(rule), context)
    parameter = context.parameters.get(rule[1:], WRONG)
    if parameter is WRONG:
        return ()
    if parameter.type != "choice":
        at.complain(f"expected a parameter of type choice to name the rule, {rule!r} is of type {parameter.type}")
    return tuple(map(str, parameter.choices))


def undefined(spec: RuleSpec, word: str) -> frozenset[str]:
    """The operations, of those that a word stands for, that a rule is not defined for, or that are only taken apart."""
    meant = members([word])
    if meant <= COMPOSITE and spec.returns not in ("shares", "parts"):
        return meant
    return frozenset() if ANY in spec.operations else meant - members(spec.operations)


def _check_operations(at: At, entry: Entry, spec: RuleSpec, registry: Registry) -> None:
    for word in entry.match.op:
        if missing := undefined(spec, word):
            part = f" ({', '.join(sorted(missing))})" if missing < members([word]) else ""
            fit = sorted(name for name, other in registry.all("rules").items() if not undefined(other, word) & missing)
            at.complain(f"rule {spec.name!r} is not defined for op {word}{part}; rules for it: {', '.join(fit) or 'none'}")


def _check_options(at: At, entry: Entry, spec: RuleSpec) -> None:
    options = {option.name: option for option in spec.options}
    for key, value in entry.parameters.items():
        if key not in options:
            known = ", ".join(map(str, spec.options)) or "none"
            at.to(key).complain(f"rule {spec.name!r} has no option {key!r}; its options: {known}.{did_you_mean(key, options)}")
        elif value is not WRONG and (wrong := option_values(options[key].type).misfit(value)):
            at.to(key).complain(f"option {key!r} of rule {spec.name!r}: {wrong}")
