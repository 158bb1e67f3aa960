"""Mending a ruleset: a document that extends it, with entries for the operations that it leaves open on a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import attrs
import yaml

from attrkit.errors import RulesetError
from attrkit.layers import path_pattern
from attrkit.propagation import Row
from attrkit.registry import registry
from attrkit.rulesets.checks import undefined
from attrkit.rulesets.reader import read_ruleset
from attrkit.rulesets.ruleset import SCHEMA, Entry, Fallback, Ruleset
from attrkit.rulesets.vocabulary import members

#: Tries a document; returns what is wrong with it on the model.
Attempt = Callable[[Mapping[str, Any]], Sequence[str]]

#: A fallback with which only what entries say can be wrong.
PERMISSIVE = Fallback("gradient", "gradient", "gradient")

CANDIDATES = 4  # rules to try for an operation


def mended(name: str, ruleset: Ruleset, rows: Sequence[Row], operations: frozenset[str], model: str, attempt: Attempt) -> str:
    """The YAML text of a ruleset that extends ``ruleset`` and works; empty if no entry and no fallback would help.

    ``rows`` are what governs each operation now, ``operations`` the names that rules may be given for.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "name": f"{ruleset.name}_for_{model}",
        "doc": f"{ruleset.name}, with what it leaves open on {model}.",
        "extends": [name],
        "rules": [],
    }
    for operation in dict.fromkeys(row.operation for row in rows if is_open(row, ruleset.fallback)):
        for rule, options in _candidates(operation, ruleset, operations):
            entries = list(_entries(operation, rule, options, rows, ruleset.fallback))
            trial = {**document, "rules": [*document["rules"], *entries]}
            if not attempt({**trial, "fallback": attrs.asdict(PERMISSIVE)}):
                document = trial
                break
    document["fallback"] = _relaxed(document, ruleset.fallback, attempt)
    return "" if attempt(document) else _text(document)


def is_open(row: Row, fallback: Fallback) -> bool:
    """Whether nothing matched an operation and the ruleset does not accept that."""
    return row.entry.startswith("fallback.") and getattr(fallback, row.entry.removeprefix("fallback.")) in ("error", "warn")


def _candidates(operation: str, ruleset: Ruleset, operations: frozenset[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rules for an operation with their options: those that rulesets choose for just that, those of the ruleset itself, any."""
    kinds = {registry.rule(entry.rule).carries for entry in ruleset.entries if not entry.rule.startswith("$")}
    chosen = Counter(entry.rule for entry in _elsewhere(operations) if operation in members(entry.match.op))
    own = {entry.rule: entry.parameters for entry in reversed(ruleset.entries)}
    known = registry.all("rules")
    fitting = (
        rule
        for rule in dict.fromkeys([*(rule for rule, _ in chosen.most_common()), *own, *known])
        if (spec := known.get(rule)) and spec.carries in kinds | {"anything"} and not undefined(spec, operation)
    )
    return ((rule, own.get(rule, {})) for rule in islice(fitting, CANDIDATES))


def _elsewhere(operations: frozenset[str]) -> Iterator[Entry]:
    """The entries of all installed rulesets that can be read."""
    for name in registry.rulesets():
        with suppress(RulesetError):
            yield from read_ruleset(name, registry, operations).entries


def _entries(
    operation: str, rule: str, options: Mapping[str, Any], rows: Sequence[Row], fallback: Fallback
) -> Iterator[dict[str, Any]]:
    """Entries for the calls of an operation that are open, and for no others of it that something matched."""
    ours = [row for row in rows if row.operation == operation]
    free = list(dict.fromkeys(row.path for row in ours if is_open(row, fallback)))
    taken = {row.path for row in ours if not is_open(row, fallback)}
    rest: dict[str, Any] = {"rule": rule} | ({"with": dict(options)} if options else {}) | {"optional": True}
    if not taken:
        yield {"id": f"{operation}_mended", "match": {"op": operation}, **rest}
        return
    globs = dict.fromkeys(p for path in free for p in _unclaimed(path, taken))
    for i, glob in enumerate(globs):
        match = {"op": operation} | ({"path": glob} if glob else {"not": {"path": "?**"}})
        yield {"id": f"{operation}_mended_{i}", "match": match, **rest}


def _unclaimed(path: str, taken: Iterable[str]) -> list[str]:
    """A glob for a path that matches none that is taken: with ``*`` for numbers if it can be, else the path itself."""
    wide = general(path)
    if not any(path_pattern(wide).fullmatch(other) for other in taken):
        return [wide]
    return [] if path in taken else [path]


def general(path: str) -> str:
    """A path with ``*`` in place of numbers."""
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def _relaxed(document: Mapping[str, Any], fallback: Fallback, attempt: Attempt) -> dict[str, str]:
    """The fallbacks that have to be ``warn`` for the document to work, no more than are needed."""
    strict = [kind for kind in attrs.fields_dict(Fallback) if getattr(fallback, kind) == "error"]
    chosen = dict.fromkeys(strict, "warn") if attempt({**document, "fallback": {}}) else {}
    for kind in strict if chosen else ():
        fewer = {k: v for k, v in chosen.items() if k != kind}
        if not attempt({**document, "fallback": fewer}):
            chosen = fewer
    return chosen


def _text(document: Mapping[str, Any]) -> str:
    """The document as people write it: a line for each entry."""
    lines = [f"{key}: {_flow(document[key])}" for key in ("schema", "name", "doc", "extends")]
    lines += ["rules:"] if document["rules"] else []
    for entry in document["rules"]:
        lines.append(f"  - {_flow(entry)}")
    lines += [f"fallback: {_flow(document['fallback'])}"] if document["fallback"] else []
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.removesuffix("...\n").strip()
