"""Owen values against all orders that keep groups together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attrkit import explain
from attrkit.errors import ModelError, UsageError, UsageTypeError
from tests.plugins.models import TwoInputs, built, cnn, draw, mlp
from tests.plugins.perturbation.tabulated import model_of, owen_of, shapley_of, table, tables

GROUPS = [[0, 2], [1, 4, 5], [3]]


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def owen(values, **options):
    count = len(values).bit_length() - 1
    return explain(model_of(values), torch.ones(1, count).double(), "owen", **options)


@given(tables(), st.data())
@settings(max_examples=40, deadline=None)
def test_exact_for_any_game_and_groups(values, data):
    count = len(values).bit_length() - 1
    group = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    groups = [[i for i in range(count) if group[i] == g] for g in range(3)]
    found = owen(values, groups=[g for g in groups if g])
    same(found.values["input"][0], owen_of(values, [g for g in groups if g]).T)
    assert found.details["estimator"] == "exact"
    same(found.delta, torch.zeros_like(found.delta))


def test_it_costs_what_the_coalitions_of_one_group_in_parts_cost(explain):
    values = table(6)
    found = explain(model_of(values), torch.ones(1, 6).double(), "owen", groups=GROUPS)
    assert found.details["evaluations"] == 2**3 + 4 * (2**2 - 2) + 4 * (2**3 - 2) + 4 * (2**1 - 2)
    same(found.values["input"][0], owen_of(values, GROUPS).T)


def test_without_groups_or_in_one_they_are_shapley_values():
    values = table(5)
    expected = shapley_of(values).T
    same(owen(values).values["input"][0], expected)
    same(owen(values, groups=[[0, 1, 2, 3, 4]]).values["input"][0], expected)


def test_groups_may_be_a_mask_or_leave_features_alone():
    values = table(6)
    expected = owen(values, groups=GROUPS).values["input"]
    for given_ in (torch.tensor([7, 3, 7, 0, 3, 3]), [[0, 2], [1, 4, 5]], ((5, 1, 4), (2, 0)), [[0, 2], [1, 4, 5], [3], []]):
        same(owen(values, groups=given_).values["input"], expected)


def test_groups_of_features_across_tensors(explain):
    point = (draw(2, 4, seed=1), draw(2, 2, 3, seed=2))
    mask = (torch.tensor([[0, 0, 3, 9]]), torch.tensor([[[3, 3, 7], [8, 8, 8]]]))
    coarse = (torch.tensor([[1, 1, 1, 5]]), torch.tensor([[[1, 1, 5], [6, 6, 6]]]))
    by_mask = explain(built(TwoInputs), point, "owen", target=1, feature_mask=mask, groups=coarse)
    by_list = explain(built(TwoInputs), point, "owen", target=1, feature_mask=mask, groups=[[0, 1], [2, 4]])
    same(tuple(by_mask.values.values()), tuple(by_list.values.values()))


@given(st.integers(0, 4), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_sampled_ones_add_up_and_null_features_get_nothing(null, seed):
    values = table(6, seed=seed % 1000)
    without = torch.arange(64) & ~(1 << null)
    found = owen(values[without], groups=GROUPS, n_samples=22, seed=seed)
    assert found.details["estimator"] == "antithetic orders"
    same(found.values["input"][0].sum(1), values[without][-1] - values[without][0])
    assert not found.values["input"][0, :, null].any()


def test_symmetric_features_get_the_same_on_average_and_errors_are_right():
    values = table(6)
    truth = owen_of(values, GROUPS).T
    each = [owen(values, groups=GROUPS, n_samples=32, seed=s) for s in range(200)]
    found = torch.stack([e.values["input"][0] for e in each])
    assert ((found.mean(0) - truth).abs() < 4.5 * found.std(0) / 200**0.5 + 1e-9).all()
    claimed = torch.stack([e.errors["input"][0] for e in each]).square().mean()
    assert 0.8 < float((claimed / (found - truth).square().mean()).sqrt()) < 1.25
    assert max(e.details["evaluations"] for e in each) <= 32
    assert each[0].details["degrees_of_freedom"] == 3


@pytest.mark.parametrize("n", [1000, 2 + 3 + 3 * 10, 70, 24])
def test_over_a_background(explain, n):
    x, background = draw(1, 6, seed=1), draw(3, 6, seed=2)

    def forward(x):
        return torch.tanh(x).prod(1) + x[:, :3].sum(1) ** 2

    each = [explain(forward, x, "owen", groups=GROUPS, baselines=row[None]).values["x"] for row in background]
    found = explain(forward, x, "owen", groups=GROUPS, background=background, n_samples=n)
    assert found.details["evaluations"] <= n
    same(found.delta, torch.zeros(1).double())
    if n == 1000:
        same(found.values["x"], torch.stack(each).mean(0))
    if n > 24:  # enough for every row
        same(found.values["x"].sum(), forward(x).sum() - forward(background).mean())


def test_a_replacement_that_draws(explain):
    x, w = draw(1, 4, seed=1), draw(4, seed=3)

    def noise(problem):
        return lambda numbers: (torch.stack([0.1 * draw(1, 4, seed=int(i)) for i in numbers]),)

    found = explain(lambda x: x @ w, x, "owen", replacement=noise, n_samples=600)
    assert ((found.values["x"] - w * x).abs() < 0.1).all()
    same(found.delta, torch.zeros(1).double())


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("n", [60, 5000])
def test_the_number_of_rows_changes_nothing(explain, rows, n):
    model, x = built(cnn), draw(3, 2, 8, 8)
    mask = torch.arange(64).reshape(8, 8) // 6
    options = {"target": 1, "feature_mask": mask, "groups": mask // 2, "n_samples": n}
    found = explain(model, x, "owen", internal_batch_size=rows, **options)
    same(found.values["input"], explain(model, x, "owen", **options).values["input"])


def test_layers_neurons_and_outputs(explain):
    model, x, groups = built(mlp), draw(2, 6), [[0, 1, 2], [4, 5]]
    v = model[:2](x).detach()
    by_layer = explain(model, x, "owen", layer="1", target=1, groups=groups).values["1"]
    same(by_layer, explain(lambda v: model[2:](v), v, "owen", target=1, groups=groups).values["v"])
    by_neuron = explain(model, x, "owen", layer="1", neuron=2, groups=groups).values["input"]
    same(by_neuron, explain(lambda x: model[:2](x)[:, 2], x, "owen", groups=groups).values["x"])
    every = explain(model, x, "owen", groups=groups, n_samples=24).values["input"]
    same(every[:, 1], explain(model, x, "owen", groups=groups, n_samples=24, target=1).values["input"])


def test_features_that_do_not_matter_leave_their_groups(explain):
    x = torch.tensor([[0.0, 2.0, 0.0, 3.0]]).double()
    found = explain(lambda x: x.prod(1) + x[:, 1] * x[:, 3], x, "owen", groups=[[0, 2], [1, 3]])
    same(found.values["x"], torch.tensor([[0.0, 3.0, 0.0, 3.0]]).double())
    assert found.details["evaluations"] == 4


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"groups": [[0, 6]]}, UsageError, "features are numbered from 0 to 5"),
        ({"groups": [[0, -1]]}, UsageError, "features are numbered from 0 to 5"),
        ({"groups": [[0, 1], [1, 2]]}, UsageError, "a feature is named twice"),
        ({"groups": [0, 1]}, UsageTypeError, "groups must be lists of features' numbers, or a mask"),
        ({"groups": [["a"]]}, UsageTypeError, "groups must be lists of features' numbers, or a mask"),
        ({"feature_mask": torch.tensor([0, 0, 1, 1, 2, 2]), "groups": torch.tensor([0, 0, 0, 1, 1, 1])}, UsageError,
         "feature 1 is in several groups"),
        ({"n_samples": 11}, UsageError, "n_samples=11 is too small: an order of 6 features and the same backwards take 12"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(explain, given, error, message):
    with pytest.raises(error, match=message):
        explain(built(mlp), draw(1, 6), "owen", target=0, **given)


def test_what_is_not_finite_is_refused_with_how_many(explain):
    with pytest.raises(ModelError, match=r"NaN or infinity for \d+ of \d+ coalitions"):
        explain(lambda x: x.sum(1) / x[:, 0], torch.ones(1, 4), "owen")
