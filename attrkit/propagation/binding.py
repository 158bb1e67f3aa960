"""Binding a ruleset to the operations of a model: which entry governs which call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Any

import attrs

from attrkit.errors import RulesetError, did_you_mean
from attrkit.layers import path_pattern
from attrkit.propagation.step import Governing
from attrkit.registry import registry
from attrkit.rulesets.ruleset import Entry, Match, Ruleset
from attrkit.rulesets.vocabulary import GROUPS, members


@attrs.frozen
class Site:
    """One call of an operation: what it is, and the running modules from the outermost to the innermost."""

    operation: str
    path: str
    classes: tuple[type, ...]
    index: int = 0  # in execution order, over all calls
    rank: int = 0  # over calls of linear operations
    reads_input: bool = False


@lru_cache(maxsize=4096)
def _names(cls: type) -> tuple[str, ...]:
    """What a class may be called in a ruleset: its name, and that name after its module or any package the module is in."""
    parts = cls.__module__.split(".")
    return (cls.__qualname__, *(f"{'.'.join(parts[: i + 1])}:{cls.__qualname__}" for i in range(len(parts))))


def _is(cls: type, pattern: str, *, exact: bool = False) -> bool:
    return any(fnmatchcase(name, pattern) for c in (cls.__mro__[:1] if exact else cls.__mro__) for name in _names(c))


def covers(match: Match, site: Site) -> bool:
    """Whether every selector but the position holds."""
    innermost = site.classes[-1] if site.classes else None
    return (
        (not match.op or site.operation in members(match.op))
        and (match.module is None or (innermost is not None and _is(innermost, match.module, exact=match.exact)))
        and (match.within is None or any(_is(c, match.within) for c in site.classes))
        and (match.path is None or path_pattern(match.path).fullmatch(site.path) is not None)
        and (match.path_regex is None or re.fullmatch(match.path_regex, site.path) is not None)
        and (match.not_ is None or not covers(match.not_, site))
    )


@attrs.define(slots=False)
class Binding:
    """Looks up the rule for each operation of a forward pass, in execution order."""

    ruleset: Ruleset
    hits: dict[int, int] = attrs.field(factory=dict)
    _cache: dict[Any, list[tuple[int, Entry]]] = attrs.field(factory=dict)
    _planned: dict[int, frozenset[int]] = attrs.field(factory=dict)  # entry -> indices of the calls its position selects
    _governing: dict[int, Governing] = attrs.field(factory=dict)

    @cached_property
    def hands_on_relevance(self) -> bool:
        """Whether some rule returns relevance other than what it was given."""
        rules = (registry.rule(entry.rule) for entry in self.ruleset.entries)
        return any(rule.returns == "relevance" and not rule.identity for rule in rules)

    @cached_property
    def carries(self) -> str:
        """What the rules carry: relevance or gradients.

        Raises:
            RulesetError: some of them the one, some the other.
        """
        first: Entry | None = None
        for entry in self.ruleset.entries:
            first = first or entry
            kind, other = registry.rule(first.rule).carries, registry.rule(entry.rule).carries
            if other != kind:
                text = f"rule {entry.rule!r} carries {other}, but {first.rule!r} above carries {kind}; have rules of one kind"
                raise RulesetError([f"{entry.origin}: {text}"])
        return registry.rule(first.rule).carries if first else "relevance"

    def needs_plan(self) -> bool:
        """Whether some entry's position is only known after a whole forward pass."""
        return any(self._late(entry) for entry in self.ruleset.entries)

    @staticmethod
    def _late(entry: Entry) -> bool:
        return entry.match.position == "last" or isinstance(entry.match.position, tuple)

    def plan(self, sites: Sequence[Site]) -> None:
        """Settle the positions ``last`` and depth from the calls of a forward pass."""
        deepest = max((s.rank for s in sites if s.operation in GROUPS["linear_like"]), default=0) or 1
        for number, entry in enumerate(self.ruleset.entries):
            if not self._late(entry):
                continue
            matching = [s for s in sites if covers(entry.match, s)]
            if isinstance(entry.match.position, tuple):
                low, high = entry.match.position
                matching = [s for s in matching if low <= min(1.0, s.rank / deepest) <= high]
            else:
                matching = matching[-1:]
            self._planned[number] = frozenset(s.index for s in matching)

    def restart(self) -> None:
        """Forget what was seen, before another forward pass."""
        self.hits.clear()

    def governing(self, site: Site) -> Governing | None:
        """The rule of the first entry that matches; None when none does."""
        key = (site.operation, site.path, site.classes)
        if (candidates := self._cache.get(key)) is None:
            entries = enumerate(self.ruleset.entries)
            candidates = self._cache[key] = [(n, e) for n, e in entries if covers(e.match, site)]
        for number, entry in candidates:
            if self._positioned(number, entry, site):
                self.hits[number] = self.hits.get(number, 0) + 1
                return self._chosen(number, entry)
        return None

    def _positioned(self, number: int, entry: Entry, site: Site) -> bool:
        position = entry.match.position
        if position is None:
            return True
        if position == "first":
            return number not in self.hits
        return site.reads_input if position == "input" else site.index in self._planned.get(number, ())

    def _chosen(self, number: int, entry: Entry) -> Governing:
        if number not in self._governing:
            spec = registry.rule(entry.rule)
            self._governing[number] = Governing(spec, spec.resolve(entry.parameters), entry.id, entry.origin)
        return self._governing[number]

    def unused(self, modules: Iterable[tuple[str, type]]) -> list[str]:
        """A line for each entry that matched nothing although it is not optional."""
        known = list(modules)
        lines = []
        for number, entry in enumerate(self.ruleset.entries):
            if number in self.hits or entry.optional:
                continue
            hint = ""
            if entry.match.path:
                hint = did_you_mean(entry.match.path, [path for path, _ in known])
            elif entry.match.module:
                hint = did_you_mean(entry.match.module.rpartition(":")[2], {c.__qualname__ for _, c in known})
            lines.append(
                f"{entry.origin}: entry {entry.id!r} ({entry.rule}) matched no operation of this model.{hint} "
                "Mark it 'optional: true' if that is expected"
            )
        return lines


def kind_of(operation: str) -> str:
    """``linear`` for operations with a weight, else ``nonlinear``: the two fallbacks of a ruleset."""
    return "linear" if operation in GROUPS["linear_like"] else "nonlinear"
