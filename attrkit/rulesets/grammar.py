"""The schema attrkit/ruleset@1 as tables: what may stand where, and the values it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import attrs

from attrkit.rulesets.document import WRONG
from attrkit.rulesets.patterns import glob_trouble, regex_trouble
from attrkit.rulesets.ruleset import POSITIONS, SCHEMA, Entry, Fallback, Match, Parameter, Ruleset, helps
from attrkit.rulesets.shape import (
    At,
    Fragment,
    Read,
    anything,
    flag,
    listed,
    mapped,
    number,
    one_of,
    prose,
    reads,
    record,
    scalar,
    text,
)
from attrkit.rulesets.values import TYPES, is_number, misfit, shown
from attrkit.rulesets.vocabulary import GROUPS, OPERATIONS

CANONIZERS = ("merge_batch_norm",)

_parameter_keys = record(
    {
        "default": anything,
        "type": one_of(get_args(get_type_hints(Parameter)["type"])),
        "min": number,
        "max": number,
        "choices": listed(scalar, least=1),
        "required": flag,
        "doc": prose,
    },
    about=helps(Parameter),
)
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


def _typed(name: str, kind: Fragment) -> Fragment:
    """What the default of a parameter of a type must be."""
    unsaid = attrs.fields(Parameter).type.default == name
    condition = {"properties": {"type": {"const": name}}} | ({} if unsaid else {"required": ["type"]})
    return {"if": condition, "then": {"properties": {"default": kind}}}


@reads(
    _parameter_keys.schema
    | {"allOf": [_typed(name, kind.schema) for name, kind in TYPES.items()]}
    | {"anyOf": [{"required": [key]} for key in ("default", "required")]}
)
def _parameter(at: At) -> Any:
    if not str(at.path[-1]).isidentifier():
        return at.complain(f"expected letters, digits and underscores as a parameter's name, got {at.path[-1]!r}")
    found = _parameter_keys(at)
    if not isinstance(at.value, Mapping) or len(found) < len(at.value):
        return WRONG
    parameter = Parameter(str(at.path[-1]), **found)
    key, why = _contradiction(found, parameter)
    return at.to(key).complain(why) if key else parameter


@reads({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 2, "maxItems": 2})
def _depth(at: At) -> Any:
    pair = at.value
    if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(is_number, pair)) and 0 <= pair[0] < pair[1] <= 1:
        return float(pair[0]), float(pair[1])
    return WRONG if pair is WRONG else at.complain(f"expected [low, high] with 0 <= low < high <= 1, got {shown(pair)}")


_word = one_of(POSITIONS, " or {depth: [low, high]}")
_range = record({"depth": _depth}, ("depth",))


@reads({"anyOf": [_word.schema, _range.schema]})
def _position(at: At) -> Any:
    return _range(at).get("depth", WRONG) if isinstance(at.value, Mapping) else _word(at)


def _pattern(what: str, trouble: Callable[[str], str]) -> Read:
    """Reads a pattern that can be matched in little time."""

    @reads(text.schema)
    def read(at: At) -> Any:
        if (pattern := text(at)) is not WRONG:
            try:
                if why := trouble(pattern):
                    return at.complain(f"{what} {shown(pattern)} is refused: {why}")
            except (re.error, OverflowError, RecursionError) as error:
                return at.complain(f"expected {what}, got {shown(pattern)}: {error}")
        return pattern

    return read


def words(operations: frozenset[str]) -> frozenset[str]:
    """What ``op`` may say: the operations, those of the vocabulary and its groups."""
    return operations | OPERATIONS | GROUPS.keys()


def operations_read(known: Iterable[str]) -> Read:
    """The reader of ``op``: one of the known names, or a list of them."""
    word = one_of(frozenset(known))
    words = listed(word, least=1)

    @reads({"anyOf": [word.schema, words.schema]})
    def read(at: At) -> Any:
        if isinstance(at.value, list | tuple):
            return words(at)
        return WRONG if (found := word(at)) is WRONG else (found,)

    return read


_NOT = {"$ref": "#/definitions/not"}  # what it refers to may hold another


def _matches(operations: frozenset[str]) -> tuple[Read, Read]:
    """The readers of a rule's ``match``, and of the ``not`` in it."""
    selectors = {
        "op": operations_read(operations),
        "module": text,
        "exact": flag,
        "within": text,
        "path": _pattern("a glob", glob_trouble),
        "path_regex": _pattern("a regular expression", regex_trouble),
    }

    @reads(_NOT)
    def negated(at: At) -> Any:
        if isinstance(at.value, Mapping) and not at.value:
            return at.complain(f"expected at least one of {', '.join(selectors)}, got nothing, which would match everything")
        return inner(at)

    def selecting(known: Mapping[str, Read]) -> Read:
        found = record({**selectors, **known}, about=helps(Match))
        return Read(lambda at: _match(at, found(at)), found.schema | {"dependencies": {"exact": ["module"]}})

    inner = selecting({"position": _misplaced, "not": negated})
    return selecting({"position": _position, "not": negated}), Read(inner.read, inner.schema | {"minProperties": 1})


