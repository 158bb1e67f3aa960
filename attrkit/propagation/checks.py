"""Whether a ruleset's entries fit its parameters and the rules that plugins provide. Rules are looked up, never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrkit.errors import PluginUnavailable, UnknownName, did_you_mean
from attrkit.propagation.document import WRONG
from attrkit.propagation.ruleset import Entry, Parameter
from attrkit.propagation.shape import At
from attrkit.propagation.values import is_number, references, shown
from attrkit.propagation.vocabulary import members
from attrkit.registry import Registry
from attrkit.specs import Option, RuleSpec

_SIMPLE: dict[str, Callable[[Any], bool]] = {
    "float": is_number,
    "int": lambda value: is_number(value) and isinstance(value, int),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "None": lambda value: value is None,
}


def check_entry(at: At, entry: Entry, declared: Mapping[str, Any] | None, registry: Registry) -> None:
    """Complain at ``at``, where ``entry`` stands, of all that does not fit.

    ``declared`` holds the parameters by name, WRONG for those that could not be read; None if not all of them are known.
    """
    options = at.to("with")
    for key, value in entry.parameters.items():
        _check_references(options.to(key), references(value), declared)
    for name in _rule_names(at.to("rule"), entry.rule, declared):
        try:
            spec = registry.rule(name)
        except (UnknownName, PluginUnavailable) as error:
            at.to("rule").complain(str(error))
        else:
            _check_operations(at.to("rule"), entry, spec, registry)
            _check_options(options, entry, spec)


def _check_references(at: At, names: Iterator[str], declared: Mapping[str, Any] | None) -> None:
    for name in names:
        if declared is not None and name not in declared:
            known = ", ".join(declared) or "none"
            at.complain(f"unknown parameter '${name}'; expected one of {known}.{did_you_mean(name, declared)}")


def _rule_names(at: At, rule: str, declared: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The rules that an entry may come to: the one it names, or every choice of the parameter it names."""
    if not rule.startswith("$"):
        return (rule,) if rule else ()
    _check_references(at, references(rule), declared)
    parameter = (declared or {}).get(rule[1:], WRONG)
    if parameter is WRONG:
        return ()
    if not isinstance(parameter, Parameter) or parameter.type != "choice":
        at.complain(f"expected a parameter of type choice to name the rule, {rule!r} is of type {parameter.type}")
        return ()
    return tuple(map(str, parameter.choices))


def _check_operations(at: At, entry: Entry, spec: RuleSpec, registry: Registry) -> None:
    if without := members(entry.match.op) - members(spec.operations):
        fit = sorted(name for name, other in registry.all("rules").items() if without <= members(other.operations))
        what = ", ".join(sorted(without))
        at.complain(f"rule {spec.name!r} is not defined for op {what}; rules for it: {', '.join(fit) or 'none'}")


def _check_options(at: At, entry: Entry, spec: RuleSpec) -> None:
    options = {option.name: option for option in spec.options}
    for key, value in entry.parameters.items():
        if key not in options:
            known = ", ".join(map(str, spec.options)) or "none"
            at.to(key).complain(f"rule {spec.name!r} has no option {key!r}; its options: {known}.{did_you_mean(key, options)}")
        elif value is not WRONG and not _fits(options[key], value):
            at.to(key).complain(f"option {key!r} of rule {spec.name!r}: expected {options[key].type}, got {shown(value)}")


def _fits(option: Option, value: Any) -> bool:
    """Whether a value has one of the option's types; types that are not simple, and references, always fit."""
    kinds = [kind.strip() for kind in option.type.split("|")]
    return any(references(value)) or any(kind not in _SIMPLE or _SIMPLE[kind](value) for kind in kinds)
