"""Banzhaf values against enumeration, and how well they are estimated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from attrkit import explain
from attrkit.errors import AttrkitWarning, ModelError, UsageError
from attrkit.registry import registry
from tests.plugins.models import TwoInputs, built, cnn, draw, mlp
from tests.plugins.perturbation.tabulated import coalitions, model_of, table, tables


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def banzhaf_of(values):
    """The mean with a feature minus the mean without, shape (count, outputs)."""
    z = coalitions(len(values).bit_length() - 1)
    return ((2 * z - 1)[:, :, None] * values[:, None]).mean(0) * 2


def scores(values, name="banzhaf", **options):
    count = len(values).bit_length() - 1
    return explain(model_of(values), torch.ones(1, count).double(), name, **options)


@given(tables())
@settings(max_examples=40, deadline=None)
def test_exact_where_the_budget_covers_all_coalitions(values):
    found = scores(values, n_samples=32)
    same(found.values["input"][0], banzhaf_of(values).T)
    assert found.details["estimator"] == "exact"
    assert not found.errors


def test_evaluations_are_counted(explain):
    values = table(6)
    found = explain(model_of(values), torch.ones(1, 6).double(), "banzhaf", n_samples=64)
    assert found.details["evaluations"] == 64
    assert found.passes["forward"] == 64
    less = explain(model_of(values), torch.ones(1, 6).double(), "banzhaf", n_samples=40)
    assert less.details["evaluations"] <= 40


@pytest.mark.parametrize("n", [12, 20, 200])
def test_null_features_get_nothing_and_additive_games_are_exact(n):
    weight = draw(7, seed=3)
    weight[2] = 0
    found = explain(lambda x: x @ weight, torch.ones(2, 7).double(), "banzhaf", n_samples=n)
    if n > 20:
        same(found.values["x"], weight.expand(2, 7))
    errors = found.errors.get("x", torch.zeros(2, 7))
    assert ((found.values["x"] - weight).abs() <= 6 * errors + 1e-9).all()


@pytest.mark.parametrize(("n", "estimator"), [(16, "sample reuse"), (40, "regression")])
@pytest.mark.parametrize("count", [7, 21])
def test_estimates_are_right_on_average_and_know_their_error(n, estimator, count):
    if count == 7:
        values = table(7)
        model, truth = model_of(values), banzhaf_of(values).T
    else:  # above this many features coalitions are drawn one by one
        n, w = 3 * n, draw(21, seed=5)
        model, truth = (lambda x: (x @ w)[:, None] + 3 * x[:, :1] * x[:, 1:2]), w[None].clone()
        truth[0, :2] += 1.5
    x = torch.ones(1, count).double()
    each = [explain(model, x, "banzhaf", n_samples=n, seed=s) for s in range(200)]
    assert each[0].details["estimator"] == estimator
    (name,) = each[0].values
    found = torch.stack([e.values[name][0] for e in each])
    error, spread = found.mean(0) - truth, found.std(0) / 200**0.5
    assert (error.abs() < 4.5 * spread + 1e-9).all()
    claimed = torch.stack([e.errors[name][0] for e in each]).square().mean()
    actual = (found - truth).square().mean()
    assert 0.7 < float((claimed / actual).sqrt()) < 1.5


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_number_of_rows_changes_nothing(explain, rows):
    model, x = built(cnn), draw(3, 2, 8, 8)
    options = {"target": 1, "feature_mask": torch.arange(64).reshape(8, 8) // 6, "n_samples": 60}
    found = explain(model, x, "banzhaf", internal_batch_size=rows, **options)
    alike = explain(model, x, "banzhaf", **options)
    same(found.values["input"], alike.values["input"])
    same(found.errors["input"], alike.errors["input"])


def test_an_example_is_explained_alone_as_in_a_batch_and_every_output_as_alone(explain):
    model, x = built(mlp), draw(3, 6)
    together = explain(model, x, "banzhaf", n_samples=40).values["input"]
    alone = [explain(model, x[i : i + 1], "banzhaf", target=1, n_samples=40).values["input"] for i in range(3)]
    same(together[:, 1], torch.cat(alone))


@pytest.mark.parametrize("n", [16 * 5, 60])
def test_over_a_background(explain, n):
    x, background, w = draw(1, 4, seed=1), draw(5, 4, seed=2), draw(4, seed=3)

    def forward(x):
        return x @ w + x[:, 0] * x[:, 1]

    each = [explain(forward, x, "banzhaf", baselines=row[None]).values["x"] for row in background]
    found = explain(forward, x, "banzhaf", background=background, n_samples=n)
    if n == 80:
        same(found.values["x"], torch.stack(each).mean(0))
        assert found.details["estimator"] == "exact"
        return
    difference = found.values["x"] - torch.stack(each).mean(0)
    assert (difference.abs() < 5 * found.errors["x"]).all()
    assert found.details["evaluations"] <= n


def test_a_replacement_that_draws(explain):
    x, w = draw(1, 3, seed=1), draw(3, seed=3)

    def noise(problem):
        return lambda numbers: (torch.stack([0.1 * draw(1, 3, seed=int(i)) for i in numbers]),)

    found = explain(lambda x: x @ w, x, "banzhaf", replacement=noise, n_samples=300)
    assert ((found.values["x"] - w * x).abs() < 0.1).all()
    assert found.details["estimator"] == "regression"  # of what draws without end there is no exact value


def test_layers_neurons_groups_and_one_number_for_the_batch(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    by_layer = explain(model, x, "banzhaf", layer="1", target=1).values["1"]
    same(by_layer, explain(lambda v: model[2:](v), v, "banzhaf", target=1).values["v"])
    by_neuron = explain(model, x, "banzhaf", layer="1", neuron=2).values["input"]
    same(by_neuron, explain(lambda x: model[:2](x)[:, 2], x, "banzhaf").values["x"])
    point = (draw(2, 4), draw(2, 2, 3))
    left, right = explain(built(TwoInputs), point, "banzhaf", target=0, feature_mask=(
        torch.tensor([[0, 0, 7, 7]]), torch.tensor([[[7, 7, 0], [9, 9, 9]]])
    )).values.values()  # fmt: skip
    same(left[:, 0], right[:, 0, 2])
    same(left[:, 2], right[:, 0, 0])
    whole = explain(lambda x: (x**2).sum(), x, "banzhaf", n_samples=64).values["x"]
    same(whole, (x**2).sum(0, keepdim=True))


def test_what_is_not_finite_is_refused_with_how_many(explain):
    with pytest.raises(ModelError, match=r"NaN or infinity for \d+ of \d+ coalitions"):
        explain(lambda x: x.sum(1) / x[:, 0], torch.ones(1, 4), "banzhaf", n_samples=16)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_small_a_budget(explain, n):
    with pytest.raises(UsageError, match=f"n_samples={n} is too small"):
        explain(built(mlp), draw(1, 6), "banzhaf", target=0, n_samples=n)


@pytest.mark.parametrize("name", ["banzhaf", "owen", "sobol", "rise", "shapley_interactions", "loco"])
@pytest.mark.parametrize("shape", [(2, 0), (0, 2)])
def test_no_features_or_no_examples(explain, name, shape):
    found = explain(lambda x: x.flatten(1).sum(1), torch.zeros(shape), name)
    assert found.values["x"].shape == shape


@pytest.mark.parametrize("name", ["banzhaf", "owen", "sobol", "shapley_interactions"])
def test_declarations(name):
    spec = registry.method(name)
    assert spec.references
    assert spec.stochastic
    assert spec.forward_passes


def test_of_one_pair_there_are_scores_and_no_errors():
    found = scores(table(9, seed=1), n_samples=4)
    assert not found.errors
    assert all(value.isfinite().all() for value in found.values.values())


def test_an_interrupt_says_how_far_it_came():
    weight, done = draw(8, seed=3), 0

    def forward(x):
        nonlocal done
        done += len(x)
        if done > 30:
            raise KeyboardInterrupt
        return x @ weight

    with pytest.warns(AttrkitWarning, match="interrupted after 30 of 60 evaluations; the estimate is made of these"):
        found = explain(forward, torch.ones(1, 8).double(), "banzhaf", n_samples=60, internal_batch_size=1)
    same(found.values["x"][0], weight)
    assert found.details["evaluations"] == 30
