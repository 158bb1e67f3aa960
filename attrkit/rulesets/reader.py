"""Reading rulesets: finding the file, following ``extends``, checking everything and saying all that is wrong at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import attrs

from attrkit.errors import RulesetError, UnknownName, UsageTypeError, did_you_mean
from attrkit.registry import Registry
from attrkit.rulesets.checks import Context, check_entry
from attrkit.rulesets.document import WRONG, Document, load
from attrkit.rulesets.grammar import grammar
from attrkit.rulesets.ruleset import Entry, Fallback, Parameter, Ruleset
from attrkit.rulesets.shape import At
from attrkit.rulesets.sources import identity, located
from attrkit.rulesets.values import misfit, references, settled, shown
from attrkit.rulesets.vocabulary import OPERATIONS

__all__ = ["Source", "read_ruleset", "settled"]

Source = Ruleset | Mapping[str, Any] | str | os.PathLike[str]

LEVELS = 32  # of rulesets that extend one another


def read_ruleset(source: Source, registry: Registry, operations: frozenset[str] = OPERATIONS) -> Ruleset:
    """The ruleset in a file, of a shipped name, or given as plain values; a Ruleset is returned as it is.

    A str is a file if it ends in .yaml or .yml or contains a path separator, else a name, or a file where none has that name.
    ``operations`` are the names that ``op`` may hold besides those of the vocabulary. Rules are looked up in ``registry``;
    nothing in a file is ever run.

    Raises:
        UnknownName: no such file or shipped ruleset.
        RulesetError: the ruleset, or one that it extends, is not valid; holds every problem.
    """
    if isinstance(source, Ruleset):
        return source
    whole: _Part | None
    reading = _Reading(registry, operations)
    if isinstance(source, Mapping):
        whole = reading.document(Document("<mapping>", source), Path(), ("<mapping>",))
    elif isinstance(source, str | os.PathLike):
        whole = reading.file(*located(source, registry, Path()), chain=())
    else:
        raise UsageTypeError(f"expected a ruleset's name, its file, a mapping or a Ruleset, got {shown(source)}")
    if reading.problems or whole is None:
        raise RulesetError(reading.problems)
    return Ruleset(
        name=whole.name,
        entries=tuple(whole.entries.values()),
        doc=whole.doc,
        parameters=whole.parameters,
        canonize=frozenset(whole.canonize or ()),
        fallback=Fallback(**whole.fallback),
        origin=whole.origin,
    )


@attrs.frozen
class _Part:
    """What one ruleset and those it extends come to, with what they leave open still open."""

    name: str
    doc: str
    origin: str
    entries: Mapping[str, Entry]  # by id
    parameters: Mapping[str, Any]  # Parameter by name; WRONG for one that could not be read
    fallback: Mapping[str, Any]
    canonize: tuple[str, ...] | None
    complete: bool  # whether every ruleset it extends was there


@attrs.define
class _Reading:
    """One call of read_ruleset: the files read so far, each once, and all their problems."""

    registry: Registry
    operations: frozenset[str]
    problems: list[str] = attrs.field(factory=list)
    parts: dict[str, _Part | None] = attrs.field(factory=dict)

    def file(self, file: Traversable, name: str, chain: tuple[str, ...]) -> _Part | None:
        """What a file comes to; None if it could not be read at all. ``chain`` holds the files that led here."""
        key = identity(file)
        if key not in self.parts:
            self.parts[key] = None
            try:
                document = load(file, name)
            except RulesetError as error:
                self.problems += error.problems
            else:
                folder = file.parent if isinstance(file, Path) else Path(name)  # nothing is beside a file in an archive
                self.parts[key] = self.document(document, folder, (*chain, key))
        return self.parts[key]

    def document(self, document: Document, folder: Path, chain: tuple[str, ...]) -> _Part:
        """What a document comes to, its problems added to all others."""
        at = At(document, document.value)
        found = grammar(self.operations)(at)
        part = self.joined(at, found, [self.parent(place, folder, chain) for place in found.get("extends", ())])
        self.problems += document.report()
        return part

    def parent(self, at: At, folder: Path, chain: tuple[str, ...]) -> _Part | None:
        """The ruleset that an item of ``extends`` names; None, and a complaint, if there is none."""
        try:
            file, name = located(at.value, self.registry, folder)
        except UnknownName as error:
            at.complain(str(error))
            return None
        if (key := identity(file)) in chain:
            cycle = " -> ".join(Path(link).name for link in (*chain[chain.index(key) :], key))
            at.complain(f"expected a ruleset that does not extend this one, got a cycle: {cycle}")
            return None
        if len(chain) > LEVELS:
            at.complain(f"expected at most {LEVELS} rulesets that extend one another, got more")
            return None
        return self.file(file, name, chain)

    def joined(self, at: At, found: Mapping[str, Any], parents: Sequence[_Part | None]) -> _Part:
        """A ruleset's own keys and, after them, what it inherits."""
        there = [parent for parent in parents if parent is not None]
        complete = all(parent is not None and parent.complete for parent in parents)
        declared = _first_wins([found.get("params", {}), *(parent.parameters for parent in there)])
        own = {entry.id: entry for _, entry in found.get("rules", ())}
        entries = _first_wins([own, *(parent.entries for parent in there)])
        context = Context(self.registry, declared, complete)
        for place, entry in (*found.get("rules", ()), *_redeclared(at.to("params"), entries, declared, there)):
            check_entry(place, entry, context)
        return _Part(
            name=found.get("name", ""),
            doc=found.get("doc", ""),
            origin=at.document.name,
            entries=entries,
            parameters=_set(at.to("set"), found.get("set", {}), declared, complete=complete),
            fallback=_first_wins([found.get("fallback", {}), *(parent.fallback for parent in there)]),
            canonize=next((c for c in (found.get("canonize"), *(p.canonize for p in there)) if c is not None), None),
            complete=complete,
        )


def _redeclared(
    at: At, entries: Mapping[str, Entry], declared: Mapping[str, Any], parents: Iterable[_Part]
) -> Iterator[tuple[At, Entry]]:
    """The inherited entries whose rule is a parameter that no longer is the one they were checked with."""
    for parent in parents:
        for key, entry in parent.entries.items():
            for name in references(entry.rule):
                if entries[key] is entry and declared[name] is not parent.parameters[name]:
                    yield at.to(name), entry


def _first_wins(mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            joined.setdefault(key, value)
    return joined


def _set(at: At, given: Mapping[str, Any], declared: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """The parameters with the defaults that ``set`` gives them."""
    changed = dict(declared)
    for name, value in given.items():
        parameter = declared.get(name)
        if parameter is None and complete:
            known = ", ".join(declared) or "none"
            at.to(name).complain(f"unknown parameter {name!r}; expected one of {known}.{did_you_mean(name, declared)}")
        elif isinstance(parameter, Parameter) and value is not WRONG:
            if wrong := misfit(parameter, value):
                at.to(name).complain(wrong)
            changed[name] = attrs.evolve(parameter, default=value, required=False)
    return changed
