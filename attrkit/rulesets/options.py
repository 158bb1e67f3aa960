"""What a rule's option may be in a ruleset, from the type that its signature gives it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import attrs

from attrkit.errors import did_you_mean
from attrkit.rulesets.shape import At, Fragment, Read, anything, listed, mapped, plain, prose
from attrkit.rulesets.values import BOOL, NUMBER, Kind, shown

#: A value that stands for a parameter's.
REFERENCE: Fragment = {"type": "string", "pattern": r"^\$"}


@attrs.frozen
class Values:
    """The values of a type: their reader, what they are in words, and those that can be listed."""

    read: Read
    words: str = ""
    listed: tuple[Any, ...] = ()

    def misfit(self, value: Any) -> str:
        """What is wrong with a value: what was expected and what came; empty if it fits."""
        if self.read.fits(value):
            return ""
        hint = did_you_mean(value, self.listed)
        return f"expected {self.words}, got {shown(value)}" + (f".{hint}" if hint else "")


def _of(kind: Kind) -> Values:
    return Values(plain(kind), kind.words)


_ANYTHING = Values(anything, "anything")
_INTEGER = Kind(lambda value: NUMBER.test(value) and isinstance(value, int), "an integer", {"type": "integer"})
_SIMPLE = {
    "float": _of(NUMBER),
    "int": _of(_INTEGER),
    "bool": _of(BOOL),
    "str": Values(prose, "text"),
    "None": _of(Kind(lambda value: value is None, "nothing", {"type": "null"})),
}
_MAPPINGS = frozenset({"Mapping", "dict", "Dict"})
_LISTS = frozenset({"Sequence", "list", "List", "tuple", "Tuple"})


@lru_cache(maxsize=1024)
def values_of(annotation: str) -> Values:
    """The values that an annotation allows; what it says beyond plain types allows any."""
    try:
        return _values(ast.parse(annotation, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):  # a third party may write anything
        return _ANYTHING


def _values(node: ast.expr) -> Values:
    match node:
        case ast.Name(id=name) if name in _SIMPLE:
            return _SIMPLE[name]
        case ast.Constant(value=None):
            return _SIMPLE["None"]
        case ast.Constant(value=str() as quoted):
            return values_of(quoted)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of((_values(left), _values(right)))
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
        case _:
            return _ANYTHING


def _generic(name: str, inner: list[ast.expr]) -> Values:
    if name == "Literal":
        return _literal(tuple(node.value for node in inner if isinstance(node, ast.Constant)))
    if name in ("Union", "Optional"):
        return _any_of([*map(_values, inner), *([_SIMPLE["None"]] if name == "Optional" else [])])
    if name in _MAPPINGS:
        return Values(mapped(_or_reference(_values(inner[-1]).read)), "a mapping")
    if name in _LISTS and len({ast.dump(node) for node in inner} - {ast.dump(ast.Constant(...))}) == 1:
        return Values(listed(_or_reference(_values(inner[0]).read)), "a list")
    return _ANYTHING


def _literal(words: tuple[Any, ...]) -> Values:
    kinds = [(type(word), word) for word in words]
    kind = Kind(lambda value: (type(value), value) in kinds, " or ".join(map(str, words)), {"enum": list(words)})
    return Values(plain(kind), kind.words, words)


def _any_of(several: Iterable[Values]) -> Values:
    each = list(several)
    if _ANYTHING in each:
        return _ANYTHING

    def read(at: At) -> Any:
        return at.value if any(v.read.fits(at.value) for v in each) else at.complain("")  # whoever asks has the words

    reader = Read(read, {"anyOf": [v.read.schema for v in each]})
    return Values(reader, " or ".join(v.words for v in each), tuple(word for v in each for word in v.listed))


def _or_reference(read: Read) -> Read:
    """The same, or ``$name``."""
    known = read.schema
    return Read(
        lambda at: at.value if isinstance(at.value, str) and at.value.startswith("$") else read(at),
        known if not known else {"anyOf": [known, REFERENCE]},
    )


def option_values(annotation: str) -> Values:
    """The values that an option may have in an entry: those of its type, and ``$name``."""
    found = values_of(annotation)
    return attrs.evolve(found, read=_or_reference(found.read))
