"""RISE against the mean over all masks, and its grids."""

from __future__ import annotations

import pytest
import torch

from attrkit.errors import ModelError, UsageError
from attrkit_perturbation.rise import _shifted
from tests.plugins.models import TwoInputs, built, cnn, draw, mlp
from tests.plugins.perturbation.tabulated import coalitions, model_of, table


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def conditional(values, share):
    """The mean of the table over coalitions that have a feature, features being there with one probability."""
    z = coalitions(len(values).bit_length() - 1)
    weight = (share**z * (1 - share) ** (1 - z)).prod(1)
    return (z * weight[:, None]).T @ values / share


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_it_estimates_the_mean_where_a_feature_is_there_and_knows_its_error(explain, share):
    values = table(4)
    truth = conditional(values, share).T
    each = [
        explain(model_of(values), torch.ones(1, 4).double(), "rise", n_samples=300, share=share, seed=s) for s in range(100)
    ]
    found = torch.stack([e.values["input"][0] for e in each])
    assert ((found.mean(0) - truth).abs() < 4.5 * found.std(0) / 10).all()
    claimed = torch.stack([e.errors["input"][0] for e in each]).square().mean().sqrt()
    assert 0.85 < float(claimed / (found - truth).square().mean().sqrt()) < 1.18
    assert each[0].passes["forward"] == each[0].details["evaluations"] == 300


def test_columns_that_equal_their_replacement_are_like_any_other(explain):
    x = torch.tensor([[1.0, 0.0, 2.0]]).double()
    found = explain(lambda x: x.sum(1), x, "rise", n_samples=4000)
    near = (found.values["x"] - torch.tensor([[2.0, 1.5, 2.5]])).abs()
    assert (near < 5 * found.errors["x"]).all()


def test_masks_are_grids_shifted_by_any_number_of_positions():
    masks = _shifted((6, 9), 3, 0.5, 2000, torch.Generator().manual_seed(0)).reshape(2000, 6, 9)
    assert abs(float(masks.double().mean()) - 0.5) < 0.02
    across, along = (masks[:, 1:] != masks[:, :-1]).any(2), (masks[:, :, 1:] != masks[:, :, :-1]).any(1)
    for edges, width in ((across, 2), (along, 3)):  # edges lie a cell apart, and anywhere
        assert edges.any(0).all()
        places = torch.arange(edges.shape[1])
        assert all(len((places[row] % width).unique()) <= 1 for row in edges)
    near = (masks[:, 0, 0] == masks[:, 0, 1]).double().mean()
    assert abs(float(near) - (2 / 3 + 1 / 6)) < 0.04  # in one cell two times of three


@pytest.mark.parametrize("sizes", [(1, 1), (2, 5), (7,), (3, 4, 5)])
@pytest.mark.parametrize("grid", [1, 2, 3, 10])
def test_grids_of_any_size_fit(sizes, grid):
    masks = _shifted(sizes, grid, 0.5, 50, torch.Generator().manual_seed(0))
    assert masks.shape == (50, torch.Size(sizes).numel())
    assert masks.any()
    assert not masks.all()


def test_all_channels_of_a_position_go_together(explain):
    x = draw(2, 3, 4, 5)
    seen = []

    def forward(x):
        seen.append(x.clone())
        return x.flatten(1).sum(1)

    found = explain(forward, x, "rise", n_samples=20, grid=2).values["x"]
    there = torch.cat(seen).ne(0)
    assert torch.equal(there, there[:, :1].expand_as(there))
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.equal(found[..., 0], found[..., 1])


def test_what_matters_is_found(explain):
    x = torch.ones(1, 1, 12, 12)
    found = explain(lambda x: x[:, 0, 3:6, 7:10].mean((1, 2)), x, "rise", n_samples=2000, grid=6).values["x"][0, 0]
    assert found[4, 8] > 0.65
    assert found[3:6, 7:10].min() > max(found[:2].max(), found[7:].max())


def test_tokens_and_several_tensors(explain):
    point = (draw(2, 4, 3, seed=1), draw(2, 1, 6, 6, seed=2))
    found = explain(lambda a, b: a.sum((1, 2)) + b.sum((1, 2, 3)), point, "rise", n_samples=50, grid=2)
    of_tokens = found.values["a"]
    assert torch.equal(of_tokens, of_tokens[..., :1].expand_as(of_tokens))
    assert found.values["b"].shape == (2, 1, 6, 6)
    assert found.details["scores"].shape == (2, 4 + 36)


