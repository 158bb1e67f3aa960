"""Which rule governs each call of a forward pass, and all there is to say about that afterwards."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import attrs
from torch import Tensor

from attrkit.errors import UngovernedError, warn
from attrkit.propagation.audit import LINEAR
from attrkit.propagation.binding import Binding, Site, kind_of
from attrkit.propagation.calls import Call, Row
from attrkit.propagation.governing import Governing
from attrkit.propagation.made import made_by
from attrkit.propagation.modulepath import ModulePath
from attrkit.propagation.operations import live
from attrkit.propagation.recomputation import Recomputation
from attrkit.registry import registry
from attrkit.rulesets.vocabulary import ANY, GROUPS, members

#: For what an operation's own backward pass will do: ``homogeneous`` operations share relevance by contribution (LRP-0) by it,
#: ``linear`` ones hand on multipliers too.
Own = Literal["", "homogeneous", "linear"]


@attrs.define(eq=False)
class Choices:
    """The choices of one forward pass."""

    binding: Binding
    modules: ModulePath = attrs.field(factory=lambda: ModulePath({}))
    again: Recomputation = attrs.field(factory=Recomputation)
    report: list[Row] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    _warned: list[str] = attrs.field(factory=list)
    _sites: list[Site] = attrs.field(factory=list)
    _calls: Counter[tuple[str, str]] = attrs.field(factory=Counter)  # by operation and module
    _rank: int = 0

    @property
    def path(self) -> str:
        """The path of the running module."""
        return self.modules.path

    def governing(self, call: Call, x: Any, own: Own = "") -> Governing | None:
        """The rule for a call, noted in the report; None when it keeps its own backward pass."""
        if self.again.running:
            return self.again.decided(self.path, call.name)
        site = self.site(call.name, x)
        self._sites.append(site)
        found = self._found(site, call, own)
        self.again.decide(self.path, call.name, found)
        return found

    def closing(self, operation: str, x: Tensor) -> Governing | None:
        """What governs the running module as a whole."""
        if self.again.running:
            return self.again.decided(self.path, operation)
        site = self.site(operation, x)
        if not self.binding.about(site):
            return None
        self._sites.append(site)
        if (found := self.binding.governing(site)) is not None:
            self.report.append(Row(site.path, site.operation, found.rule.name, found.parameters, found.entry, found.origin))
        self.again.decide(self.path, operation, found)
        return found

    def merges(self, operation: str) -> bool:
        """Whether a batch norm is merged into the linear map before it: not one whose module asks for a rule of its own."""
        if "merge_batch_norm" not in self.binding.ruleset.canonize:
            return False
        return not self.binding.asks(Site(operation, self.path, self.modules.classes))

    def site(self, operation: str, x: Any) -> Site:
        """The next call of an operation in the running module."""
        reads_input = (made := made_by(x)) is not None and made.gated is not None
        path = self.path
        self._calls[where := (operation, path)] += 1
        rank, linear = self._rank, operation in GROUPS["linear_like"]
        self._rank += linear
        return Site(operation, path, self.modules.classes, self._calls[where] - 1, rank, reads_input)

    def _found(self, site: Site, call: Call, own: Own) -> Governing | None:
        found = self.binding.governing(site)
        if found is None and (offered := registry.manager.hook.attrkit_rule_for(operation=site.operation, path=site.path)):
            found = Governing(offered[0], dict(offered[1]), "attrkit_rule_for")
        if found is None and any(map(live, (*call.args, *call.kwargs.values()))):
            if own == "linear" or (own and self.binding.carries == "relevance"):
                self.report.append(Row(site.path, site.operation, "own gradient"))
            else:
                found = self.fall_back(site.operation, "no entry matches it")
        if found is not None:
            if ANY not in found.rule.operations and site.operation not in members(found.rule.operations):
                defined = ", ".join(sorted(found.rule.operations))
                self.problem(
                    site.operation, f"rule {found.rule.name!r} is not defined for it; it is for {defined}", found.origin
                )
            elif found.returns == "parts" and call.operation.parts is None:
                found = self.fall_back(site.operation, f"rule {found.rule.name!r}: it has no parts to be taken into")
        if found is not None:
            self.report.append(Row(site.path, site.operation, found.rule.name, found.parameters, found.entry, found.origin))
        return found

    def fall_back(self, operation: str, reason: str) -> Governing | None:
        """What the ruleset's fallback says about an operation without a rule."""
        kind = kind_of(operation)
        choice = getattr(self.binding.ruleset.fallback, kind)
        if choice == "pass":
            spec = registry.rule("pass")
            return Governing(spec, spec.resolve({}), f"fallback.{kind}")
        self.report.append(Row(self.path, operation, "own gradient", entry=f"fallback.{kind}"))
        if choice == "error":
            self.problem(operation, f"{reason}; add an entry for it, or set fallback.{kind}: gradient")
        elif choice == "warn":
            self._warned.append(f"no rule governs {operation} at {self.path or 'the model'}: {reason}")
        return None

    def problem(self, operation: str, text: str, origin: str = "") -> None:
        """Note what makes the ruleset unfit for this model."""
        ruleset = self.binding.ruleset
        self.problems.append(f"{origin or ruleset.origin or ruleset.name}: {operation} in {self.path or 'the model'}: {text}")

    def plan(self) -> None:
        """Settle the positions that depend on the whole pass, from the pass that was just made."""
        self.binding.plan(self._sites)

    def conclude(self, ungoverned: dict[str, int]) -> None:
        """Say what is wrong, with what the audit found too.

        Raises:
            UngovernedError: the ruleset's fallback for something that was found is ``error``.
        """
        ruleset = self.binding.ruleset
        for name, count in ungoverned.items():
            kind = "linear" if name in LINEAR else "unknown"
            choice = getattr(ruleset.fallback, kind)
            found = f"the model uses operation {name} ({count} times), which no rule can govern yet"
            if choice == "error":
                advice = f"set fallback.{kind}: warn to keep its own gradient"
                self.problems.append(f"{ruleset.origin or ruleset.name}: {found}; {advice}")
            elif choice == "warn":
                self._warned.append(f"{found}: its own gradient is kept")
        if self.problems:
            raise UngovernedError(list(dict.fromkeys(self.problems)))
        for text in dict.fromkeys(self._warned):
            warn(f"ruleset {ruleset.name}: {text}")
