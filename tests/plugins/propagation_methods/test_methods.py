"""What the methods that propagate promise beside their values: sums, passes, memory, places, messages, tables."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import RulesetError, UsageError
from tests.plugins.models import Residual, Reused, TwoInputs, built, cnn, draw, mlp, smooth_mlp

X, ROWS = draw(4, 6), draw(5, 6, seed=7)
METHODS = ["lrp", "deeplift", "deeplift_shap", "guided_backprop", "deconvnet"]


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


class Counting(nn.Module):
    """A net that notes how many rows each of its forward passes has; one of its modules never runs."""

    def __init__(self):
        super().__init__()
        self.lower = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU())
        self.unused, self.upper = nn.Linear(2, 2), nn.Linear(8, 3, bias=False)

    def forward(self, x):
        ROWS_SEEN.append(len(x))
        return self.upper(self.lower(x))


ROWS_SEEN: list[int] = []


# Relevance at every layer.


@pytest.mark.parametrize(("pattern", "names"), [("*", ["lower", "upper"]), ("**", ["lower", "lower.0", "lower.1", "upper"])])
def test_every_layer_s_relevance_comes_from_one_pass(explain, pattern, names):
    model = built(Counting)
    explain(model, X, "lrp", target=1)  # the copy is made
    ROWS_SEEN.clear()
    found = explain(model, X, "lrp", target=1, layers=pattern)
    assert ROWS_SEEN == [4]
    assert found.passes == {"forward": 1, "backward": 1}
    assert list(found.values) == names
    for name in names:
        same(found.values[name], explain(model, X, "lrp", target=1, layer=name).values[name], 1e-7)


def test_every_layer_s_contributions_come_from_two_passes(explain):
    model = built(Counting)
    ROWS_SEEN.clear()
    found = explain(model, X, "deeplift", target=1, layers="**")
    assert ROWS_SEEN == [1, 4]  # one row is the baseline of all
    assert found.passes == {"forward": 2, "backward": 1}
    assert float(found.delta.abs().max()) < 1e-12


def test_conservation(explain):
    model = built(Counting)
    found = explain(model, X, "lrp", target=1, layers="**", rules="captum_default")
    table = found.conservation()
    assert [row.layer for row in table] == list(found.values)
    assert len(table) == 4
    for row in table:
        assert row == table[row.layer]
        assert row.share == pytest.approx(1, abs=1e-6)
        assert row.relevance == pytest.approx(float(found.values[row.layer].sum()))
    one = found.conservation(2)
    assert one.output == pytest.approx(float(found.output[2]))
    assert one["lower.1"].relevance == pytest.approx(float(found.values["lower.1"][2].sum()))
    header, *lines = str(table).splitlines()
    assert header.split() == ["layer", "relevance", "share", "of", "the", "output"]
    assert lines[0].split()[::2] == ["lower", "100.00%"]
    assert lines[-1].split()[0] == "output"


def test_conservation_counts_all_tensors_of_a_layer_and_all_inputs_together(explain):
    model = built(lambda: Reused(bias=False))
    table = explain(model, draw(3, 4), "lrp", target=1, layers=["mix", "relu", "head"], rules="captum_default").conservation()
    assert [row.layer for row in table] == ["mix", "relu", "head"]
    assert table["mix"].share == pytest.approx(2, abs=1e-6)  # it runs twice
    found = explain(built(TwoInputs), (draw(3, 4), draw(3, 2, 3)), "deeplift", target=1).conservation()
    assert [(row.layer, row.share) for row in found] == [("inputs", pytest.approx(1))]


def test_conservation_of_what_explains_no_output(explain):
    pytest.importorskip("attrkit_gradients")
    model = built(mlp)
    with pytest.raises(UsageError, match="method 'activation' explains no output"):
        explain(model, X, "activation", layer="0").conservation()
    with pytest.raises(UsageError, match="example must be an integer below 4"):
        explain(model, X, "lrp", target=1).conservation(4)
    with pytest.raises(KeyError):
        explain(model, X, "lrp", target=1).conservation()["nowhere"]
    nothing = explain(nn.Sequential(nn.ReLU()), -X.abs(), "lrp", target=1).conservation()
    assert math.isnan(nothing["inputs"].share)


def test_none_is_every_layer_that_holds_no_other(attribute):
    model = built(Counting)
    values, deltas = attribute("LayerLRP", model, None)(X, 1, return_convergence_delta=True)
    for path, value in zip(("lower.0", "lower.1", "upper"), values, strict=True):
        same(value, attribute("LayerLRP", model, model.get_submodule(path))(X, 1), 1e-7)
    assert [d.shape for d in deltas] == [(4,)] * 3
    with pytest.raises(UsageError, match="layer is None.*plain function"):
        attrkit.attr.LayerLRP(lambda x: model(x), None).attribute(X, 1)
    with pytest.raises(UsageError, match="LayerDeepLift needs layer"):
        attrkit.attr.LayerDeepLift(model, None)


# DeepLIFT.


def test_deeplift_shap_is_the_mean_over_the_rows(explain):
    for factory, x, rows, layer in ((mlp, X, ROWS, "2"), (Residual, draw(2, 3, 8, 8), draw(3, 3, 8, 8, seed=5), "block1")):
        model = built(factory)
        for place in ({}, {"layer": layer}):
            found = explain(model, x, "deeplift_shap", baselines=rows, target=1, **place)
            each = [explain(model, x, "deeplift", baselines=row[None], target=1, **place) for row in rows]
            for name, values in found.values.items():
                same(values, sum(e.values[name] for e in each) / len(rows))
            same(found.baseline_output, sum(e.baseline_output for e in each) / len(rows))
            assert float(found.delta.abs().max()) < 1e-12


@pytest.mark.parametrize("size", [1, 3, 8, 21, None])
def test_no_pass_has_more_rows_than_allowed(explain, size):
    model, rows = built(Counting), draw(50, 6, seed=7)
    expected = explain(model, X, "deeplift_shap", baselines=rows, target=1)
    ROWS_SEEN.clear()
    found = explain(model, X, "deeplift_shap", baselines=rows, target=1, internal_batch_size=size)
    assert max(ROWS_SEEN) <= (size or 200)
    assert 200 + 50 <= sum(ROWS_SEEN) <= 2 * 200  # a row stands for all where they are the same
    same(found.values["x"], expected.values["x"])
    assert found.passes == {"forward": 100, "backward": 50}


def test_references_are_streamed():
    """However many rows there are, passes share no more of them than fit."""
    model, rows = built(Counting), draw(3000, 6, seed=7)
    ROWS_SEEN.clear()
    attrkit.explain(model, X, "deeplift_shap", baselines=rows, target=1, internal_batch_size=64)
    assert max(ROWS_SEEN) <= 64


def test_rows_of_several_inputs_belong_together(explain):
    model, x = built(TwoInputs), (draw(3, 4), draw(3, 2, 3))
    rows = (draw(4, 4, seed=7), draw(4, 2, 3, seed=8))
    found = explain(model, x, "deeplift_shap", baselines=rows, target=1)
    each = [explain(model, x, "deeplift", baselines=(rows[0][i : i + 1], rows[1][i : i + 1]), target=1) for i in range(4)]
    for name, values in found.values.items():
        same(values, sum(e.values[name] for e in each) / 4)


def test_several_targets_and_neurons(explain, untouched):
    model = built(mlp)
    for method, more in (("deeplift_shap", {"baselines": ROWS}), ("deeplift", {}), ("deconvnet", {}), ("guided_backprop", {})):
        found = attrkit.explain_each(model, X, method, targets=[0, [1, 2, 0, 1]], **more)
        for target, one in zip([0, [1, 2, 0, 1]], found, strict=True):
            alone = explain(model, X, method, target=target, **more)
            same(one.values["input"], alone.values["input"])
        found = attrkit.explain_each(model, X, method, neurons=[0, 3], layer="2", **more)
        for neuron, one in zip([0, 3], found, strict=True):
            same(one.values["input"], explain(model, X, method, layer="2", neuron=neuron, **more).values["input"])


def test_custom_functions_that_do_not_fit():
    deeplift = attrkit.attr.DeepLift(built(mlp))
    for function, text in (
        (3, "custom_attribution_func must be a function, got int"),
        (lambda: (), "custom_attribution_func takes 0 arguments"),
        (lambda a, b, c, d: a, "custom_attribution_func takes 4 arguments"),
        (lambda m: m[0], "must return a tuple with one tensor for each of the multipliers"),
        (lambda m: (*m, *m), "must return a tuple with one tensor for each of the multipliers"),
    ):
        with pytest.raises(AssertionError, match=text):
            deeplift.attribute(X, target=1, custom_attribution_func=function)


def test_eps_is_the_ruleset_s_parameter(explain):
    model, x = built(smooth_mlp), draw(3, 5)
    found = explain(model, x, "deeplift", target=1, eps=0.3)
    same(found.values["input"], explain(model, x, "deeplift", target=1, parameters={"eps": 0.3}).values["input"])
    assert any(row["parameters"].get("eps") == 0.3 for row in found.rules)


def test_other_rulesets(explain):
    model = built(mlp)
    cancelling = explain(model, X, "deeplift", target=1, rules="deeplift_reveal_cancel")
    assert float(cancelling.delta.abs().max()) < 1e-12
    assert any(row["rule"] == "reveal_cancel" for row in cancelling.rules)
    shap = explain(model, X, "deeplift_shap", target=1, rules="deeplift_reveal_cancel", baselines=ROWS)
    assert float(shap.delta.abs().max()) < 1e-12
    with pytest.raises(RulesetError, match="compares with no reference"):
        explain(model, X, "deeplift_shap", target=1, rules="epsilon_plus", baselines=ROWS)


def test_wrapped_in_noise(explain):
    pytest.importorskip("attrkit_gradients")
    model = built(mlp)
    for method in ("deeplift", "guided_backprop", "lrp"):
        found = explain(model, X, f"noise_tunnel({method})", target=1, stdevs=0.0, nt_samples=3)
        same(found.values["input"], explain(model, X, method, target=1).values["input"])
    rows = draw(5, 6, seed=7)
    found = explain(model, X, "noise_tunnel(deeplift_shap)", target=1, stdevs=0.0, nt_samples=2, baselines=rows)
    same(found.values["input"], explain(model, X, "deeplift_shap", target=1, baselines=rows).values["input"])


# All of them.


@pytest.mark.parametrize("method", METHODS)
def test_verbose_prints_what_governed_each_operation(attribute, capsys, method):
    name = {"lrp": "LRP", "deeplift": "DeepLift", "deeplift_shap": "DeepLiftShap", "deconvnet": "Deconvolution"}
    more = {"baselines": ROWS} if method == "deeplift_shap" else {}
    attribute(name.get(method, "GuidedBackprop"), built(mlp))(X, target=1, verbose=True, **more)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows][:5] == ["0", "1", "2", "3", "4"] or method in ("guided_backprop", "deconvnet")
    assert any("relu" in row for row in rows)


@pytest.mark.parametrize("method", METHODS)
def test_places(explain, method):
    model, images = built(cnn), draw(2, 2, 8, 8)
    more = {"baselines": draw(3, 2, 8, 8, seed=5)} if method == "deeplift_shap" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for place in ({}, {"layer": "4"}, {"layer": "4", "attribute_to_layer_input": True}):
            values = explain(model, images, method, target=1, **place, **more).values
            assert all(bool(v.isfinite().all()) and bool(v.any()) for v in values.values())
        assert explain(model, images, method, layer="4", neuron=(1, 2, 2), **more).values["input"].shape == images.shape


@pytest.mark.parametrize("rules", ["ruleset", "path", "mapping", "value"])
def test_every_kind_of_ruleset(explain, tmp_path, rules):
    document = {"schema": "attrkit/ruleset@1", "name": "mine", "extends": ["epsilon_plus"], "rules": []}
    file = tmp_path / "mine.yaml"
    file.write_text("schema: attrkit/ruleset@1\nname: mine\nextends: [epsilon_plus]\n")
    given = {"ruleset": "epsilon_plus", "path": file, "mapping": document, "value": None}[rules]
    if given is None:
        from attrkit.registry import registry
        from attrkit.rulesets.reader import read_ruleset

        given = read_ruleset("epsilon_plus", registry)
    model = built(mlp)
    expected = explain(model, X, "lrp", target=1, rules="epsilon_plus").values["input"]
    same(explain(model, X, "lrp", target=1, rules=given).values["input"], expected)
    same(attrkit.attr.LRP(model).attribute(X, 1, rules=given), expected)
