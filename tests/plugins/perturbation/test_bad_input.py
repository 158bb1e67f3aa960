"""Odd input to methods that perturb: each a clear error, or the right result."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from attrkit.errors import ModelError, UsageError, UsageTypeError
from tests.plugins.models import built, draw, mlp

MASKED = ["feature_ablation", "loco", "rise", "sobol", "banzhaf", "owen", "shapley_interactions"]  # which take a replacement
GROUPING = [*MASKED, "feature_permutation"]
EVERY = [*GROUPING, "occlusion"]
ESTIMATED = ["rise", "sobol", "banzhaf", "owen", "shapley_interactions"]
INTS = torch.zeros(1, 6, dtype=torch.int64)


def options(name):
    return {"sliding_window_shapes": (1,)} if name == "occlusion" else {"n_samples": 400} if name == "rise" else {}


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", GROUPING)
@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (INTS[:, :4], UsageError, r"feature_mask\[0\] has shape \(1, 4\), .* does not broadcast .* \(3, 6\)"),
        (INTS.expand(2, 6), UsageError, r"feature_mask\[0\] has shape \(2, 6\), .* does not broadcast"),
        ((INTS, INTS), UsageError, "feature_mask has 2 tensors, but there are 1 to attribute to"),
        ((), UsageError, "feature_mask has 0 tensors, but there are 1 to attribute to"),
        (INTS.double(), UsageTypeError, r"feature_mask\[0\] must be an integer tensor .* got torch.float64"),
        (INTS.bool(), UsageTypeError, r"feature_mask\[0\] must be an integer tensor .* got torch.bool"),
        ([0] * 6, UsageTypeError, "feature_mask"),
        ("no such segmenter", UsageError, "no such segmenter"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit(explain, name, mask, error, message):
    with pytest.raises(error, match=message):
        explain(built(mlp), draw(3, 6), name, target=0, feature_mask=mask)


@pytest.mark.parametrize("name", GROUPING)
def test_ids_with_gaps_are_like_those_without(explain, name):
    model, x = built(mlp), draw(3, 6)
    near, far = (torch.tensor(ids) for ids in ([2, 0, 1, 1, 0, 2], [10**12, -7, 3, 3, -7, 10**12]))
    found, expected = (explain(model, x, name, target=0, feature_mask=m, **options(name)) for m in (far, near))
    same(found.values["input"], expected.values["input"])
    assert found.details.get("evaluations") == expected.details.get("evaluations")


@pytest.mark.parametrize("name", ["feature_ablation", "loco", "banzhaf", "owen", "shapley_interactions", "occlusion"])
def test_one_feature_is_the_whole_change(explain, name):
    model, x, baseline = built(mlp), draw(3, 6), draw(3, 6, seed=1)
    given = {"sliding_window_shapes": (6,)} if name == "occlusion" else {"feature_mask": INTS}
    found = explain(model, x, name, target=0, baselines=baseline, **given).values["input"]
    change = (model(x) - model(baseline)).detach()[:, :1]
    same(found, (change.abs() if name == "loco" else change).expand(3, 6))


def test_one_feature_has_all_of_the_variance(explain):
    found = explain(built(mlp), draw(3, 6), "sobol", target=0, feature_mask=INTS).values["input"]
    same(found, torch.ones(3, 6).double())


@pytest.mark.parametrize("name", [*MASKED, "occlusion"])
@pytest.mark.parametrize(
    ("background", "message"),
    [
        (draw(4, 5), r"background has shape \(4, 5\); give one or more rows like an example of the input, shape \(rows, 6\)"),
        (draw(0, 6), r"background has shape \(0, 6\)"),
        ((draw(4, 6), draw(4, 6)), "background has 2 entries, but the input has 1 tensors"),
    ],
)
def test_backgrounds_that_do_not_fit(explain, name, background, message):
    with pytest.raises(UsageError, match=message):
        explain(built(mlp), draw(3, 6), name, target=0, background=background, **options(name))


@pytest.mark.parametrize("name", [*MASKED, "occlusion"])
def test_a_background_and_a_replacement(explain, name):
    with pytest.raises(UsageError, match="background and replacement both say what absent features are replaced by"):
        explain(built(mlp), draw(3, 6), name, target=0, background=draw(4, 6), replacement=lambda p: p.point, **options(name))


class Attending(nn.Module):
    """A mean of numbers, those whose entry in an attention mask is minus infinity left out."""

    def forward(self, x, mask):
        return (mask.softmax(1) * x).sum(1)


@pytest.mark.parametrize("name", EVERY)
def test_masks_of_minus_infinity_are_replaced_whole(explain, name):
    x, mask = draw(2, 4, seed=1), torch.zeros(2, 4).double()
    given = {"sliding_window_shapes": ((1,), (1,))} if name == "occlusion" else options(name)
    there = torch.cat([torch.full((2, 1), -torch.inf), mask[:, 1:]], 1).double()
    found = explain(Attending(), (x, there), name, **given)
    assert all(v.isfinite().all() for v in found.values.values())
    if name in ("feature_ablation", "occlusion"):
        expected = (x[:, 1:].mean(1) - x.mean(1))[:, None]  # of the entry that is minus infinity, zero in its place
        same(found.values["mask"][:, :1], expected)


@pytest.mark.parametrize("name", ["feature_ablation", "loco", "banzhaf", "owen", "shapley_interactions", "occlusion"])
@pytest.mark.parametrize("value", [-torch.inf, torch.nan])
def test_baselines_that_are_not_finite_reach_only_what_they_replace(explain, name, value):
    def forward(x):
        return torch.where(x.isfinite(), x, 10).sum(1)

    x = torch.tensor([[1.0, 2.0, 3.0]]).double()
    found = explain(forward, x, name, baselines=torch.tensor([[0.0, value, 0.0]]).double(), **options(name)).values["x"]
    expected = torch.tensor([[1.0, -8.0, 3.0]]).double()
    same(found, expected.abs() if name == "loco" else expected)


@pytest.mark.parametrize("name", ["feature_ablation", "occlusion", "loco", "feature_permutation"])
def test_drops_that_are_not_finite_are_warned_about_with_how_many(explain, name):
    x = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).double()
    with pytest.warns(UserWarning, match=f"{name}: [123] of 4 attributions are not finite"):
        explain(lambda x: x[:, 1] / x[:, 0].clamp_min(-1), torch.cat([x[:1], x[:1]]) if name != "feature_permutation" else x,
                name, **options(name))  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATED)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_estimates_from_what_is_not_finite_are_refused_with_how_many(explain, name, value):
    def forward(x):
        return torch.where(x[:, 0] == 0, value, x.sum(1))

    with pytest.raises(ModelError, match=r"NaN or infinity for \d+ of \d+ coalitions .* choose a replacement"):
        explain(forward, torch.ones(2, 4), name, **options(name))


@pytest.mark.parametrize("name", EVERY)
def test_outputs_that_do_not_grow_with_the_batch(explain, name):
    with pytest.raises(UsageError, match=r"\b2\b.*\b3\b"):
        explain(lambda x: x[:2].sum(1), draw(3, 6), name, **options(name))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("returned", [lambda v: v, lambda v: v.reshape(1), float], ids=["no dimension", "one entry", "float"])
def test_one_value_for_the_batch(explain, name, returned):
    x = draw(3, 4)
    whole = explain(lambda x: returned((x**2).sum()), x, name, **options(name)).values["x"]
    assert whole.shape == (1, 4)
    if name not in ("feature_permutation", "rise", "sobol"):
        same(whole, (x**2).sum(0, keepdim=True), 1e-9)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float16, torch.float64])
def test_types_of_inputs_are_kept(explain, name, dtype):
    x, seen = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype), set()

    def forward(x):
        seen.add(x.dtype)
        return x.double() @ torch.tensor([1.0, 2.0, 3.0]).double()

    found = explain(forward, x, name, **options(name)).values["x"]
    assert seen == {dtype}
    assert found.dtype is torch.float64
    if name not in ("feature_permutation", "rise", "sobol"):
        same(found, torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 3.0]]).double())


@pytest.mark.parametrize("name", EVERY)
def test_whole_numbers_and_booleans_that_models_return(explain, name):
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    found = explain(lambda x: x.sum(1).long(), x, name, **options(name)).values["x"]
    if name not in ("feature_permutation", "rise", "sobol"):
        same(found.double(), x.double())
    truth = explain(lambda x: x.sum(1) > 1, x, name, **options(name)).values["x"]
    assert truth.shape == (2, 3)


@pytest.mark.parametrize("name", EVERY)
def test_precision_is_that_of_the_model(explain, name):
    model, x = built(mlp), draw(3, 6)
    double = explain(model, x, name, target=0, **options(name)).values["input"]
    single = explain(built(mlp).float(), x.float(), name, target=0, **options(name)).values["input"]
    assert double.dtype is torch.float64
    assert single.dtype is torch.float32
    same(single.double(), double, 1e-4)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_examples_or_no_features(explain, name, shape):
    found = explain(lambda x: x.sum(1), torch.zeros(shape), name, **options(name)).values["x"]
    assert found.shape == shape


@pytest.mark.parametrize("name", EVERY)
def test_no_gradient_is_recorded_and_none_is_needed(explain, name):
    recorded = []

    def forward(x):
        recorded.append(torch.is_grad_enabled() or x.requires_grad)
        return x.sum(1)

    x = draw(2, 3).requires_grad_()
    found = explain(forward, x, name, **options(name)).values["x"]
    assert not any(recorded)
    assert not found.requires_grad


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_warned_about_and_the_same_seed_gives_the_same(explain, name):
    model, x = built(mlp), draw(3, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (explain(model, x, name, target=[0, 1, 2], **options(name)).values["input"] for _ in range(2))
    assert torch.equal(first, again)
