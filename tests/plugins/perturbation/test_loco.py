"""LOCO: the excess of the model's error where a covariate is left out."""

from __future__ import annotations

import pytest
import torch

import attrkit
from attrkit.errors import UsageError, UsageTypeError
from attrkit.registry import registry
from tests.plugins.models import TwoInputs, built, draw, mlp


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def excess(value, x, truth, rows):
    """The definition, one column and one row of the background at a time."""
    found = torch.zeros_like(x)
    for j in range(x.shape[1]):
        without = []
        for row in rows:
            moved = x.clone()
            moved[:, j] = row[j]
            without.append(value(moved))
        found[:, j] = (truth - torch.stack(without).mean(0)).abs() - (truth - value(x)).abs()
    return found


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("given", [torch.Tensor.tolist, lambda t: t, lambda t: t.float()], ids=["list", "double", "float"])
def test_against_the_definition(explain, rows, given):
    model, x, background, truth = built(mlp), draw(3, 6), draw(rows, 6, seed=4), torch.tensor([0.5, -1.0, 2.0]).double()
    expected = excess(lambda x: model(x)[:, 1].detach(), x, truth, background)
    found = explain(model, x, "loco", target=1, truth=given(truth), background=background)
    same(found.values["input"], expected)
    if rows == 1:
        same(explain(model, x, "loco", target=1, truth=truth, baselines=background).values["input"], expected)


def test_without_a_truth_the_output_stands_for_it(explain):
    model, x = built(mlp), draw(3, 6)
    found = explain(model, x, "loco", target=1).values["input"]
    same(found, explain(model, x, "feature_ablation", target=1).values["input"].abs())
    assert (found >= 0).all()


def test_a_covariate_that_misleads_is_negative(explain):
    x = torch.ones(1, 2)
    found = explain(lambda x: x[:, 0] - x[:, 1], x, "loco", truth=[1.0]).values["x"]
    assert found.tolist() == [[1.0, -1.0]]  # without the first, -1 is farther from 1; without the second, 1 is right


def test_several_outputs(explain):
    model, x, truth = built(mlp), draw(3, 6), draw(3, 3, seed=2)
    found = explain(model, x, "loco", truth=truth).values["input"]
    each = [explain(model, x, "loco", target=t, truth=truth[:, t]).values["input"] for t in range(3)]
    same(found, torch.stack(each, 1))


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_rows_of_the_truth_follow_their_examples(explain, rows):
    model, x, truth = built(mlp), draw(5, 6), draw(5, seed=2)
    alone = [explain(model, x[i : i + 1], "loco", target=1, truth=truth[i : i + 1]).values["input"] for i in range(5)]
    found = explain(model, x, "loco", target=1, truth=truth, internal_batch_size=rows).values["input"]
    same(found, torch.cat(alone))
    both = attrkit.explain_each(model, x, "loco", targets=[1, 0], truth=truth)
    same(both[0].values["input"], found)
    same(both[1].values["input"], explain(model, x, "loco", target=0, truth=truth).values["input"])


def test_within_a_noise_tunnel(explain):
    pytest.importorskip("attrkit_gradients")
    model, x, truth = built(mlp), draw(4, 6), draw(4, seed=2)
    options = {"target": 1, "truth": truth, "nt_samples": 3, "stdevs": 0.1}
    method = registry.wrapper("noise_tunnel").around(registry.method("loco"))
    whole, parts = (attrkit.explain(model, x, method, **options, nt_samples_batch_size=n).values["input"] for n in (None, 1))
    same(whole, parts)
    still = attrkit.explain(model, x, method, **{**options, "stdevs": 0.0}).values["input"]
    same(still, explain(model, x, "loco", target=1, truth=truth).values["input"])


def test_groups_layers_neurons_and_one_number_for_the_batch(explain):
    model, x = built(mlp), draw(3, 6)
    v, truth = model[:2](x).detach(), draw(3, seed=2)
    found = explain(model, x, "loco", layer="1", target=1, truth=truth).values["1"]
    same(found, excess(lambda v: model[2:](v)[:, 1].detach(), v, truth, torch.zeros(1, 8)))
    found = explain(model, x, "loco", layer="1", neuron=2, truth=truth).values["input"]
    same(found, excess(lambda x: model[:2](x)[:, 2].detach(), x, truth, torch.zeros(1, 6)))
    both = explain(built(TwoInputs), (draw(2, 4), draw(2, 2, 3)), "loco", target=0, truth=[0, 1], feature_mask=(
        torch.tensor([[0]]), torch.tensor([[[1]]])
    )).values  # fmt: skip
    assert [len(v.unique(dim=1).squeeze()) for v in both.values()] == [2, 2]
    assert explain(lambda x: x.sum(), x, "loco", truth=[0.0]).values["x"].shape == (1, 6)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"truth": [1.0, 2.0]}, UsageError, r"truth has shape \(2,\), but what is explained has shape \(3,\)"),
        ({"truth": torch.zeros(3, 2)}, UsageError, r"truth has shape \(3, 2\), but what is explained has shape \(3,\)"),
        ({"truth": 1.0}, UsageError, r"truth has shape \(\), but what is explained has shape \(3,\)"),
        ({"truth": "ones"}, UsageTypeError, "truth must be a tensor with a number for each example, got str"),
        ({"truth": [0.0] * 3, "target": None}, UsageError, r"explained has shape \(3, 3\); .* a target where the model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(explain, given, error, message):
    with pytest.raises(error, match=message):
        explain(built(mlp), draw(3, 6), "loco", **{"target": 0, **given})
