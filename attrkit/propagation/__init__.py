"""Replacing the backward passes of operations by declared rules, on models as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrkit.propagation.binding import Binding
from attrkit.propagation.calls import Row as Row
from attrkit.propagation.operations import SHIPPED, Operation, by_function
from attrkit.propagation.rewriter import Rewriter as Rewriter
from attrkit.registry import registry
from attrkit.rulesets.reader import read_ruleset
from attrkit.rulesets.values import settled


def bound(source: Any, parameters: Mapping[str, Any]) -> Rewriter:
    """The rewriter for a ruleset: a name, a file, a mapping or a Ruleset, with values for its parameters.

    Raises:
        RulesetError: the ruleset is not valid; every problem is listed.
    """
    known = operations()
    ruleset = read_ruleset(source, registry, operations=frozenset(o.name for o in known))
    binding = Binding(settled(ruleset, parameters))
    _ = binding.carries  # refuses rules that do not fit together
    return Rewriter(binding, by_function(known))


def operations() -> tuple[Operation, ...]:
    """Every operation that rules can govern, those of plugins last."""
    registry.load_all()
    return (*SHIPPED, *(operation for offered in registry.manager.hook.attrkit_operations() for operation in offered))
