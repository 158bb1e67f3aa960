"""Binding a ruleset to the operations of a model: which entry governs which call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache

import attrs

from attrkit.errors import RulesetError, did_you_mean
from attrkit.layers import path_pattern
from attrkit.propagation.governing import Governing
from attrkit.registry import registry
from attrkit.rulesets.ruleset import Entry, Match, Position, Ruleset
from attrkit.rulesets.vocabulary import GROUPS, MODULE, members
from attrkit.specs import RuleSpec


@attrs.frozen
class Site:
    """One call of an operation: what it is, and the running modules from the outermost to the innermost."""

    operation: str
    path: str
    classes: tuple[type, ...]
    count: int = 0  # of such calls in the module before this one
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
        (site.operation in members(match.op) if match.op else site.operation != MODULE)
        and (match.module is None or (innermost is not None and _is(innermost, match.module, exact=match.exact)))
        and (match.within is None or any(_is(c, match.within) for c in site.classes))
        and (match.path is None or path_pattern(match.path).fullmatch(site.path) is not None)
        and (match.path_regex is None or re.fullmatch(match.path_regex, site.path) is not None)
        and (match.not_ is None or not covers(match.not_, site))
    )


@attrs.frozen
class _Candidates:
    """The numbers of the entries that match but for their position, by operation and running modules."""

    matches: tuple[Match, ...]
    _found: dict[tuple[str, str, tuple[type, ...]], tuple[int, ...]] = attrs.field(factory=dict, eq=False)

    def at(self, site: Site) -> tuple[int, ...]:
        """Those of one call."""
        key = (site.operation, site.path, site.classes)
        if (numbers := self._found.get(key)) is None:
            if len(self._found) >= _MOST:
                self._found.clear()
            numbers = self._found[key] = tuple(n for n, match in enumerate(self.matches) if covers(match, site))
        return numbers


_MOST = 4096
_candidates = lru_cache(maxsize=64)(_Candidates)  # from one binding to the next: they depend on nothing but their names


@attrs.define(slots=False)
class Binding:
    """Looks up the rule for each operation of a forward pass, in execution order."""

    ruleset: Ruleset
    asked: int = 0  # how many of its entries, the first ones, are what modules ask for themselves
    hits: dict[int, int] = attrs.field(factory=dict)
    _planned: dict[int, frozenset[tuple[str, str, int]]] = attrs.field(factory=dict)  # by entry: calls its position selects
    _governing: dict[int, Governing] = attrs.field(factory=dict)

    @cached_property
    def _rules(self) -> tuple[RuleSpec, ...]:
        """The rule of each entry."""
        return tuple(registry.rule(entry.rule) for entry in self.ruleset.entries)

    @property
    def hands_on_relevance(self) -> bool:
        """Whether some rule for operations to come returns relevance other than what it was given."""
        return any(position != "first" or not self.hits.get(number) for number, position in self._handing.items())

    @cached_property
    def _handing(self) -> dict[int, Position]:
        """The entries with such rules, but for those about what reads an attributed tensor."""
        found: dict[int, Position] = {}
        for number, (entry, rule) in enumerate(zip(self.ruleset.entries, self._rules, strict=True)):
            position = entry.match.position
            sharing = rule.carries == "relevance" and not rule.identity and position != "input"
            if sharing and rule.returning(rule.resolve(entry.parameters)) == "relevance":
                found[number] = position
        return found

    @cached_property
    def joins(self) -> bool:
        """Whether some rule governs an operation together with the linear map before it."""
        return any(rule.joins for rule in self._rules)

    @cached_property
    def looks_around(self) -> bool:
        """Whether what is attributed makes a difference to how something else is governed.

        Some entry is about what reads an attributed tensor, or an operation is governed together with the one before it, which
        it is not where that is attributed.
        """
        inputs = any(entry.match.position == "input" for entry in self.ruleset.entries)
        return inputs or self.joins or self.hands_on_relevance or "merge_batch_norm" in self.ruleset.canonize

    @cached_property
    def governs_modules(self) -> bool:
        """Whether some entry is about whole modules."""
        return any(MODULE in entry.match.op for entry in self.ruleset.entries)

    @cached_property
    def carries(self) -> str:
        """What the rules carry: relevance or gradients.

        Raises:
            RulesetError: some of them the one, some the other.
        """
        kinds = [(entry, rule.carries) for entry, rule in zip(self.ruleset.entries, self._rules, strict=True)]
        kinds = [(entry, kind) for entry, kind in kinds if kind != "anything"]
        for entry, other in kinds:
            first, kind = kinds[0]
            if other != kind:
                text = f"rule {entry.rule!r} carries {other}, but {first.rule!r} above carries {kind}; have rules of one kind"
                raise RulesetError([f"{entry.origin}: {text}"])
        return kinds[0][1] if kinds else "relevance"

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
            self._planned[number] = frozenset((s.operation, s.path, s.count) for s in matching)

    def restart(self) -> None:
        """Forget what was seen, before another forward pass."""
        self.hits.clear()

    @cached_property
    def _candidates(self) -> _Candidates:
        return _candidates(tuple(entry.match for entry in self.ruleset.entries))

    def about(self, site: Site) -> tuple[int, ...]:
        """The numbers of the entries that match but for their position."""
        return self._candidates.at(site)

    def governing(self, site: Site) -> Governing | None:
        """The rule of the first entry that matches; None when none does."""
        for number in self.about(site):
            entry = self.ruleset.entries[number]
            if self._positioned(number, entry, site):
                self.hits[number] = self.hits.get(number, 0) + 1
                return self._chosen(number, entry)
        return None

    def _positioned(self, number: int, entry: Entry, site: Site) -> bool:
        position = entry.match.position
        if position is None:
            return True
        if position == "first":
            return not self.hits.get(number)
        return (
            site.reads_input
            if position == "input"
            else (site.operation, site.path, site.count) in self._planned.get(number, ())
        )

    def _chosen(self, number: int, entry: Entry) -> Governing:
        if number not in self._governing:
            spec = self._rules[number]
            self._governing[number] = Governing(spec, spec.resolve(entry.parameters), entry.id, entry.origin)
        return self._governing[number]

    def asks(self, site: Site) -> bool:
        """Whether the module there asks for a rule itself."""
        return any(covers(entry.match, site) for entry in self.ruleset.entries[: self.asked])

    def unused(self, modules: Iterable[tuple[str, type]]) -> list[str]:
        """A line for each entry that matched nothing although it is not optional."""
        known = list(modules)
        lines = []
        for number, entry in enumerate(self.ruleset.entries):
            if self.hits.get(number) or entry.optional:
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
