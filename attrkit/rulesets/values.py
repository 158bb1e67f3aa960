"""The values that a ruleset's parameters take, and putting them where entries say ``$name``."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

import attrs

from attrkit.errors import RulesetError, did_you_mean
from attrkit.rulesets.ruleset import Parameter, Ruleset

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: Any) -> str:
    """A value as a message shows it: short, and ``nothing`` for none."""
    return "nothing" if value is None else _SHORT.repr(value)


def is_number(value: Any) -> bool:
    """Whether it is a real number: finite, and neither true nor false."""
    return isinstance(value, Real) and not isinstance(value, bool) and (isinstance(value, int) or math.isfinite(value))


@attrs.frozen
class Kind:
    """A kind of values: whether one is of it, in words, and as a JSON schema."""

    test: Callable[[Any], bool]
    words: str
    schema: dict[str, Any]


NUMBER = Kind(is_number, "a finite number", {"type": "number"})
BOOL = Kind(lambda value: isinstance(value, bool), "true or false", {"type": "boolean"})


def _is_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(map(is_number, value))
    return is_number(value) or hasattr(value, "shape")


def _is_stabilizer(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return is_number(value)
    return (
        value.keys() <= {"epsilon", "relative"}
        and is_number(value.get("epsilon", 0))
        and isinstance(value.get("relative", False), bool)
    )


#: What a parameter of each type may be; a choice is one of the choices.
TYPES: dict[str, Kind] = {
    "number": NUMBER,
    "tensor": Kind(
        _is_tensor,
        "a number, a list of numbers or a tensor",
        {"anyOf": [NUMBER.schema, {"type": "array", "items": NUMBER.schema, "minItems": 1}]},
    ),
    "stabilizer": Kind(
        _is_stabilizer,
        "a number or {epsilon: number, relative: true or false}",
        {
            "anyOf": [
                NUMBER.schema,
                {
                    "type": "object",
                    "properties": {"epsilon": NUMBER.schema, "relative": BOOL.schema},
                    "additionalProperties": False,
                },
            ]
        },
    ),
    "bool": BOOL,
}


def _is_choice(value: Any, choices: tuple[Any, ...]) -> bool:
    scalar = isinstance(value, str | Real)
    return scalar and any(isinstance(c, bool) is isinstance(value, bool) and c == value for c in choices)


def misfit(parameter: Parameter, value: Any) -> str:
    """What is wrong with ``value`` for ``parameter``: what was expected and what came; empty if it fits."""
    if parameter.type == "choice":
        expected = f"one of {', '.join(map(str, parameter.choices))}"
        fits, hint = _is_choice(value, parameter.choices), "." + did_you_mean(value, parameter.choices)
    else:
        kind = TYPES[parameter.type]
        fits, expected, hint = kind.test(value), kind.words, ""
    if not fits:
        return f"expected {expected}, got {shown(value)}{hint}"
    for bound, words, inside in ((parameter.min, "at least", operator.ge), (parameter.max, "at most", operator.le)):
        if bound is not None and is_number(value) and not inside(value, bound):
            return f"expected {words} {bound}, got {shown(value)}"
    return ""


def references(value: Any) -> Iterator[str]:
    """The names of the parameters that a value of an entry refers to, however deep inside."""
    if isinstance(value, str) and value.startswith("$"):
        yield value[1:]
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from references(inner)


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return known[value[1:]]
    if isinstance(value, Mapping):
        return {key: _filled(inner, known) for key, inner in value.items()}
    return [_filled(inner, known) for inner in value] if isinstance(value, list | tuple) else value


def _problems(ruleset: Ruleset, values: Mapping[str, Any]) -> Iterator[str]:
    declared = ruleset.parameters
    for name in values:
        if name not in declared:
            yield f"no parameter {name!r}; expected one of {', '.join(declared) or 'none'}.{did_you_mean(name, declared)}"
    for name, parameter in declared.items():
        if name not in values:
            if parameter.required:
                yield f"parameter {name!r} is required: pass parameters={{{name!r}: ...}}"
        elif wrong := misfit(parameter, values[name]):
            yield f"parameter {name!r}: {wrong}"


def settled(ruleset: Ruleset, values: Mapping[str, Any]) -> Ruleset:
    """The ruleset with ``values``, else defaults, where entries said ``$name``; they become the parameters' defaults.

    Raises:
        RulesetError: a value has no parameter or does not fit it, or a required one is missing; one line each.
    """
    if problems := [f"{ruleset.name}: {problem}" for problem in _problems(ruleset, values)]:
        raise RulesetError(problems)
    known = {name: values.get(name, parameter.default) for name, parameter in ruleset.parameters.items()}
    return attrs.evolve(
        ruleset,
        entries=tuple(
            attrs.evolve(entry, rule=_filled(entry.rule, known), parameters=_filled(entry.parameters, known))
            for entry in ruleset.entries
        ),
        parameters={n: attrs.evolve(p, default=known[n], required=False) for n, p in ruleset.parameters.items()},
    )
