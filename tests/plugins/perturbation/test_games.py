"""The engine itself: what a method sees of the objective, and what a result says of an estimate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attrkit
from attrkit import Estimate, Rows, method
from attrkit.errors import ModelError, UnknownName, UsageError, UsageTypeError
from attrkit.views.intervals import half_width
from tests.plugins.models import built, draw, mlp


@method("probing", gradient=False, baseline="optional", baseline_at="site", outputs="every")
def probing(problem, *, look: Any = None, feature_mask: Any = None, replacement: Any = None, background: Any = None):
    """What ``look`` makes of the game."""
    game = problem.game(feature_mask, replacement, background)
    found = look(game)
    return found if isinstance(found, tuple) else game.attributions(found)


def looked(look, model=None, x=None, **given):
    """What a function of the game returns."""
    kept = []

    def keeping(game):
        kept.append(look(game))
        return Estimate(torch.zeros(game.count, *game.full.shape, dtype=torch.float64))

    attrkit.explain(model or built(mlp), draw(2, 6) if x is None else x, probing, target=1, look=keeping, **given)
    return kept[0]


def asked(count, k=9, seed=0):
    return torch.rand(k, count, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_values_are_those_of_the_model_with_the_others_replaced():
    model, x, b = built(mlp), draw(2, 6), draw(2, 6, seed=5)
    z = asked(6)
    found = looked(lambda game: game.values(z), model, x, baselines=b)
    expected = torch.stack([model(torch.where(row, x, b))[:, 1] for row in z]).detach()
    torch.testing.assert_close(found, expected)


def test_what_was_asked_once_costs_nothing_again():
    z = asked(6)
    spent = looked(lambda game: [(game.values(part), game.spent)[1] for part in (z, z[:3], torch.cat([z, z]), ~z)])
    distinct = len(z.unique(dim=0))
    assert spent[:3] == [distinct] * 3
    assert spent[3] == len(torch.cat([z, ~z]).unique(dim=0))


@pytest.mark.parametrize("count", [3, 40, 64, 65, 130])
def test_coalitions_are_told_apart_whatever_their_number_of_features(count):
    x = draw(1, count)
    z = asked(count, 200)
    z[100:] = z[:100]
    z[100:, -1] ^= True
    found = looked(lambda game: game.values(z), lambda x: torch.stack([x.sum(1), (x**2).sum(1)], 1), x)
    expected = torch.stack([(torch.where(row, x, 0) ** 2).sum(1) for row in z])
    torch.testing.assert_close(found, expected)


def test_features_that_change_nothing_are_no_players():
    x, b = draw(2, 6), draw(2, 6, seed=5)
    b[:, 2], b[0, 4] = x[:, 2], x[0, 4]  # one for all examples, one for the first alone
    assert looked(lambda game: game.count, x=x, baselines=b) == 5
    found = attrkit.explain(built(mlp), x, "shapley_values", target=1, baselines=b)
    assert found.passes["forward"] == 2**5
    assert torch.equal(found.values["input"][:, 2], torch.zeros(2).double())
    assert float(found.values["input"][0, 4].abs()) < 1e-12


def test_a_background_is_averaged_unless_a_draw_names_a_row():
    model, x, rows = built(mlp), draw(2, 6), draw(5, 6, seed=3)
    z = asked(6)
    mean, third = looked(lambda game: (game.values(z), game.values(z, torch.full((len(z),), 3))), model, x, background=rows)
    each = torch.stack([torch.stack([model(torch.where(c, x, row))[:, 1] for row in rows]) for c in z]).detach()
    torch.testing.assert_close(mean, each.mean(1))
    torch.testing.assert_close(third, each[:, 3])


def test_replacements_may_be_functions_rows_or_tensors():
    x, z = draw(2, 6), asked(6)
    first = torch.zeros(len(z)).long()
    half = torch.full((2, 6), 0.5).double()
    by_tensor = looked(lambda game: game.values(z), x=x, replacement=lambda _: half[:1])
    by_rows = looked(lambda game: game.values(z, first), x=x, replacement=lambda _: Rows((half,)))
    by_function = looked(
        lambda game: game.values(z, first), x=x, replacement=lambda _: lambda numbers: (half[:1].expand(len(numbers), 1, 6),)
    )
    torch.testing.assert_close(by_rows, by_tensor)
    torch.testing.assert_close(by_function, by_tensor)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"replacement": "blurr"}, UnknownName, "no replacement 'blurr'. Did you mean 'blur'"),
        ({"replacement": {"blur": {"sigmas": 1}}}, UnknownName, "blur has no option 'sigmas'. Did you mean 'sigma'"),
        ({"replacement": {"blur": {}, "mean": {}}}, UsageError, "replacement must name one replacement"),
        ({"replacement": {"blur": 3}}, UsageTypeError, "replacement: the options of 'blur' must be a mapping, got 3"),
        ({"replacement": 3}, UsageTypeError, "replacement must be the name of a replacement, .*got int"),
        ({"replacement": "mean", "background": draw(3, 6)}, UsageError, "background and replacement both say"),
        ({"background": draw(3, 5)}, UsageError, r"background has shape \(3, 5\)"),
        ({"feature_mask": "patchs"}, UnknownName, "no segmenter 'patchs'. Did you mean 'patches'"),
    ],
)
def test_what_cannot_be_played_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        looked(lambda game: game.values(asked(game.count)), **given)


def test_nan_of_the_model_is_counted():
    with pytest.raises(ModelError, match="NaN or infinity for 1 of 3 coalitions"):
        looked(
            lambda game: game.values(torch.tensor([[True] * 6, [False] * 6, [True, False] * 3])),
            lambda x: torch.stack([x.sum(1), torch.log((x != 0).sum(1))], 1),
        )


def test_an_interrupt_leaves_what_there_is():
    calls = []

    def model(x):
        calls.append(len(x))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return torch.stack([x.sum(1), (2 * x).sum(1)], 1)

    def look(game):
        values = game.values(asked(6, 40), partial=True)
        return values, game.interrupted

    x = draw(2, 6)
    values, interrupted = looked(look, model, x, internal_batch_size=4)
    assert interrupted
    assert 0 < len(values) < 40
    expected = torch.stack([2 * torch.where(row, x, 0).sum(1) for row in asked(6, 40)[: len(values)]])
    torch.testing.assert_close(values, expected)


def test_no_more_blocks_are_drawn_than_a_pass_takes():
    drawn = []

    def blocks(game):
        for i in range(5):
            drawn.append(i)
            yield asked(game.count, 3, i)

    looked(lambda game: next(game.stream(blocks(game))), internal_batch_size=4)  # two coalitions of two examples in a pass
    assert drawn in ([0], [0, 1])


def test_an_error_of_the_model_leaves_no_value_behind():
    failing = [True]

    def model(x):
        if failing and len(x) and bool((x == 0).all(1).any()):
            raise RuntimeError("not without features")
        return torch.stack([x.sum(1), (2 * x).sum(1)], 1)

    def look(game):
        z = torch.cat([asked(6, 20) | (torch.arange(6) == 0), torch.zeros(1, 6, dtype=torch.bool)])
        with pytest.raises(RuntimeError, match="not without features"):
            game.values(z)
        failing.clear()
        return z, game.values(z)

    x = draw(2, 6)
    z, values = looked(look, model, x, internal_batch_size=4)
    torch.testing.assert_close(values, torch.stack([2 * torch.where(row, x, 0).sum(1) for row in z]))


# What results say.


def test_errors_and_details_are_saved(tmp_path):
    found = attrkit.explain(built(mlp), draw(2, 6), "kernel_shap", target=1, n_samples=30, estimator="leverage")
    again = attrkit.Explanation.load(found.save(tmp_path / "one.safetensors"))
    assert torch.equal(again.errors["input"], found.errors["input"])
    assert torch.equal(again.details["scores"], found.details["scores"])
    assert again.details["estimator"] == "leverage"
    assert again.details.keys() == found.details.keys()


def test_intervals_are_as_wide_as_student_says():
    found = attrkit.explain(built(mlp), draw(2, 6), "shapley_value_sampling", target=1, n_samples=4, seed=3)
    low, high = found.interval(0.9)["input"]
    assert found.details["degrees_of_freedom"] == 2
    torch.testing.assert_close((high - low) / 2, 2.919986 * found.errors["input"], rtol=1e-6, atol=0)
    torch.testing.assert_close((high + low) / 2, found.values["input"])


@pytest.mark.parametrize(
    ("level", "degrees", "expected"),  # of Student's distribution, from printed tables
    [(0.95, 1, 12.7062), (0.95, 2, 4.3027), (0.99, 5, 4.0321), (0.9, 10, 1.8125), (0.95, 30, 2.0423), (0.95, None, 1.96)],
)
def test_half_widths(level, degrees, expected):
    assert half_width(level, degrees) == pytest.approx(expected, abs=1e-4)


def test_there_are_no_intervals_of_exact_values():
    found = attrkit.explain(built(mlp), draw(2, 6), "shapley_values", target=1)
    with pytest.raises(UsageError, match="shapley_values gave no standard errors"):
        found.interval()
    with pytest.raises(UsageError, match="level must be a probability between 0 and 1"):
        attrkit.explain(built(mlp), draw(2, 6), "kernel_shap", target=1, n_samples=30, estimator="leverage").interval(95)


def test_every_output_at_once():
    model, x = built(mlp), draw(2, 6)
    found = attrkit.explain(model, x, "shapley_values")
    assert found.values["input"].shape == (2, 3, 6)
    assert found.output.shape == found.delta.shape == (2, 3)
    assert float(found.delta.abs().max()) < 1e-12
    for target in range(3):
        alone = attrkit.explain(model, x, "shapley_values", target=target)
        torch.testing.assert_close(found.values["input"][:, target], alone.values["input"])
    with pytest.raises(UsageError, match="3 outputs at once; for a picture, explain one by target="):
        found.plot()


def test_several_targets_share_the_coalitions():
    model, x = built(mlp), draw(2, 6)
    given = {"n_samples": 30, "estimator": "leverage"}
    together = attrkit.explain_each(model, x, "kernel_shap", targets=[0, 2], **given)
    for found, target in zip(together, (0, 2), strict=True):
        alone = attrkit.explain(model, x, "kernel_shap", target=target, **given)
        torch.testing.assert_close(found.values["input"], alone.values["input"])
        torch.testing.assert_close(found.errors["input"], alone.errors["input"])
        torch.testing.assert_close(found.details["scores"], alone.details["scores"])
        torch.testing.assert_close(found.delta, alone.delta, atol=1e-12, rtol=0)


def test_the_sum_is_taken_over_features_not_positions():
    mask = torch.tensor([[0, 0, 0, 1, 1, 2]])
    found = attrkit.explain(built(mlp), draw(2, 6), "kernel_shap", target=1, feature_mask=mask, n_samples=8)
    assert float(found.delta.abs().max()) < 1e-12
