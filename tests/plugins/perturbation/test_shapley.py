"""Shapley values against enumeration, and the axioms, for every method and estimator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrkit
from attrkit.errors import AttrkitWarning, ModelError, UsageError, UsageTypeError
from tests.plugins.models import Residual, Several, TwoInputs, built, draw, mlp
from tests.plugins.perturbation.tabulated import coalitions, model_of, shapley_of, table, tables

ESTIMATORS = ("auto", "antithetic", "permutation", "leverage", "odd_gp")
METHODS = ("shapley_values", "shapley_value_sampling", "kernel_shap")


def same(found, expected, digits=1e-11):
    torch.testing.assert_close(found, expected, rtol=digits, atol=digits)


def values(explanation):
    (found,) = explanation.values.values()
    return found


def scores_of(game, method="kernel_shap", **options):
    """Scores of the game of a table, shape (features, outputs)."""
    count = len(game).bit_length() - 1
    found = attrkit.explain(model_of(game), torch.ones(1, count).double(), method, **options)
    return values(found)[0].T


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_exact_against_the_definition(count):
    game = table(count, seed=count)
    same(scores_of(game, "shapley_values"), shapley_of(game))


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "exact"])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_budget_for_all_coalitions_gives_exact_values(estimator, count):
    game = table(count, seed=count)
    for n_samples in (2**count, 5 * 2**count):
        same(scores_of(game, estimator=estimator, n_samples=n_samples), shapley_of(game))


@pytest.mark.parametrize("count", [5, 8])
def test_one_pair_short_of_all_is_nearly_exact_and_says_so(count):
    game = table(count, seed=3)
    found = attrkit.explain(
        model_of(game), torch.ones(1, count).double(), "kernel_shap", estimator="leverage", n_samples=2**count - 2
    )
    assert found.details["estimator"] == "leverage"
    error = (values(found)[0].T - shapley_of(game)).abs()
    assert 1e-9 < error.max() < 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factory", [mlp, lambda: mlp(outputs=1)], ids=["target", "every output"])
def test_methods_agree_on_a_small_network(explain, method, factory):
    model, x, baseline = built(factory), draw(3, 6), draw(1, 6, seed=4)
    target = 1 if factory is mlp else None
    found = explain(model, x, method, target=target, baselines=baseline)
    assert found.details["estimator"] == ("odd_gp" if method == "kernel_shap" else "exact")
    exact = explain(model, x, "shapley_values", target=target, baselines=baseline)
    assert values(found).shape == values(exact).shape == ((3, 6) if target == 1 else (3, 1, 6))
    assert (values(found) - values(exact)).abs().max() < 0.1
    same(found.delta, torch.zeros_like(found.delta))


def brute(value, point, baseline, ids):
    """Shapley values of groups of positions by the definition, one coalition a call, at every position."""
    count = int(max(group.max() for group in ids)) + 1
    found = tuple(torch.zeros(t.shape, dtype=torch.float64) for t in point)
    for n in range(len(point[0])):
        example, reference, groups = (tuple(t[n : n + 1] for t in part) for part in (point, baseline, ids))
        game = []
        for number in range(2**count):
            there = tuple((number >> g & 1).bool() for g in groups)
            game.append(value(tuple(map(torch.where, there, example, reference))))
        scores = shapley_of(torch.stack(game)[:, None])[:, 0]
        for attribution, group in zip(found, groups, strict=True):
            attribution[n] = scores[group[0]]
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_example", [False, True])
def test_features_across_inputs_and_masks_of_each_example(explain, method, per_example):
    model, point, baseline = built(TwoInputs), (draw(2, 4), draw(2, 2, 3, seed=2)), (draw(2, 4, seed=3), draw(2, 2, 3, seed=4))
    left, right = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[[1, 2, 2], [3, 0, 0]]])
    if per_example:
        left = torch.cat([left, torch.tensor([[3, 1, 3, 2]])])
        right = torch.cat([right, torch.tensor([[[0, 0, 0], [2, 2, 0]]])])
    found = explain(model, point, method, baselines=baseline, target=1, feature_mask=(5 * left, 5 * right))

    def value(tensors):
        with torch.no_grad():
            return model(*tensors)[0, 1]

    same(tuple(found.values.values()), brute(value, point, baseline, (left.expand(2, 4), right.expand(2, 2, 3))))


@pytest.mark.parametrize("method", METHODS)
def test_layers_and_neurons(explain, method):
    model, x = built(mlp), draw(2, 6)
    found = explain(model, x, method, layer="2", target=0, baselines=0)

    def rest(v):
        with torch.no_grad():
            return model[3:](*v)[0, 0]

    with torch.no_grad():
        at = model[:3](x)
    expected = brute(rest, (at,), (torch.zeros_like(at),), (torch.arange(7).expand(2, 7),))[0]
    same(values(found), expected, 1e-11 if method == "shapley_values" else 0.1)
    neuron = explain(model, x, method, layer="2", neuron=3)
    with torch.no_grad():
        alone = explain(lambda x: model[:3](x)[:, 3], x, method)
    same(values(neuron), values(alone))


@pytest.mark.parametrize("method", METHODS)
def test_one_value_for_the_batch(explain, method):
    x = draw(3, 4)
    found = explain(lambda x: (x**2).sum(), x, method)
    same(values(found), (x**2).sum(0, keepdim=True))


@pytest.mark.parametrize("method", METHODS)
def test_whole_numbers(explain, method):
    x = torch.tensor([[1, 2, 3], [0, 2, 1]])
    found = explain(lambda x: (x.double() ** 2).sum(1) + (x[:, 0] * x[:, 1]).double(), x, method, baselines=0)
    expected = x.double() ** 2
    expected[:, :2] += (x[:, 0] * x[:, 1]).double()[:, None] / 2
    same(values(found), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (2, 0), (0, 3), (1, 3)])
def test_few_features_and_few_examples(explain, method, shape):
    found = explain(lambda x: (x**2).flatten(1).sum(1), draw(*shape), method)
    same(values(found), draw(*shape) ** 2)


@pytest.mark.parametrize("method", METHODS)
def test_constant_models_and_features_that_are_the_baseline(explain, method):
    found = explain(lambda x: x.sum(1) * 0 + 3, draw(2, 9), method)
    assert not values(found).any()
    x = draw(2, 40)
    x[:, 5:] = 0
    found = explain(lambda x: (x**2).sum(1), x, method)
    assert found.details["evaluations"] <= 2**5
    same(values(found), x**2)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scores_add_up(estimator):
    game = table(9, outputs=3, seed=5)
    for n_samples in (40, 100, 300):
        found = scores_of(game, estimator=estimator, n_samples=n_samples)
        same(found.sum(0), game[-1] - game[0], 1e-10)


def test_captum_sampling_adds_up_nearly_and_is_exact_for_additive_games():
    game = coalitions(9) @ draw(9, 2)
    same(scores_of(game, estimator="captum", n_samples=100), draw(9, 2), 1e-6)
    game = table(9, seed=5)
    found = scores_of(game, estimator="captum", n_samples=100)
    assert 0 < (found.sum(0) - game[-1] + game[0]).abs().max() < 1e-3


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "captum"])
def test_error_falls_with_the_budget(estimator):
    game = table(9, outputs=1, seed=1) + 4 * coalitions(9) @ draw(9, 1)
    truth = shapley_of(game)

    def error(n_samples):
        off = [scores_of(game, estimator=estimator, n_samples=n_samples, seed=s) - truth for s in range(8)]
        return float(torch.stack(off).square().mean().sqrt())

    errors = [error(n) for n in (36, 120, 420)]
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2] > 0


@settings(max_examples=25, deadline=None)
@given(game=tables(5), data=st.data())
def test_axioms_of_exact_values(game, data):
    count = len(game).bit_length() - 1
    found = scores_of(game, "shapley_values")
    same(found, shapley_of(game), 1e-9)
    same(found.sum(0), game[-1] - game[0], 1e-9)
    i, j = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    number = torch.arange(2**count)
    bit_i, bit_j = number >> i & 1, number >> j & 1
    swapped = number & ~(1 << i | 1 << j) | bit_i << j | bit_j << i
    symmetric = scores_of(game + game[swapped], "shapley_values")
    same(symmetric[i], symmetric[j], 1e-9)
    null = scores_of(game[number & ~(1 << i)], "shapley_values")
    same(null[i], torch.zeros(1).double(), 1e-9)
    other = table(count, outputs=1, seed=count)
    same(scores_of(2 * game - 3 * other, "shapley_values"), 2 * found - 3 * scores_of(other, "shapley_values"), 1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), estimator=st.sampled_from(["antithetic", "permutation", "leverage", "captum"]))
def test_linear_estimators_are_linear_and_know_null_players(seed, estimator):
    games = table(8, outputs=2, seed=seed)
    options = {"estimator": estimator, "n_samples": 90, "seed": seed}
    together = scores_of(games[:, :1] + 2 * games[:, 1:], **options)
    each = scores_of(games, **options)
    same(together, each[:, :1] + 2 * each[:, 1:], 1e-8)
    if estimator in ("antithetic", "permutation"):
        number = torch.arange(2**8)
        null = scores_of(games[number & ~4], **options)
        same(null[2], torch.zeros(2).double(), 1e-12)


@pytest.mark.parametrize("estimator", [*ESTIMATORS, "captum"])
@pytest.mark.parametrize("background", [None, draw(5, 8, seed=9)], ids=["baseline", "background"])
def test_the_number_of_rows_of_a_pass_changes_nothing(estimator, background):
    model, x = built(lambda: mlp(inputs=8)), draw(2, 8)

    def run(rows, seed=3):
        options = {"estimator": estimator, "n_samples": 150, "background": background}
        return values(attrkit.explain(model, x, "kernel_shap", target=0, internal_batch_size=rows, seed=seed, **options))

    first = run(7)
    assert torch.equal(first, run(7))
    for rows in (2, 1000):
        same(run(rows), first, 1e-9)
    assert not torch.allclose(run(7, seed=4), first)


def test_all_examples_have_the_coalitions_that_each_would_have():
    model, x = built(lambda: mlp(inputs=12)), draw(3, 12)
    options = {"target": 0, "n_samples": 100, "estimator": "leverage"}
    together = values(attrkit.explain(model, x, "kernel_shap", **options))
    alone = [values(attrkit.explain(model, x[i : i + 1], "kernel_shap", **options)) for i in range(3)]
    same(together, torch.cat(alone))


@pytest.mark.parametrize("method", METHODS)
def test_a_background_is_averaged_over(explain, method):
    model, x, rows = built(mlp), draw(2, 6), draw(4, 6, seed=8)
    found = explain(model, x, method, target=0, background=rows, **({"n_samples": 400} if method != "shapley_values" else {}))
    each = [values(explain(model, x, "shapley_values", target=0, baselines=row[None])) for row in rows]
    same(values(found), torch.stack(each).mean(0))
    same(found.delta, torch.zeros(2).double())
    assert found.details["evaluations"] == 4 * 64


@pytest.mark.parametrize(("estimator", "n_samples", "expected"), [
    ("auto", 90, "antithetic"), ("auto", 600, "leverage"), ("antithetic", 300, "antithetic"),
    ("permutation", 300, "permutation"), ("leverage", 600, "leverage"), ("odd_gp", 600, "odd_gp"), ("captum", 600, "captum"),
])  # fmt: skip
def test_a_background_is_sampled(explain, estimator, n_samples, expected):
    model, x, rows = built(lambda: mlp(inputs=9)), draw(2, 9), draw(5, 9, seed=8)
    found = explain(model, x, "kernel_shap", target=0, background=rows, estimator=estimator, n_samples=n_samples)
    truth = values(explain(model, x, "shapley_values", target=0, background=rows))
    assert found.details["estimator"] == expected
    assert 0.5 * n_samples < found.details["evaluations"] <= n_samples
    assert (values(found) - truth).norm() < 0.35 * truth.norm()
    with torch.no_grad():
        change = model(x)[:, 0] - model(rows)[:, 0].mean()
    same(values(found).sum(1), change, 1e-3 if estimator == "captum" else 1e-10)


def test_a_background_of_one_row_is_a_baseline(explain):
    model, x, row = built(lambda: mlp(inputs=9)), draw(2, 9), draw(1, 9, seed=8)
    for estimator in (*ESTIMATORS, "captum"):
        options = {"target": 0, "estimator": estimator, "n_samples": 120}
        found = values(explain(model, x, "kernel_shap", background=row, **options))
        same(found, values(explain(model, x, "kernel_shap", baselines=row, **options)))


@pytest.mark.parametrize(("n_samples", "expected"), [(18, "odd_gp"), (22, "antithetic"), (40, "odd_gp"), (1024, "exact")])
def test_auto_takes_what_suits_the_budget(n_samples, expected):
    def run():
        return attrkit.explain(model_of(table(10)), torch.ones(1, 10).double(), "kernel_shap", n_samples=n_samples)

    if n_samples < 20:
        with pytest.warns(AttrkitWarning, match="n_samples=18 is few for 10 features: .* give at least 20"):
            found = run()
    else:
        found = run()
    assert found.details["estimator"] == expected
    assert found.details["evaluations"] <= n_samples


def test_auto_of_many_evaluations_is_a_regression():
    x = draw(1, 14)
    found = attrkit.explain(lambda x: (x.sum(1) + x.prod(1)).tanh(), x, "kernel_shap", n_samples=9000)
    assert found.details["estimator"] == "leverage"


def test_fewer_evaluations_than_features_give_the_smallest_scores_that_fit():
    x = torch.ones(1, 30).double()
    with pytest.warns(AttrkitWarning, match="give at least 60"):
        found = attrkit.explain(lambda x: x @ torch.ones(30).double(), x, "kernel_shap", n_samples=20, estimator="leverage")
    same(values(found), x)
    assert not found.errors


def test_very_many_features_take_no_system_of_their_size():
    x = torch.ones(1, 20_000)
    with pytest.warns(AttrkitWarning, match="give at least 40000"):
        found = attrkit.explain(lambda x: x.sum(1), x, "kernel_shap", n_samples=25)
    same(values(found), x, 1e-4)
    with pytest.raises(UsageError, match="20000 features with 60000 evaluations is too large to solve; group features"):
        attrkit.explain(lambda x: x.sum(1), x, "kernel_shap", n_samples=60_000, estimator="leverage")


@pytest.mark.parametrize(("options", "message"), [
    ({"n_samples": 0}, "n_samples must be at least 1, got 0"),
    ({"n_samples": -5}, "n_samples must be at least 1, got -5"),
    ({"n_samples": 3}, "n_samples=3 is too small: all features, none, and one coalition and its complement are 4 evaluations"),
    ({"n_samples": 9, "estimator": "antithetic"}, "n_samples=9 is too small: one order of 9 features takes 10 evaluations"),
    ({"n_samples": 1, "estimator": "captum"}, "all features and none are 2 evaluations"),
    ({"n_samples": 100, "estimator": "exact"}, r"'exact', which needs 2\^9 = 512 evaluations for 9 features; give that many"),
    ({"n_samples": "auto", "tol": 0.0}, "tol must be a positive number, got 0.0"),
    ({"n_samples": 50, "tol": 0.01}, "tol=0.01 has no effect beside a number of samples: leave it out, or give n_samples="),
    ({"n_samples": "auto", "estimator": "captum"}, "needs an estimator with standard errors; give a number of samples"),
    ({"estimator": "nonsense", "n_samples": 50}, "no estimator 'nonsense'"),
    ({"estimator": {"odd_gp": {"design": "kernel"}}, "n_samples": 50}, "each coalition is followed by its complement"),
])  # fmt: skip
def test_what_is_wrong_is_named(explain, options, message):
    with pytest.raises(UsageError, match=message):
        explain(lambda x: x.sum(1), draw(2, 9), "kernel_shap", **options)


@pytest.mark.parametrize("method", ["kernel_shap", "shapley_value_sampling"])
@pytest.mark.parametrize("n_samples", [2.5, True, "many", None])
def test_numbers_of_samples_are_whole(explain, method, n_samples):
    with pytest.raises(UsageTypeError, match="n_samples must be"):
        explain(lambda x: x.sum(1), draw(2, 9), method, n_samples=n_samples)


def test_exact_values_of_too_many_features_are_refused(explain):
    for count in (23, 100_000):
        with pytest.raises(UsageError, match=rf"{count} features need 2\^{count} evaluations, more than 2\^22; group features"):
            explain(lambda x: x.sum(1), torch.ones(1, count), "shapley_values")
    with pytest.raises(UsageError, match=r"more than 2\^22"):
        explain(lambda x: x.sum(1), torch.ones(1, 30), "kernel_shap", estimator="exact")


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_no_numbers_are_refused(explain, method):
    with pytest.raises(ModelError, match="NaN or infinity"):
        explain(lambda x: x.sum(1).sqrt(), torch.tensor([[1.0, 2.0, -4.0]]), method)


def noise(problem):
    """A replacement that draws anew each time."""

    def drawn(numbers):
        rows = [torch.randn(1, 6, generator=torch.Generator().manual_seed(int(n)), dtype=torch.float64) for n in numbers]
        return (torch.stack(rows),)

    return drawn


@pytest.mark.parametrize("method", ["kernel_shap", "shapley_value_sampling"])
def test_replacements_that_draw_are_averaged_over(explain, method):
    x, weights = draw(2, 6), draw(6, seed=3)
    n = 4000 if method == "kernel_shap" else 800
    found = explain(lambda x: (x**2) @ weights, x, method, replacement=noise, n_samples=n)
    assert found.details["estimator"] == "antithetic"
    off = values(found) - weights * (x**2 - 1)
    assert (off.abs() < 5 * found.errors["x"]).all()
    with pytest.raises(UsageError, match="draws anew each time; use estimator='antithetic'"):
        explain(lambda x: (x**2) @ weights, x, "kernel_shap", replacement=noise, estimator="leverage", n_samples=50)
    with pytest.raises(UsageError, match="draws anew each time"):
        explain(lambda x: (x**2) @ weights, x, "shapley_values", replacement=noise)


def test_passes_of_sampling():
    def passes(**options):
        return attrkit.explain(lambda x: x.prod(1), draw(2, 12), **options).passes["forward"]

    assert passes(method="shapley_value_sampling", n_samples=25, estimator="permutation") <= 2 + 25 * 11
    assert passes(method="shapley_value_sampling") <= 2 + 25 * 11
    assert passes(method="kernel_shap", n_samples=300) == 300
    assert passes(method="shapley_values") == 2**12


@pytest.mark.parametrize("method", METHODS)
def test_segmented_images(explain, method):
    net, x = built(Residual), draw(1, 3, 8, 8)
    mask = torch.arange(64).reshape(8, 8) // 16
    found = explain(net, x, method, target=1, feature_mask=mask)
    expected = brute(lambda point: net(*point)[0, 1].detach(), (x,), (torch.zeros_like(x),), (mask.expand(1, 3, 8, 8),))
    same(values(found), expected[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_with_several_tensors(explain, method):
    model, x = built(Several), draw(2, 3)
    with torch.no_grad():
        at = model.pack(model.mix(x))
        expected = brute(
            lambda pair: model.head(model.unpack(pair))[0, 1],
            at,
            tuple(map(torch.zeros_like, at)),
            (torch.tensor([[0, 1]]).expand(2, 2), torch.tensor([[2, 3]]).expand(2, 2)),
        )
    found = explain(model, x, method, layer="pack", target=1, baselines=(0, 0))
    same(tuple(found.values.values()), expected)


@pytest.mark.parametrize("rows", [1, 3])
def test_exact_takes_as_many_evaluations_as_it_needs(rows):
    game, background = table(5, seed=1), torch.zeros(rows, 5).double()
    same(scores_of(game, estimator="exact", background=background), shapley_of(game))


@pytest.mark.parametrize("method", ["shapley_value_sampling", "kernel_shap"])
def test_auto_goes_on_until_errors_are_a_twentieth_of_the_range(method):
    game = table(9, seed=2)
    asked = {"method": method, "estimator": "antithetic", "n_samples": "auto"}
    found = scores_of(game, **asked)
    assert torch.equal(found, scores_of(game, **asked, tol=0.05))
    assert not torch.equal(found, scores_of(game, **asked, tol=0.5))


def test_independent_orders_have_a_row_each_however_many_they_are():
    weights, background = draw(9, seed=3), torch.zeros(5, 9).double()
    options = {"estimator": "permutation", "n_samples": 3, "background": background}
    found = attrkit.explain(lambda x: (x @ weights) * x.sum(1), torch.ones(1, 9).double(), "shapley_value_sampling", **options)
    assert found.details["orders"] == 3
