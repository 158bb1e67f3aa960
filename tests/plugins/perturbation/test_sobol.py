"""Sobol's total indices against enumeration."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from attrkit import explain
from attrkit.errors import ModelError, UsageError
from tests.plugins.models import built, cnn, draw, mlp
from tests.plugins.perturbation.tabulated import model_of, table, tables


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def total_of(values):
    """The mean variance that is left when all other features are known, as a share; shape (count, outputs)."""
    count = len(values).bit_length() - 1
    number, whole = torch.arange(len(values)), values.var(0, correction=0)
    parts = []
    for i in range(count):
        pair = torch.stack([values[number & ~(1 << i)], values[number | 1 << i]])
        parts.append(pair.var(0, correction=0).mean(0))
    return torch.where(whole > 0, torch.stack(parts) / whole, 0.0)


def sobol(values, **options):
    count = len(values).bit_length() - 1
    return explain(model_of(values), torch.ones(1, count).double(), "sobol", **options)


@given(tables())
@settings(max_examples=30, deadline=None)
def test_exact_where_all_coalitions_are_few(values):
    found = sobol(values)
    torch.testing.assert_close(found.values["input"][0], total_of(values).T, rtol=1e-6, atol=1e-9)
    assert not found.errors
    assert found.details["evaluations"] == len(values)


@pytest.mark.parametrize("n", [8, 1000])
def test_without_interactions_the_indices_are_shares_of_variance(n):
    weight = draw(7, seed=3)
    weight[2] = 0
    found = explain(lambda x: x @ weight, torch.ones(2, 7).double(), "sobol", n_samples=n).values["x"]
    if n == 1000:
        same(found, (weight**2 / (weight**2).sum()).expand(2, 7))
    assert not found[:, 2].any()
    ratio = found / found[:, :1]
    same(ratio, (weight**2 / weight[0] ** 2).expand(2, 7))  # only the variance itself is estimated


def test_of_what_does_not_vary_all_are_zero():
    x = torch.ones(1, 9)
    for n in (4, 400):
        assert not explain(lambda x: 0 * x.sum(1) + 3, x, "sobol", n_samples=n).values["x"].any()


def test_estimates_are_near_and_know_their_error():
    values = table(8)
    truth = total_of(values).T
    each = [sobol(values, n_samples=24, seed=s) for s in range(150)]
    assert each[0].details["evaluations"] <= 24 * 9
    assert each[0].details["degrees_of_freedom"] == 23
    found = torch.stack([e.values["input"][0] for e in each])
    assert (found >= 0).all()
    bias = 0.02 * truth  # of a ratio of means, a little
    assert ((found.mean(0) - truth).abs() < bias + 4.5 * found.std(0) / 150**0.5).all()
    claimed = torch.stack([e.errors["input"][0] for e in each]).square().mean().sqrt()
    assert 0.8 < float(claimed / (found - truth).square().mean().sqrt()) < 1.25


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_number_of_rows_changes_nothing(explain, rows):
    model, x = built(cnn), draw(3, 2, 8, 8)
    options = {"target": 1, "feature_mask": torch.arange(64).reshape(8, 8) // 5, "n_samples": 8}
    found, alike = (explain(model, x, "sobol", internal_batch_size=n, **options) for n in (rows, None))
    same(found.values["input"], alike.values["input"])
    same(found.errors["input"], alike.errors["input"])


def test_over_a_background_they_are_those_of_the_mean(explain):
    x, rows, w = draw(1, 3, seed=1), draw(4, 3, seed=2), draw(3, seed=3)
    found = explain(lambda x: x @ w, x, "sobol", background=rows).values["x"]
    same(found, explain(lambda x: x @ w, x, "sobol", baselines=rows.mean(0)[None]).values["x"])


def test_a_replacement_that_draws_is_drawn_once_for_neighbours(explain):
    x, w = torch.ones(1, 3).double(), draw(3, seed=3)

    def noise(problem):
        return lambda numbers: (torch.stack([draw(1, 1, seed=int(i)).expand(1, 3) for i in numbers]),)

    found = explain(lambda x: x.sum(1) > 99, x, "sobol", replacement=noise, n_samples=30)
    assert not found.values["x"].any()
    found = explain(lambda x: x @ w, x, "sobol", replacement=noise, n_samples=300)
    ratio = found.values["x"] / found.values["x"][:, :1]
    same(ratio, w[None] ** 2 / w[0] ** 2)


def test_layers_neurons_outputs_and_groups(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    found = explain(model, x, "sobol", layer="1", target=1, n_samples=9).values["1"]
    same(found, explain(lambda v: model[2:](v), v, "sobol", target=1, n_samples=9).values["v"])
    found = explain(model, x, "sobol", layer="1", neuron=2, n_samples=9).values["input"]
    same(found, explain(lambda x: model[:2](x)[:, 2], x, "sobol", n_samples=9).values["x"])
    every = explain(model, x, "sobol", n_samples=5)
    one = explain(model, x, "sobol", n_samples=5, target=1)
    same(every.values["input"][:, 1], one.values["input"])
    same(every.errors["input"][:, 1], one.errors["input"])
    grouped = explain(model, x, "sobol", target=1, feature_mask=torch.tensor([4, 4, 4, 9, 9, 9])).values["input"]
    assert torch.equal(grouped[:, 0], grouped[:, 2])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_masks(explain, n):
    with pytest.raises(UsageError, match=f"n_samples must be at least 2, got {n}"):
        explain(built(mlp), draw(1, 6), "sobol", target=0, n_samples=n)


def test_what_is_not_finite_is_refused(explain):
    with pytest.raises(ModelError, match="NaN or infinity"):
        explain(lambda x: x.sum(1) / x[:, 0], torch.ones(1, 4), "sobol")
