"""The conformance kit has nothing to say against correct plugins, however they are written."""

from __future__ import annotations

import pytest

from attrkit import PlacementSpec, ReplacementSpec, RuleSpec, WrapperSpec
from attrkit.specs import MethodSpec
from attrkit.testing.conformance import verdicts
from tests.kit import variants, variants_of_parts, variants_of_placements, variants_of_wrappers

METHODS = [name for name, each in vars(variants).items() if isinstance(each, MethodSpec)]
PARTS = {name: each for name, each in vars(variants_of_parts).items() if not name.startswith("_")}
RULES = [name for name, each in PARTS.items() if isinstance(each, RuleSpec)]
REPLACEMENTS = [name for name, each in PARTS.items() if isinstance(each, ReplacementSpec)]
EXECUTORS = ["OneByOne", "FewAhead"]
WRAPPERS = {name: each for name, each in vars(variants_of_wrappers).items() if isinstance(each, WrapperSpec)}
PLACEMENTS = {name: each for name, each in vars(variants_of_placements).items() if isinstance(each, PlacementSpec)}


@pytest.mark.parametrize("name", METHODS)
def test_a_correct_method_passes_every_check(name):
    passes(getattr(variants, name), "method")


@pytest.mark.parametrize("name", RULES)
def test_a_correct_rule_passes_every_check(name):
    passes(PARTS[name], "rule")


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_correct_replacement_passes_every_check(name):
    passes(PARTS[name], "replacement")


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_correct_executor_passes_every_check(name):
    passes(PARTS[name], "executor")


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_correct_wrapper_passes_every_check(name):
    passes(WRAPPERS[name], "wrapper")


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_correct_placement_passes_every_check(name):
    passes(PLACEMENTS[name], "placement")


def test_there_are_enough():
    assert len(WRAPPERS) >= 4
    assert len(PLACEMENTS) >= 3
    assert len(METHODS) >= 20
    assert len(RULES) >= 5
    assert len(REPLACEMENTS) >= 4


def passes(plugin, kind):
    """Every check of its kind finds nothing wrong."""
    failed = {f"{v.place}: {v.check.name}": v.error for v in verdicts(plugin, kind=kind) if v.error is not None}
    assert not failed, "\n".join(f"{check}: {type(error).__name__}: {error}" for check, error in failed.items())