def _match(at: At, found: Mapping[str, Any]) -> Match:
    if "exact" in found and "module" not in found:
        at.to("exact").complain("exact says how to compare a module; expected the key 'module' too")
    return Match(**{"not_" if key == "not" else key: value for key, value in found.items()})


@reads({"not": {}})
def _misplaced(at: At) -> Any:
    return at.complain("a position is found among what the whole match selects; expected it outside 'not'")


def _rules(match: Read, rule: Read, cases: Sequence[Fragment]) -> Read:
    """The reader of ``rules``: pairs of a place and the entry there, as far as it could be read."""
    fields = {"id": text, "match": match, "rule": rule, "with": mapped(anything), "optional": flag}
    keys = record(fields, ("id", "match", "rule"), about=helps(Entry) | {"with": helps(Entry)["parameters"]})

    @reads(keys.schema | ({"allOf": list(cases)} if cases else {}))
    def entry(at: At) -> Any:
        found = keys(at)
        named = found.get("id", ""), found.get("match", Match()), found.get("rule", "")
        return at, Entry(*named, found.get("with", {}), found.get("optional", False), at.document.place(at.path))

    entries = listed(entry)

    @reads(entries.schema)
    def read(at: At) -> Any:
        first: dict[str, str] = {}
        pairs = entries(at)
        for place, found in () if pairs is WRONG else pairs:
            if found.id and found.id in first:
                place.to("id").complain(f"id {found.id!r} is taken by the rule at {first[found.id]}; expected one of its own")
            first.setdefault(found.id, found.origin)
        return pairs

    return read


@reads(text.schema)
def _parent(at: At) -> Any:
    return WRONG if text(at) is WRONG else at


def grammar(
    operations: frozenset[str], *, rule: Fragment | None = None, parent: Fragment | None = None, cases: Sequence[Fragment] = ()
) -> Read:
    """The reader of a whole ruleset, whose ``op`` may name ``operations`` besides those of the vocabulary.

    Names of rules and of rulesets are looked up later, by who knows them; of these, ``rule``, ``parent`` (an item of
    ``extends``) and ``cases`` (what else holds for an entry) are for the schema alone.

    What is read is the ruleset's keys, without those that cannot be read: ``extends`` comes as the places of its items,
    ``rules`` as pairs of a place and the entry there.
    """
    match, negated = _matches(words(operations))
    keys = record(
        {
            "schema": one_of((SCHEMA,)),
            "name": text,
            "doc": prose,
            "extends": listed(Read(_parent.read, parent or _parent.schema)),
            "params": mapped(_parameter),
            "set": mapped(anything),
            "canonize": listed(one_of(CANONIZERS)),
            "rules": _rules(match, Read(text.read, rule or text.schema), cases),
            "fallback": record(_FALLBACK, about=helps(Fallback)),
        },
        ("schema", "name"),
        about=helps(Ruleset) | {"params": helps(Ruleset)["parameters"], "rules": helps(Ruleset)["entries"]},
    )
    either = {"rules", "extends"}

    @reads(keys.schema | {"anyOf": [{"required": [key]} for key in sorted(either)], "definitions": {"not": negated.schema}})
    def read(at: At) -> Mapping[str, Any]:
        found: Mapping[str, Any] = keys(at)
        if isinstance(at.value, Mapping) and not either & at.value.keys():
            at.complain("there is nothing in it; expected 'rules', 'extends' or both")
        return found

    return read