def test_features_of_a_mask_come_and_go_one_by_one(explain):
    model, point = built(TwoInputs), (draw(2, 4, seed=1), draw(2, 2, 3, seed=2))
    mask = (torch.tensor([[0, 0, 5, 5]]), torch.tensor([[[5, 7, 7], [9, 9, 9]]]))
    found = explain(model, point, "rise", target=1, feature_mask=mask, n_samples=100)
    left, right = found.values.values()
    same(left[:, 2], right[:, 0, 0])
    assert found.details["scores"].shape == (2, 4)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_number_of_rows_changes_nothing(explain, rows):
    model, x = built(cnn), draw(3, 2, 8, 8)
    options = {"target": 1, "n_samples": 60, "grid": 3}
    found, alike = (explain(model, x, "rise", internal_batch_size=n, **options) for n in (rows, None))
    same(found.values["input"], alike.values["input"])
    same(found.errors["input"], alike.errors["input"])


def test_an_example_is_explained_alone_as_in_a_batch_and_every_output_as_alone(explain):
    model, x = built(cnn), draw(3, 2, 8, 8)
    together = explain(model, x, "rise", n_samples=40).values["input"]
    alone = [explain(model, x[i : i + 1], "rise", target=1, n_samples=40).values["input"] for i in range(3)]
    same(together[:, 1], torch.cat(alone))


def test_of_a_layer_and_a_neuron(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    found = explain(model, x, "rise", layer="1", target=1, n_samples=64).values["1"]
    same(found, explain(lambda v: model[2:](v), v, "rise", target=1, n_samples=64).values["v"])
    found = explain(model, x, "rise", layer="1", neuron=2, n_samples=64).values["input"]
    same(found, explain(lambda x: model[:2](x)[:, 2], x, "rise", n_samples=64).values["x"])


def test_over_a_background(explain):
    x, rows, w = draw(1, 3, seed=1), draw(4, 3, seed=2), draw(3, seed=3)
    found = explain(lambda x: x @ w, x, "rise", background=rows, n_samples=50).values["x"]
    same(found, explain(lambda x: x @ w, x, "rise", baselines=rows.mean(0)[None], n_samples=50).values["x"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_samples": 0}, "n_samples and grid must be at least 1"),
        ({"grid": 0}, "n_samples and grid must be at least 1"),
        ({"share": 0.0}, "share between 0 and 1, got .*share=0.0"),
        ({"share": 1.0}, "share between 0 and 1"),
        ({"grid": 3, "feature_mask": torch.arange(6)[None]}, "grid=3 has no effect beside feature_mask"),
        ({"n_samples": 2, "share": 0.1}, r"n_samples=2 masks are too few: \d of 6 features are in none; give more"),
    ],
)
def test_what_is_wrong_is_said(explain, given, message):
    with pytest.raises(UsageError, match=message):
        explain(built(mlp), draw(1, 6), "rise", target=0, **given)


def test_what_is_not_finite_is_refused_with_how_many(explain):
    with pytest.raises(ModelError, match=r"NaN or infinity for \d+ of 40 coalitions"):
        explain(lambda x: x.sum(1) / x[:, 0], torch.ones(1, 4), "rise", n_samples=40)


def test_an_interrupt_leaves_an_estimate_of_the_first_masks(explain):
    calls = []

    def forward(x):
        calls.append(len(x))
        if calls.count(500) == 60 and len(x) == 500:  # once
            raise KeyboardInterrupt
        return x[:, :2].sum(1)

    x = torch.ones(1, 3)
    with pytest.warns(UserWarning, match=r"interrupted after \d+ of 40000 evaluations"):
        found = explain(forward, x, "rise", n_samples=40_000, internal_batch_size=500)
    assert (found.values["x"] - torch.tensor([[1.5, 1.5, 1.0]])).abs().max() < 0.05


def test_one_mask_is_enough_where_it_holds_all_and_a_batch_may_be_of_numbers(explain):
    x = torch.tensor([3.0, 5.0]).double()
    found = explain(lambda x: 2 * x, x, "rise", n_samples=1, share=1 - 1e-9)
    same(found.values["x"], 2 * x)
