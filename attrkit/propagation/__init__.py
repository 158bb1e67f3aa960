"""Replacing the backward passes of operations by declared rules, on models as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import attrs
from torch import nn

from attrkit.propagation.binding import Binding
from attrkit.propagation.calls import Row as Row
from attrkit.propagation.families import SHIPPED
from attrkit.propagation.operations import Operation, by_function
from attrkit.propagation.rewriter import Rewriter as Rewriter
from attrkit.propagation.tape import OtherRowsError as OtherRowsError
from attrkit.registry import registry
from attrkit.rulesets.reader import read_ruleset
from attrkit.rulesets.ruleset import SCHEMA, Entry, Ruleset
from attrkit.rulesets.sources import SUFFIXES
from attrkit.rulesets.values import settled


def bound(source: Any, parameters: Mapping[str, Any], root: nn.Module | None = None) -> Rewriter:
    """The rewriter for a ruleset: a name, a file, a mapping or a Ruleset, with values for its parameters.

    What modules of ``root`` ask for themselves, as plugins tell it, comes before the ruleset's own entries.

    Raises:
        RulesetError: the ruleset is not valid; every problem is listed.
    """
    names, functions = _looked_up(operations())
    ruleset = settled(_read(source, names), parameters)
    binding = Binding(ruleset)
    if root is not None and (asked := _asked(root, binding.carries, names)):
        binding = Binding(attrs.evolve(ruleset, entries=(*asked, *ruleset.entries)), len(asked))
    _ = binding.carries  # refuses rules that do not fit together
    return Rewriter(binding, functions)


@lru_cache(maxsize=4)
def _looked_up(known: tuple[Operation, ...]) -> tuple[frozenset[str], Mapping[Callable[..., Any], Operation]]:
    """The names of operations, and the operation of each function."""
    return frozenset(operation.name for operation in known), by_function(known)


def _read(source: Any, operations: frozenset[str]) -> Ruleset:
    """A ruleset; one that a plugin ships is read once, as long as the plugins stay the same."""
    if not isinstance(source, str) or source.endswith(SUFFIXES) or "/" in source or os.sep in source:
        return read_ruleset(source, registry, operations=operations)
    key = (source, operations, tuple((name, id(plugin)) for name, plugin in registry.manager.list_name_plugin()))
    if key not in _known:
        if len(_known) >= _MOST:
            _known.clear()
        _known[key] = read_ruleset(source, registry, operations=operations)
    return _known[key]


_MOST = 64
_known: dict[Any, Ruleset] = {}


def _asked(root: nn.Module, carries: str, operations: frozenset[str]) -> tuple[Entry, ...]:
    """The entries that modules ask for."""
    offered = registry.manager.hook.attrkit_entries(modules=dict(root.named_modules()), carries=carries)
    if not (entries := [entry for each in offered for entry in each]):
        return ()
    document = {"schema": SCHEMA, "name": "modules", "rules": entries}
    read = read_ruleset(document, registry, operations=operations).entries
    return tuple(attrs.evolve(entry, origin=entry.id) for entry in read)


def operations() -> tuple[Operation, ...]:
    """Every operation that rules can govern, those of plugins last."""
    registry.load_all()
    return (*SHIPPED, *(operation for offered in registry.manager.hook.attrkit_operations() for operation in offered))
