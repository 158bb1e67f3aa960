"""Shapley interactions against enumeration, and how well they are estimated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attrkit import Explanation, explain
from attrkit.errors import ModelError, UsageError
from tests.plugins.models import built, cnn, draw, mlp
from tests.plugins.perturbation.tabulated import coalitions, model_of, pairs_of, shapley_of, table, tables


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def interactions(values, **options):
    count = len(values).bit_length() - 1
    found = explain(model_of(values), torch.ones(1, count).double(), "shapley_interactions", **options)
    return found, found.values["input"][0], found.details["interactions"][0]


def summed(singles, pairs):
    """The sum of all features, and of all pairs, each once."""
    return singles.sum(-1) + pairs.sum((-1, -2)) / 2


@given(tables())
@settings(max_examples=30, deadline=None)
def test_exact_for_any_game(values):
    found, singles, pairs = interactions(values)
    same(pairs, pairs_of(values).movedim(-1, 0))
    same(singles + pairs.sum(-1) / 2, shapley_of(values).T)
    same(summed(singles, pairs), values[-1] - values[0])
    assert found.details["estimator"] == "exact"
    assert not found.errors


@pytest.mark.parametrize("n", [1000, 22])  # all coalitions, and one round of arcs
def test_a_game_of_singles_and_pairs_is_taken_apart(n):
    z, a, b = coalitions(5), draw(5), draw(5, 5).triu(1)
    found, singles, pairs = interactions((z @ a + (z @ b * z).sum(1))[:, None], n_samples=n)
    assert found.details["estimator"] == ("arcs" if n == 22 else "exact")
    same(singles[0], a)
    same(pairs[0], b + b.T)


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_sampled_ones_add_up_and_are_symmetric(seed):
    values = table(6, seed=seed % 1000)
    found, singles, pairs = interactions(values, n_samples=40, seed=seed)
    assert found.details["estimator"] == "arcs"
    same(summed(singles, pairs), values[-1] - values[0])
    assert torch.equal(pairs, pairs.mT)
    assert not pairs.diagonal(dim1=-2, dim2=-1).any()


@pytest.mark.parametrize("null", [0, 3])
def test_of_a_feature_that_the_model_ignores_nothing_remains(null):
    values = table(6)[torch.arange(64) & ~(1 << null)]
    _, singles, pairs = interactions(values, n_samples=40)
    same(pairs[:, null], torch.zeros_like(pairs[:, null]))
    same(singles[:, null], torch.zeros_like(singles[:, null]))


@pytest.mark.parametrize("count", [6, 7])  # even and odd circles
def test_estimates_are_right_on_average_and_know_their_error(count):
    values = table(count)
    truth = pairs_of(values).movedim(-1, 0)
    alone = shapley_of(values).T - truth.sum(-1) / 2
    n = 2 + 2 * count * (count - 1) - (count == 6) * 2
    rounds = 2 if count == 7 else 1
    each = [interactions(values, n_samples=n, seed=s) for s in range(150)]
    assert each[0][0].details["rounds"] == rounds
    assert each[0][0].details["evaluations"] <= n
    for found, wanted in ((torch.stack([e[2] for e in each]), truth), (torch.stack([e[1] for e in each]), alone)):
        assert ((found.mean(0) - wanted).abs() < 4.5 * found.std(0) / 150**0.5 + 1e-9).all()
    if rounds > 1:
        claimed = torch.stack([e[0].details["interaction_errors"][0] for e in each]).square().mean().sqrt()
        actual = (torch.stack([e[2] for e in each]) - truth).square().mean().sqrt()
        assert 0.85 < float(claimed / actual) < 1.18
        claimed = torch.stack([e[0].errors["input"][0] for e in each]).square().mean().sqrt()
        actual = (torch.stack([e[1] for e in each]) - alone).square().mean().sqrt()
        assert 0.85 < float(claimed / actual) < 1.18


def test_features_that_do_not_matter_are_zero_in_place(explain):
    x = torch.tensor([[1.0, 0.0, 2.0, 0.0, 3.0]]).double()
    found = explain(lambda x: x[:, 0] * x[:, 2] + x[:, 4], x, "shapley_interactions")
    expected = torch.zeros(1, 5, 5).double()
    expected[0, 0, 2] = expected[0, 2, 0] = 2
    same(found.details["interactions"], expected)
    same(found.values["x"], torch.tensor([[0.0, 0.0, 0.0, 0.0, 3.0]]).double())
    assert found.details["evaluations"] == 8


@pytest.mark.parametrize("n", [8 * 3 * 2, 26])
def test_over_a_background(explain, n):
    x, background = draw(1, 4, seed=1), draw(3, 4, seed=2)

    def forward(x):
        return torch.tanh(x).prod(1) + x[:, :3].sum(1) ** 2

    each = [explain(forward, x, "shapley_interactions", baselines=row[None]) for row in background]
    found = explain(forward, x, "shapley_interactions", background=background, n_samples=n)
    if n == 48:
        same(found.values["x"], torch.stack([e.values["x"] for e in each]).mean(0))
        same(found.details["interactions"], torch.stack([e.details["interactions"] for e in each]).mean(0))
    assert found.details["evaluations"] <= n
    change = found.output - found.baseline_output
    same(summed(found.values["x"], found.details["interactions"]), change)


def test_a_replacement_that_draws(explain):
    x, w = draw(1, 3, seed=1), draw(3, seed=3)

    def noise(problem):
        return lambda numbers: (torch.stack([0.1 * draw(1, 3, seed=int(i)) for i in numbers]),)

    found = explain(lambda x: x @ w, x, "shapley_interactions", replacement=noise, n_samples=300)
    assert ((found.values["x"] - w * x).abs() < 0.1).all()
    assert (found.details["interactions"].abs() < 1e-12).all()  # the draw is the same in a round


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("n", [100, 3000])
def test_the_number_of_rows_changes_nothing(explain, rows, n):
    model, x = built(cnn), draw(3, 2, 8, 8)
    options = {"target": 1, "feature_mask": torch.arange(64).reshape(8, 8) // 7, "n_samples": n}
    found = explain(model, x, "shapley_interactions", internal_batch_size=rows, **options)
    alike = explain(model, x, "shapley_interactions", **options)
    same(found.values["input"], alike.values["input"])
    same(found.details["interactions"], alike.details["interactions"])


def test_layers_neurons_and_outputs(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    by_layer = explain(model, x, "shapley_interactions", layer="1", target=1)
    direct = explain(lambda v: model[2:](v), v, "shapley_interactions", target=1)
    same(by_layer.values["1"], direct.values["v"])
    same(by_layer.details["interactions"], direct.details["interactions"])
    by_neuron = explain(model, x, "shapley_interactions", layer="1", neuron=2).values["input"]
    same(by_neuron, explain(lambda x: model[:2](x)[:, 2], x, "shapley_interactions").values["x"])
    every = explain(model, x, "shapley_interactions", n_samples=40)
    one = explain(model, x, "shapley_interactions", n_samples=40, target=1)
    same(every.values["input"][:, 1], one.values["input"])
    same(every.details["interactions"][:, 1], one.details["interactions"])
    assert every.details["interactions"].shape == (2, 3, 6, 6)


def test_one_feature(explain):
    x = draw(2, 3)
    found = explain(lambda x: (x**2).sum(1), x, "shapley_interactions", feature_mask=torch.zeros(1, 3, dtype=torch.int64))
    same(found.values["x"], (x**2).sum(1, keepdim=True).expand(2, 3))
    assert found.details["interactions"].tolist() == [[[0.0]], [[0.0]]]


def test_they_are_saved_and_loaded(explain, tmp_path):
    found = explain(built(mlp), draw(2, 6), "shapley_interactions", target=1)
    again = Explanation.load(found.save(tmp_path / "found.safetensors"))
    assert torch.equal(again.details["interactions"], found.details["interactions"])


@pytest.mark.parametrize("n", [1, 31])
def test_too_small_a_budget(explain, n):
    with pytest.raises(UsageError, match=f"n_samples={n} is too small: the interactions of 6 features take 32 evaluations"):
        explain(built(mlp), draw(1, 6), "shapley_interactions", target=0, n_samples=n)


def test_what_is_not_finite_is_refused_with_how_many(explain):
    with pytest.raises(ModelError, match=r"NaN or infinity for \d+ of \d+ coalitions"):
        explain(lambda x: x.sum(1) / x[:, 0], torch.ones(1, 4), "shapley_interactions")
