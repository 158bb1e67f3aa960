"""LIME with functions of the caller's: what draws coalitions, and what weighs them, in the established protocol."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

import attrkit
from attrkit.errors import AttrkitWarning, UsageError
from tests.plugins.models import TwoInputs, built, draw, mlp

MASK = torch.tensor([[0, 0, 1, 2, 2, 3]])


def coalitions(k, features, seed=0):
    return torch.rand(k, features, generator=torch.Generator().manual_seed(seed)) < 0.5


def in_turn(z):
    masks = iter(z.long()[:, None])
    return lambda original, **kwargs: next(masks)


def large(net):
    return lambda *x: 100 * net(*x)


def test_coalitions_of_a_function_are_those_of_a_design(explain):
    model, x, z = built(mlp), draw(1, 6), coalitions(30, 4)
    given = dict(feature_mask=MASK, target=0, n_samples=30, surrogate="ridge")
    z[0] = True
    ours = explain(model, x, "lime", standardise=False, **given, design=lambda count, size, generator: iter([z[1:]]))
    theirs = explain(model, x, "lime", standardise=False, **given, perturb_func=in_turn(z))
    torch.testing.assert_close(theirs.values["input"], ours.values["input"])
    torch.testing.assert_close(theirs.errors["input"], ours.errors["input"])
    assert theirs.details["evaluations"] == len(z.unique(dim=0))


@pytest.mark.parametrize("mask", [MASK, torch.tensor([[0, 0, 1, 2, 2, 3], [3, 2, 1, 0, 0, 0], [0, 0, 1, 1, 2, 2]])])
def test_each_example_has_coalitions_of_its_own(explain, mask):
    model, x, z = built(mlp), draw(3, 6), coalitions(60, 4)
    x[0, 2] = 0  # a feature that makes no difference there
    given = dict(target=1, surrogate="ridge", n_samples=20)
    together = explain(model, x, "lime", standardise=False, feature_mask=mask, perturb_func=in_turn(z), **given)
    assert together.details["evaluations"] <= 21
    for i in range(3):
        one = mask if len(mask) == 1 else mask[i : i + 1]
        whole = torch.cat([one, torch.arange(4)[None, :].expand(1, 4)], 1)[:, :6]
        alone = explain(
            model,
            x[i : i + 1],
            "lime",
            standardise=False,
            feature_mask=whole,
            perturb_func=in_turn(_there(z[20 * i :], one)),
            **given,
        )
        torch.testing.assert_close(together.values["input"][i : i + 1], alone.values["input"], rtol=1e-9, atol=1e-12)


def _there(z, mask):
    """The columns of features that an example has."""
    return z[:, mask.unique()]


def test_functions_are_told_about_the_example(explain):
    told = []
    x, baselines = (draw(2, 4), draw(2, 2, 3)), (draw(2, 4, seed=5), draw(2, 2, 3, seed=6))
    masks = torch.tensor([[2, 4, 4, 9]]), torch.arange(12).reshape(2, 2, 3) + 9

    def perturb(original, **kwargs):
        told.append((original, None, None, kwargs))
        return torch.bernoulli(torch.full((1, kwargs["num_interp_features"]), 0.5))

    def similarity(original, perturbed, interpretable, **kwargs):
        told.append((original, perturbed, interpretable, kwargs))
        return 1.0

    explain(built(TwoInputs), x, "lime", target=0, baselines=baselines, feature_mask=masks, n_samples=4, surrogate="ridge",
            perturb_func=perturb, similarity_func=similarity)  # fmt: skip
    assert len(told) == 16
    ids = attrkit.Features.of(x, masks).ids
    for number, (original, perturbed, interpretable, kwargs) in enumerate(told):
        i = number // 4 if perturbed is None else number % 2
        assert [t.tolist() for t in original] == [t[i : i + 1].tolist() for t in x]
        assert [t.tolist() for t in kwargs["baselines"]] == [t[i : i + 1].tolist() for t in baselines]
        assert torch.equal(kwargs["feature_mask"][0], ids[0])
        assert torch.equal(kwargs["feature_mask"][1], ids[1][i : i + 1])
        assert kwargs["num_interp_features"] == 14
        if perturbed is not None:
            assert interpretable.shape == (1, 14)
            for t, a, b, m in zip(perturbed, original, kwargs["baselines"], kwargs["feature_mask"], strict=True):
                assert torch.equal(t, torch.where(interpretable[0][m] != 0, a, b))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kernel", ["cosine", "euclidean"])
@pytest.mark.parametrize("own", [True, False])
def test_a_similarity_function_is_as_good_as_the_kernel(explain, kernel, batch, own):
    def similarity(original, perturbed, interpretable, **kwargs):
        a, b = original.flatten(), perturbed.flatten()
        d = (a - b).norm() if kernel == "euclidean" else 1 - torch.nn.functional.cosine_similarity(a, b, dim=0)
        return torch.exp(-(d**2) / (2 * 0.7**2))  # a tensor of one number

    def given():
        more = {"perturb_func": in_turn(coalitions(20 * batch, 4))} if own else {}
        return dict(feature_mask=MASK, target=0, n_samples=20, surrogate="ridge", **more)

    model, x = built(mlp), draw(batch, 6)
    ours = explain(model, x, "lime", standardise=False, kernel=kernel, kernel_width=0.7, **given())
    theirs = explain(model, x, "lime", standardise=False, similarity_func=similarity, **given())
    torch.testing.assert_close(theirs.values["input"], ours.values["input"], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(theirs.details["r2"], ours.details["r2"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kernel", ["cosine", "euclidean"])
def test_one_value_for_the_batch_is_one_example(explain, kernel):
    seen = []

    def similarity(original, perturbed, interpretable, **kwargs):
        seen.append(original)
        a, b = original.flatten(), perturbed.flatten()
        d = (a - b).norm() if kernel == "euclidean" else 1 - torch.nn.functional.cosine_similarity(a, b, dim=0)
        return math.exp(-(float(d) ** 2) / 2)

    x, z = draw(3, 4), coalitions(20, 4)
    given = dict(n_samples=20, surrogate="ridge")
    ours = explain(lambda x: (x**3).sum(), x, "lime", standardise=False, kernel=kernel, perturb_func=in_turn(z), **given)
    theirs = explain(
        lambda x: (x**3).sum(), x, "lime", standardise=False, similarity_func=similarity, perturb_func=in_turn(z), **given
    )
    assert ours.values["x"].shape == (1, 4)
    torch.testing.assert_close(theirs.values["x"], ours.values["x"], rtol=1e-8, atol=1e-10)
    assert all(torch.equal(s, x) for s in seen)


def test_a_similarity_of_what_was_drawn(explain):
    rows, x = draw(4, 3, seed=2), draw(2, 3)
    seen = []

    def similarity(original, perturbed, interpretable, **kwargs):
        assert kwargs["baselines"] is None
        seen.append((perturbed, interpretable))
        return 1.0

    explain(lambda x: x.prod(1), x, "lime", background=rows, similarity_func=similarity, n_samples=10, surrogate="ridge")
    for number, (perturbed, interpretable) in enumerate(seen):
        expected = torch.where(interpretable != 0, x[number % 2], rows[number // 2 % 4])
        assert torch.equal(perturbed, expected)


def test_a_generator_function(explain):
    z = coalitions(30, 4)

    def generator(original, **kwargs):
        yield from z[:25, None].double()

    model, x, given = built(mlp), draw(1, 6), dict(feature_mask=MASK, target=0, surrogate="ridge")
    found = explain(model, x, "lime", perturb_func=generator, n_samples=20, **given)
    expected = explain(model, x, "lime", perturb_func=in_turn(z), n_samples=20, **given)
    assert torch.equal(found.values["input"], expected.values["input"])
    with pytest.warns(AttrkitWarning, match="perturb_func yielded 25 of 30 samples; the surrogate is fitted to those"):
        found = explain(model, x, "lime", perturb_func=generator, n_samples=30, **given)
    assert found.details["samples"] == 25


def test_a_generator_function_that_yields_nothing():
    def generator(original, **kwargs):
        yield from ()

    with (
        pytest.warns(AttrkitWarning, match="yielded 0 of 1000"),
        pytest.raises(UsageError, match="perturb_func gave no sample at all"),
    ):
        attrkit.explain(lambda x: x.sum(1), draw(1, 3), "lime", perturb_func=generator)


def test_fractions_in_a_coalition_reach_the_surrogate(explain):
    z = coalitions(20, 3).double() * 0.5
    found = explain(
        lambda x: x.sum(1), draw(1, 3), "lime", perturb_func=in_fractions(z), n_samples=20, surrogate="least_squares"
    )
    torch.testing.assert_close(found.values["x"], 2 * draw(1, 3))


def in_fractions(z):
    rows = iter(z[:, None])
    return lambda original, **kwargs: next(rows)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["lasso", "ridge", "least_squares"])
def test_captum_with_functions(name, batch):
    captum = pytest.importorskip("captum.attr")
    from captum._utils.models import linear_model

    fitted = {"lasso": ("SkLearnLasso", {"alpha": 0.01, "tol": 1e-6}), "ridge": ("SkLearnRidge", {"alpha": 1.0}),
              "least_squares": ("SkLearnLinearRegression", {})}[name]  # fmt: skip
    surrogate = getattr(linear_model, fitted[0])
    model, x, z = large(built(mlp)), draw(batch, 6), coalitions(40 * batch, 4)
    similarity = pytest.importorskip("captum.attr._core.lime").get_exp_kernel_similarity_function("euclidean", 2.0)
    peer = captum.Lime(model, surrogate(**fitted[1]), similarity, in_turn(z))
    given = dict(target=1, feature_mask=MASK, n_samples=40)
    with pytest.warns(UserWarning, match="multiple inputs") if batch > 1 else nullcontext():
        expected = peer.attribute(x, 0.25, **given)
    kernel = {"kernel": "euclidean", "kernel_width": 2.0}
    for more in (
        {"surrogate": name, **kernel},
        {"interpretable_model": surrogate(**fitted[1]), **kernel},
        {"interpretable_model": surrogate(**fitted[1]), "similarity_func": similarity},
    ):
        found = attrkit.explain(model, x, "lime", standardise=False,
                            baselines=0.25, perturb_func=in_turn(z), **given, **more)  # fmt: skip
        torch.testing.assert_close(next(iter(found.values.values())).float(), expected, rtol=1e-3, atol=2e-3)
