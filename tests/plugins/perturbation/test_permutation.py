"""Feature permutation: values of a feature exchanged between examples, the others left as they are."""

from __future__ import annotations

import pytest
import torch

import attrkit
from attrkit.errors import UsageError, UsageTypeError
from tests.plugins.models import TwoInputs, built, cnn, draw, mlp


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def rolled(x, mask):
    """The feature's values of the example before."""
    return torch.where(mask, x.roll(1, 0), x)


def by_hand(value, point, ids):
    """The drop when each feature's values are those of the example before."""
    found = tuple(torch.zeros_like(x) for x in point)
    for feature in {int(i) for group in ids for i in group.flatten()}:
        moved = tuple(rolled(x, group == feature) for x, group in zip(point, ids, strict=True))
        drop = value(*point) - value(*moved)
        for attribution, group in zip(found, ids, strict=True):
            attribution.add_(torch.where(group == feature, drop.reshape(-1, *[1] * (attribution.dim() - 1)), 0))
    return found


def test_two_examples_change_places(explain):
    model, x = built(mlp), draw(2, 6)
    found = explain(model, x, "feature_permutation", target=1)
    ids = torch.arange(6)[None]
    same(found.values["input"], *by_hand(lambda x: model(x)[:, 1].detach(), (x,), (ids,)))
    assert found.passes["forward"] == 7


def test_by_a_function_of_a_tensor_and_a_mask(explain):
    model, point = built(TwoInputs), (draw(3, 4, seed=1), draw(3, 2, 3, seed=2))
    ids = (torch.tensor([[0, 0, 5, 9]]), torch.tensor([[[5, 7, 7], [9, 9, 7]]]))
    seen = []

    def function(x, mask):
        assert mask.dtype is torch.bool
        assert mask.any()  # only tensors that hold the feature are asked for
        seen.append(tuple(x.shape))
        return rolled(x, mask)

    found = explain(model, point, "feature_permutation", target=1, feature_mask=ids, perm_func=function)

    def value(*point):
        return model(*point)[:, 1].detach()

    same(tuple(found.values.values()), by_hand(value, point, ids))
    assert set(seen) == {(3, 2, 3), (3, 4)}


def test_a_function_that_draws_from_torch_is_given_a_seed(explain):
    model, x = built(mlp), draw(8, 6)

    def function(x, mask):
        return torch.where(mask, x[torch.randperm(len(x))], x)

    options = {"target": 1, "perm_func": function}
    first, again = (explain(model, x, "feature_permutation", internal_batch_size=n, **options) for n in (8, 80))
    first = first.values["input"]
    same(first, again.values["input"])
    other = explain(model, x, "feature_permutation", seed=1, **options).values["input"]
    assert not torch.equal(first, other)


def test_all_tensors_of_a_feature_are_permuted_alike(explain):
    x = draw(7, 1)
    found = explain(
        lambda a, b: (a - b).abs().sum(1), (x, x.clone()), "feature_permutation",
        feature_mask=(torch.tensor([[3]]), torch.tensor([[3]])), seed=5,
    )  # fmt: skip
    assert not any(v.any() for v in found.values.values())


@pytest.mark.parametrize("seed", range(20))
def test_the_permutation_is_not_the_identity_and_keeps_the_values(explain, seed):
    x, seen = torch.arange(3.0)[:, None], []

    def forward(x):
        seen.append(x.clone())
        return x.sum(1)

    explain(forward, x, "feature_permutation", seed=seed, internal_batch_size=3)
    assert torch.equal(seen[0], x)
    assert not torch.equal(seen[1], x)
    assert sorted(seen[1].flatten().tolist()) == [0.0, 1.0, 2.0]


def test_features_have_permutations_of_their_own_and_seeds_others(explain):
    x = torch.arange(50.0)[:, None].expand(50, 3)
    found = explain(lambda x: x[:, 0] + 100 * x[:, 1] + 10000 * x[:, 2], x, "feature_permutation").values["x"]
    moved = found / torch.tensor([1.0, 100.0, 10000.0])
    assert not torch.equal(moved[:, 0], moved[:, 1])
    other = explain(lambda x: x[:, 0], x, "feature_permutation", seed=1).values["x"]
    assert not torch.equal(other[:, 0], moved[:, 0])


@pytest.mark.parametrize("rows", [1, 2, 5, 64])
@pytest.mark.parametrize("repeats", [1, 3])
def test_the_number_of_rows_changes_nothing(explain, rows, repeats):
    model, x = built(cnn), draw(5, 2, 8, 8)
    mask = torch.arange(64).reshape(8, 8) // 9
    options = {"target": [0, 1, 0, 1, 0], "feature_mask": mask, "n_repeats": repeats}
    found = explain(model, x, "feature_permutation", internal_batch_size=rows, **options)
    alike = explain(model, x, "feature_permutation", **options)
    same(found.values["input"], alike.values["input"])
    assert set(found.errors) == ({"input"} if repeats > 1 else set())


