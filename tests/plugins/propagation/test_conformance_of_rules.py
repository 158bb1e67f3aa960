"""Every promise of our rules and rulesets, by attrkit's own conformance kit."""

from __future__ import annotations

import pytest

from attrkit.registry import registry
from attrkit.testing.conformance import verdicts

_BOX = {"low": -3.0, "high": 3.0}
#: What some need to be used at all.
OPTIONS = {"zbox": _BOX, "epsilon_gamma_box": _BOX, "montavon_vgg": _BOX}
#: Rules that are not checked by themselves, and why.
LEFT_OUT = {"manipulated": "only objects on modules ask for it, which hand it their module; tests of these are in test_modules"}
BIASED = ("epsilon", "gamma", "gamma_positive", "weights_plus", "zplus", "alphabeta", "wsquare")


@pytest.mark.parametrize("name", sorted(registry.all("rules").keys() - LEFT_OUT.keys()))
def test_a_rule_keeps_its_promises(name):
    keeps(name, OPTIONS.get(name), "rule")


@pytest.mark.parametrize("bias", ["zero", "distribute"])
@pytest.mark.parametrize("name", BIASED)
def test_a_rule_keeps_its_promises_whatever_becomes_of_biases(name, bias):
    keeps(name, {"bias": bias}, "rule")


@pytest.mark.parametrize("name", registry.rulesets())
def test_a_ruleset_keeps_its_promises(name):
    keeps(name, OPTIONS.get(name), "ruleset")


def test_every_rule_that_has_a_choice_of_biases_is_tried_with_each():
    choices = {"absorb", "zero", "distribute"}
    having = {
        name for name in registry.all("rules") for o in registry.rule(name).options if o.name == "bias" and o.default in choices
    }
    assert having - {"zbox"} == set(BIASED)  # to which it makes no difference


def keeps(name, options, kind):
    """Every check finds nothing wrong."""
    failed = {v.check.name: v.error for v in verdicts(name, options, kind=kind) if v.error is not None}
    assert not failed
