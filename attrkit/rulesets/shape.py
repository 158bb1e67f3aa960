"""Readers of typed values. A reader takes a place in a document; it notes what is wrong there and goes on.

Each carries what it takes as a JSON schema too, so that editors are told by the very tables that files are read by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import attrs

from attrkit.errors import RulesetError, did_you_mean
from attrkit.rulesets.document import WRONG, Document, Path
from attrkit.rulesets.values import BOOL, NUMBER, Kind, shown

Fragment: TypeAlias = "dict[str, Any]"  # of a JSON schema


@attrs.frozen
class At:
    """A place in a document and the value there."""

    document: Document
    value: Any
    path: Path = ()

    def to(self, key: str | int) -> At:
        """The place of a key or item of this value, whether or not it is there."""
        keyed = isinstance(self.value, Mapping)
        found = self.value.get(key) if keyed else self.value[key] if isinstance(key, int) else None
        return At(self.document, found, (*self.path, key))

    def complain(self, message: str) -> Any:
        """Note what is wrong here, and return WRONG for the reader to return."""
        self.document.complain(self.path, message)
        return WRONG

    def inside(self, what: str = "a mapping") -> Iterator[At]:
        """The places of a mapping's keys; none, and a complaint, if this is no mapping."""
        if isinstance(self.value, Mapping):
            yield from map(self.to, self.value)
        elif self.value is not WRONG:
            self.complain(f"expected {what}, got {shown(self.value)}")


@attrs.frozen
class Read:
    """A reader, and what it takes as a JSON schema."""

    read: Callable[[At], Any]
    schema: Fragment

    def __call__(self, at: At) -> Any:
        """The value at a place; WRONG, and a complaint, if it is none of those that the reader takes."""
        return self.read(at)

    def fits(self, value: Any) -> bool:
        """Whether it takes a value; nobody is told."""
        document = Document("", value)
        with suppress(RulesetError):  # there are too many problems to go on
            self.read(At(document, value))
        return not document.problems


def reads(schema: Fragment) -> Callable[[Callable[[At], Any]], Read]:
    """Make the decorated function a reader of what ``schema`` says."""
    return lambda read: Read(read, schema)


def described(schema: Fragment, about: str) -> Fragment:
    """A schema with what an editor shows beside it."""
    return schema if not about or "$ref" in schema else {"description": about, **schema}


def plain(kind: Kind) -> Read:
    """Reads a value of a kind, as it is."""
    return Read(
        lambda at: (
            at.value
            if at.value is WRONG or kind.test(at.value)
            else at.complain(f"expected {kind.words}, got {shown(at.value)}")
        ),
        kind.schema,
    )


anything = plain(Kind(lambda _: True, "anything", {}))
prose = plain(Kind(lambda value: isinstance(value, str), "text", {"type": "string"}))
text = plain(Kind(lambda value: isinstance(value, str) and bool(value.strip()), "text", {"type": "string", "pattern": "\\S"}))
flag, number = plain(BOOL), plain(NUMBER)
scalar = plain(
    Kind(
        lambda value: isinstance(value, str | bool) or NUMBER.test(value),
        "text, a number, true or false",
        {"type": ["string", "number", "boolean"]},
    )
)


def one_of(known: Collection[str], more: str = "") -> Read:
    """Reads one of the known words. ``more`` says what else is expected, for the message."""

    @reads({"enum": sorted(known)})
    def read(at: At) -> Any:
        if at.value is WRONG or (isinstance(at.value, str) and at.value in known):
            return at.value
        expected = ("one of " if len(known) > 1 else "") + ", ".join(sorted(known)) + more
        return at.complain(f"got {shown(at.value)}; expected {expected}.{did_you_mean(at.value, known)}")

    return read


def listed(read: Read, *, least: int = 0) -> Read:
    """Reads a list into a tuple; items that cannot be read are left out."""

    @reads({"type": "array", "items": read.schema} | ({"minItems": least} if least else {}))
    def read_list(at: At) -> Any:
        if not isinstance(at.value, list | tuple) or len(at.value) < least:
            expected = f"a list of at least {least}" if least else "a list"
            return WRONG if at.value is WRONG else at.complain(f"expected {expected}, got {shown(at.value)}")
        return tuple(found for i in range(len(at.value)) if (found := read(at.to(i))) is not WRONG)

    return read_list


def mapped(read: Read) -> Read:
    """Reads a mapping with keys of the writer's choice; a value that cannot be read stays, as WRONG."""
    return Read(
        lambda at: {key.path[-1]: read(key) for key in at.inside()},
        {"type": "object", "additionalProperties": read.schema},
    )


def record(readers: Mapping[str, Read], required: Collection[str] = (), about: Mapping[str, str] | None = None) -> Read:
    """Reads a mapping whose keys are known; values that cannot be read are left out. ``about`` says what a key means."""
    properties = {key: described(read.schema, (about or {}).get(key, "")) for key, read in readers.items()}
    schema: Fragment = {"type": "object", "properties": properties, "additionalProperties": False}

    @reads(schema | ({"required": list(required)} if required else {}))
    def read(at: At) -> dict[str, Any]:
        found = {}
        for place in at.inside(f"a mapping of {', '.join(readers)}"):
            key = place.path[-1]
            if not isinstance(key, str) or key not in readers:
                place.complain(f"unknown key {key!r}; expected one of {', '.join(readers)}.{did_you_mean(key, readers)}")
            elif (value := readers[key](place)) is not WRONG:
                found[key] = value
        if isinstance(at.value, Mapping):
            for key in required:
                if key not in at.value:
                    at.complain(f"key {key!r} is missing; expected {', '.join(required)} here")
        return found

    return read