def test_repeats_approach_the_mean_over_all_permutations(explain):
    x, n = draw(6, 2, seed=3), 4000
    found = explain(lambda x: x.prod(1), x, "feature_permutation", n_repeats=n)
    others = (x.sum(0) - x) / 5  # of what an example may get; itself it gets with the same chance as each, but for one order
    itself = (1 / 6 - 1 / 720) / (1 - 1 / 720)
    got = itself * x + (1 - itself) * others
    expected = x.prod(1, keepdim=True) - got * x.flip(1)
    errors = found.errors["x"]
    assert ((found.values["x"] - expected).abs() < 5 * errors + 1e-12).all()
    assert (errors < 0.1).all()
    assert found.details["degrees_of_freedom"] == n
    low, high = found.interval()["x"]
    assert (low < high).all()


def test_errors_are_those_of_a_mean(explain):
    x = draw(4, 3)
    each = [explain(lambda x: x.prod(1), x, "feature_permutation", n_repeats=8, seed=s) for s in range(60)]
    spread = torch.stack([e.values["x"] for e in each]).var(0).mean()
    claimed = torch.stack([e.errors["x"] for e in each]).square().mean()
    assert 0.8 < float(claimed / spread) < 1.25


def test_one_number_for_the_batch(explain):
    x, y = draw(50, 3), draw(50, seed=9)

    def loss(x):
        return -((x[:, 0] - y[: len(x)]) ** 2).mean()

    found = explain(loss, x, "feature_permutation").values["x"]
    assert found.shape == (1, 3)
    assert found[0, 1:].tolist() == [0.0, 0.0]
    assert found[0, 0] != 0


def test_of_a_layer(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    found = explain(model, x, "feature_permutation", layer="1", target=1)
    same(found.values["1"], *by_hand(lambda v: model[2:](v)[:, 1].detach(), (v,), (torch.arange(8)[None],)))


def test_every_output_and_several_targets(explain):
    model, x = built(mlp), draw(4, 6)
    found = explain(model, x, "feature_permutation").values["input"]
    each = [explain(model, x, "feature_permutation", target=t).values["input"] for t in range(3)]
    same(found, torch.stack(each, 1))
    together = attrkit.explain_each(model, x, "feature_permutation", targets=[0, 2])
    same([e.values["input"] for e in together], [each[0], each[2]])


def test_masks_for_each_example(explain):
    model, x = built(mlp), draw(2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 2, 2], [2, 2, 1, 1, 0, 0]])
    found = explain(model, x, "feature_permutation", target=0, feature_mask=mask).values["input"]
    same(found, *by_hand(lambda x: model(x)[:, 0].detach(), (x,), (mask,)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_inputs_keep_their_type(explain, dtype):
    seen = set()

    def forward(x):
        seen.add(x.dtype)
        return x.double().sum(1)

    found = explain(forward, torch.tensor([[1, 0], [0, 0]]).to(dtype), "feature_permutation").values["x"]
    assert seen == {dtype}
    assert found.tolist() == [[1.0, 0.0], [-1.0, 0.0]]


def test_no_examples(explain):
    assert explain(lambda x: x.sum(1), torch.zeros(0, 3), "feature_permutation").values["x"].shape == (0, 3)


@pytest.mark.parametrize(
    ("batch", "given", "error", "message"),
    [
        (1, {}, UsageError, "feature_permutation exchanges values between examples; give a batch of at least 2"),
        (2, {"n_repeats": 0}, UsageError, "n_repeats must be at least 1, got 0"),
        (2, {"n_repeats": 1.5}, UsageTypeError, "n_repeats must be int, got 1.5"),
        (2, {"perm_func": 3}, UsageTypeError, "perm_func must be a function of a tensor and a mask, got int"),
        (2, {"perm_func": lambda x, mask: x[:1]}, UsageError, r"the shape that it is given, \(2, 6\), it returned \(1, 6\)"),
        (2, {"perm_func": lambda x, mask: None}, UsageError, "it returned NoneType"),
        (2, {"neuron": 0, "layer": "0"}, UsageError, "attributes to input, layer, not to neuron"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(explain, batch, given, error, message):
    with pytest.raises(error, match=message):
        explain(built(mlp), draw(batch, 6), "feature_permutation", target=0, **given)
