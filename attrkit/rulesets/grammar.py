"""The schema attrkit/ruleset@1 as tables: what may stand where, and the values it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from attrkit.rulesets.document import WRONG
from attrkit.rulesets.ruleset import POSITIONS, SCHEMA, Entry, Fallback, Match, Parameter
from attrkit.rulesets.shape import (
    At,
    Read,
    anything,
    flag,
    listed,
    mapped,
    number,
    one_of,
    prose,
    record,
    scalar,
    text,
)
from attrkit.rulesets.values import is_number, misfit, shown

CANONIZERS = ("merge_batch_norm",)

_PARAMETER = {
    "default": anything,
    "type": one_of(get_args(get_type_hints(Parameter)["type"])),
    "min": number,
    "max": number,
    "choices": listed(scalar, least=1),
    "required": flag,
    "doc": prose,
}
_FALLBACK = {kind: one_of(get_args(hint)) for kind, hint in get_type_hints(Fallback).items()}


def _contradiction(found: Mapping[str, Any], parameter: Parameter) -> tuple[str, str]:
    """The key that contradicts the others, and why; two empty strings if none does."""
    bounds = [key for key in ("min", "max") if key in found]
    if bounds and parameter.type != "number":
        return bounds[0], f"only a parameter of type number has a {bounds[0]}, this one is of type {parameter.type}"
    if len(bounds) == 2 and found["min"] > found["max"]:
        return "max", f"expected at least the min of {found['min']}, got {found['max']}"
    if ("choices" in found) is not (parameter.type == "choice"):
        return "choices", f"choices belong to type choice and only there; got type {parameter.type}"
    if ("default" in found) is parameter.required:
        return "default", "expected either a default or 'required: true'"
    wrong = "" if parameter.required else misfit(parameter, parameter.default)
    return ("default", wrong) if wrong else ("", "")


def _parameter(at: At) -> Any:
    if not str(at.path[-1]).isidentifier():
        return at.complain(f"expected letters, digits and underscores as a parameter's name, got {at.path[-1]!r}")
    found = record(_PARAMETER)(at)
    if not isinstance(at.value, Mapping) or len(found) < len(at.value):
        return WRONG
    parameter = Parameter(str(at.path[-1]), **found)
    key, why = _contradiction(found, parameter)
    return at.to(key).complain(why) if key else parameter


def _position(at: At) -> Any:
    if not isinstance(at.value, Mapping):
        return one_of(POSITIONS, " or {depth: [low, high]}")(at)
    return record({"depth": _depth}, ("depth",))(at).get("depth", WRONG)


def _depth(at: At) -> Any:
    pair = at.value
    if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(is_number, pair)) and 0 <= pair[0] < pair[1] <= 1:
        return float(pair[0]), float(pair[1])
    return WRONG if pair is WRONG else at.complain(f"expected [low, high] with 0 <= low < high <= 1, got {shown(pair)}")


def _pattern(at: At) -> Any:
    if (pattern := text(at)) is not WRONG:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            return at.complain(f"expected a regular expression, got {shown(pattern)}: {error}")
    return pattern


def _match(operations: frozenset[str]) -> Read:
    """The reader of a rule's ``match``."""
    word = one_of(operations)
    words = listed(word, least=1)
    selectors: dict[str, Read] = {
        "op": lambda at: words(at) if isinstance(at.value, list | tuple) else _alone(word(at)),
        "module": text,
        "exact": flag,
        "within": text,
        "path": text,
        "path_regex": _pattern,
    }

    def negated(at: At) -> Any:
        if isinstance(at.value, Mapping) and not at.value:
            return at.complain(f"expected at least one of {', '.join(selectors)}, got nothing, which would match everything")
        return read(at, {**selectors, "position": _misplaced, "not": negated})

    def read(at: At, known: Mapping[str, Read]) -> Match:
        found = record(known)(at)
        if "exact" in found and "module" not in found:
            at.to("exact").complain("exact says how to compare a module; expected the key 'module' too")
        return Match(**{"not_" if key == "not" else key: value for key, value in found.items()})

    return lambda at: read(at, {**selectors, "position": _position, "not": negated})


def _misplaced(at: At) -> Any:
    return at.complain("a position is found among what the whole match selects; expected it outside 'not'")


def _alone(value: Any) -> Any:
    return WRONG if value is WRONG else (value,)


def _rules(operations: frozenset[str]) -> Read:
    """The reader of ``rules``: pairs of a place and the entry there, as far as it could be read."""
    fields = {"id": text, "match": _match(operations), "rule": text, "with": mapped(anything), "optional": flag}

    def entry(at: At) -> Any:
        found = record(fields, ("id", "match", "rule"))(at)
        named = found.get("id", ""), found.get("match", Match()), found.get("rule", "")
        return at, Entry(*named, found.get("with", {}), found.get("optional", False), at.document.place(at.path))

    def read(at: At) -> Any:
        first: dict[str, str] = {}
        pairs = listed(entry)(at)
        for place, found in () if pairs is WRONG else pairs:
            if found.id and found.id in first:
                place.to("id").complain(f"id {found.id!r} is taken by the rule at {first[found.id]}; expected one of its own")
            first.setdefault(found.id, found.origin)
        return pairs

    return read


def read_keys(at: At, operations: frozenset[str]) -> Mapping[str, Any]:
    """What a ruleset's keys say, without those that cannot be read.

    ``extends`` comes as the places of its items, ``rules`` as pairs of a place and the entry there.
    """
    read = record(
        {
            "schema": one_of((SCHEMA,)),
            "name": text,
            "doc": prose,
            "extends": listed(lambda place: WRONG if text(place) is WRONG else place),
            "params": mapped(_parameter),
            "set": mapped(anything),
            "canonize": listed(one_of(CANONIZERS)),
            "rules": _rules(operations),
            "fallback": record(_FALLBACK),
        },
        ("schema", "name"),
    )
    found: Mapping[str, Any] = read(at)
    if isinstance(at.value, Mapping) and not {"rules", "extends"} & at.value.keys():
        at.complain("there is nothing in it; expected 'rules', 'extends' or both")
    return found
