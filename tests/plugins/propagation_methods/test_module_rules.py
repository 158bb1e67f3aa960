"""Rules as attributes of modules: which operations they govern, that they stay where they are, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrkit
from attrkit.attr import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule, PropagationRule
from attrkit.errors import RulesetError, UsageError
from tests.plugins.models import built, cnn, draw, mlp, smooth_mlp

X = draw(4, 6)


def report(explain, model, x=X, **given):
    """What governed each operation, by the path of its module."""
    rows = explain(model, x, "lrp", target=1, **given).rules
    return {row["path"]: (row["rule"], row["entry"]) for row in rows}


def test_a_rule_governs_its_module_and_the_ruleset_all_others(explain):
    model = built(mlp)
    model[2].rule = GammaRule(gamma=0.5)
    found = report(explain, model, rules="epsilon_plus")
    assert found == {
        "0": ("epsilon", "dense"),
        "1": ("pass", "activations"),
        "2": ("gamma_positive", "2.rule"),
        "3": ("pass", "activations"),
        "4": ("epsilon", "dense"),
    }
    assert model[2].rule.gamma == 0.5


@pytest.mark.parametrize(
    ("rule", "entry"),
    [
        (EpsilonRule(0.3), {"rule": "epsilon", "with": {"epsilon": 0.3}}),
        (GammaRule(0.5), {"rule": "gamma_positive", "with": {"gamma": 0.5, "stabilizer": 1e-9}}),
        (
            GammaRule(0.5, set_bias_to_zero=True),
            {"rule": "gamma_positive", "with": {"gamma": 0.5, "stabilizer": 1e-9, "bias": "zero"}},
        ),
        (Alpha1_Beta0_Rule(), {"rule": "weights_plus", "with": {"stabilizer": 1e-9}}),
    ],
    ids=repr,
)
def test_a_rule_is_the_entry_that_it_stands_for(explain, rule, entry):
    plain, marked = built(mlp), built(mlp)
    marked[2].rule = rule
    ruleset = {
        "schema": "attrkit/ruleset@1",
        "name": "mine",
        "extends": ["captum_default"],
        "rules": [{"id": "mine", "match": {"path": "2"}, **entry}],
    }
    found = explain(marked, X, "lrp", target=1, rules="captum_default").values["input"]
    torch.testing.assert_close(found, explain(plain, X, "lrp", target=1, rules=ruleset).values["input"], rtol=1e-12, atol=1e-15)


def test_a_rule_that_is_edited_is_another_one(explain):
    model = built(mlp)
    model[0].rule = EpsilonRule(1e-9)
    before = explain(model, X, "lrp", target=1).values["input"]
    model[0].rule.STABILITY_FACTOR = 1.0
    after = explain(model, X, "lrp", target=1).values["input"]
    assert not torch.allclose(before, after)
    del model[0].rule
    assert torch.allclose(explain(model, X, "lrp", target=1, rules="captum_default").values["input"], before, atol=1e-6)


def test_the_innermost_module_decides(explain):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.weight = nn.Linear(6, 6), nn.Parameter(torch.randn(3, 6))

        def forward(self, x):
            return nn.functional.linear(self.inner(x), self.weight)

    model = built(Outer)
    model.rule = EpsilonRule(0.25)
    assert report(explain, model, rules="epsilon_plus") == {"": ("epsilon", "model.rule"), "inner": ("epsilon", "dense")}
    model.inner.rule = Alpha1_Beta0_Rule()
    assert report(explain, model, rules="epsilon_plus")["inner"] == ("weights_plus", "inner.rule")


def test_a_batch_norm_with_a_rule_is_not_merged(explain):
    model, images = built(lambda: cnn(batch_norm=True)), draw(2, 2, 8, 8)
    assert report(explain, model, images, rules="epsilon_plus")["1"][0] == "merged into 0"
    model[1].rule = IdentityRule()
    assert report(explain, model, images, rules="epsilon_plus")["1"] == ("unchanged", "1.rule")
    assert report(explain, model, images, rules="epsilon_plus")["5"][0] == "merged into 4"


def test_only_relevance_is_governed_by_them(explain):
    plain, marked = built(smooth_mlp), built(smooth_mlp)
    for module in marked:
        module.rule = EpsilonRule(0.5)
    x = draw(3, 5)
    for method in ("deeplift", "guided_backprop", "deconvnet"):
        assert torch.equal(*(explain(m, x, method, target=1).values["input"] for m in (plain, marked)))


def test_weights_computed_by_a_parametrization():
    class Flipped(PropagationRule):
        def _manipulate_weights(self, module, inputs, outputs):
            module.weight.data = -module.weight.data
            module.bias.data = -module.bias.data

    model = built(lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))))
    before = attrkit.explain(model, X, "lrp", target=1, rules="captum_default").values["input"]
    model[0].rule = Flipped()
    found = attrkit.explain(model, X, "lrp", target=1, rules="captum_default").values["input"]
    torch.testing.assert_close(
        found, before, rtol=1e-6, atol=1e-9
    )  # of the opposite of all contributions each has the same share


def test_what_is_no_rule_is_refused():
    model = built(mlp)
    for wrong, got in (("epsilon", "str"), (EpsilonRule, "the class EpsilonRule")):
        model[2].rule = wrong
        with pytest.raises(TypeError, match=f"attribute rule of module '2' must be a PropagationRule.*got {got}"):
            attrkit.explain(model, X, "lrp", target=1)
        attrkit.explain(model, X, "deeplift", target=1)  # which looks at none


def test_hooks_of_a_subclass_are_refused_with_what_to_write_instead():
    class Hooking(EpsilonRule):
        def forward_hook(self, module, inputs, outputs):
            return outputs

    model = built(mlp)
    model[2].rule = Hooking()
    with pytest.raises(UsageError, match=r"Hooking overrides forward_hook.*_manipulate_weights.*@attrkit.rule\('hooking'\)"):
        attrkit.explain(model, X, "lrp", target=1)


def test_relevance_that_does_not_fit_is_not_handed_on():
    model = built(mlp)
    model[4].rule = IdentityRule()
    with pytest.raises(UsageError, match=r"IdentityRule\) at linear in '4': relevance of shape \(4, 3\)"):
        attrkit.explain(model, X, "lrp", target=1)


def test_a_base_without_weights_to_change_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        PropagationRule()


def test_the_declared_rule_is_for_objects_only(explain):
    ruleset = {
        "schema": "attrkit/ruleset@1",
        "name": "mine",
        "rules": [{"id": "all", "match": {"op": "linear"}, "rule": "manipulated"}],
        "fallback": {"nonlinear": "pass"},
    }
    with pytest.raises(UsageError, match="'manipulated' is for objects on modules"):
        attrkit.explain(built(mlp), X, "lrp", target=1, rules=ruleset)


def test_operations_that_no_rule_object_is_about_stay_with_the_ruleset():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.one(x) * self.other(x)

    model = built(Product)
    model.rule = EpsilonRule()
    with pytest.raises(RulesetError, match="mul in the model: no entry matches it"):
        attrkit.explain(model, X, "lrp", target=1, rules="captum_default")
