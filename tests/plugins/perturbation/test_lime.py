"""LIME against a slow program of its definition, scikit-learn and Captum, from the same coalitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import attrkit
from attrkit import NO_FEATURE
from attrkit.errors import AttrkitWarning, ModelError, UnknownName, UsageError, UsageTypeError
from attrkit.registry import registry
from tests.plugins.models import Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp


def coalitions(k, features, seed=0):
    """A coalition of all features, and random ones."""
    z = torch.rand(k, features, generator=torch.Generator().manual_seed(seed)) < 0.5
    z[0] = True
    return z


def planned(z):
    """The design that asks for these coalitions after the one of all features."""
    return lambda count, size, generator: iter([z[1:]])


def distance(kernel, x, changed, z):
    a, b = (torch.cat([t.double().flatten() for t in tensors]) for tensors in (x, changed))
    if kernel == "hamming":
        return float((~z).double().mean())
    if kernel == "euclidean":
        return float((a - b).norm())
    length = float(a.norm() * b.norm())
    return 1 - (float(a @ b) / length if length else 0.0)


def by_definition(model, x, baselines, masks, z, surrogate, kernel="cosine", width=1.0):
    """Each example and each sample built, weighed and evaluated alone; coefficients (batch, outputs, features), and R^2."""
    batch, found, r2 = len(x[0]), [], []
    for i in range(batch):
        one, other = (tuple(t[i : i + 1] for t in tensors) for tensors in (x, baselines))
        ids = tuple(m if len(m) == 1 else m[i : i + 1] for m in masks)
        ys, ws = [], []
        for row in z:
            changed = tuple(torch.where(row[m.long()], a, b) for a, b, m in zip(one, other, ids, strict=True))
            ys.append(model(*changed)[0].reshape(-1).double())
            ws.append(math.exp(-(distance(kernel, one, changed, row) ** 2) / (2 * width**2)))
        y, w = torch.stack(ys).detach(), torch.tensor(ws, dtype=torch.float64)
        models = [surrogate().fit(z.double().numpy(), column.numpy(), sample_weight=w.numpy()) for column in y.T]
        found.append(torch.stack([torch.from_numpy(m.coef_) for m in models]))
        r2.append([m.score(z.double().numpy(), c.numpy(), sample_weight=w.numpy()) for m, c in zip(models, y.T, strict=True)])
    return torch.stack(found), torch.tensor(r2, dtype=torch.float64)


def linear():
    return pytest.importorskip("sklearn.linear_model")


SURROGATES = {
    "lasso": ("lasso", lambda: linear().Lasso(alpha=0.01, tol=1e-13, max_iter=10**6)),
    "lasso 1": ({"lasso": {"alpha": 0.1}}, lambda: linear().Lasso(alpha=0.1, tol=1e-13, max_iter=10**6)),
    "ridge": ({"ridge": {"alpha": 0.5}}, lambda: linear().Ridge(alpha=0.5)),
    "least squares": ("least_squares", lambda: linear().LinearRegression()),
}
CASES = {
    "table": (mlp, (draw(3, 6),), (draw(3, 6, seed=9),), (torch.arange(6)[None],)),
    "image": (cnn, (draw(3, 2, 8, 8),), (torch.zeros(3, 2, 8, 8).double(),),
              ((torch.arange(8)[:, None] // 3 * 3 + torch.arange(8) // 3)[None, None],)),
    "mask for each example": (mlp, (draw(2, 6),), (draw(2, 6, seed=9),),
                              (torch.tensor([[0, 0, 1, 2, 3, 3], [3, 2, 1, 1, 0, 0]]),)),
    "two tensors": (TwoInputs, (draw(3, 4), draw(3, 2, 3)), (draw(3, 4, seed=9), draw(3, 2, 3, seed=8)),
                    (torch.tensor([[0, 1, 1, 2]]), torch.tensor([[[2, 2, 3], [4, 4, 3]]]))),
    "one feature": (mlp, (draw(3, 6),), (draw(3, 6, seed=9),), (torch.zeros(1, 6, dtype=torch.int64),)),
}  # fmt: skip


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("case", CASES)
def test_coefficients_are_those_of_the_definition(explain, case, surrogate):
    factory, x, baselines, masks = CASES[case]
    net, count = built(factory), int(max(m.max() for m in masks)) + 1
    z, (ours, theirs) = coalitions(40, count), SURROGATES[surrogate]

    def model(*tensors):
        return 300 * net(*tensors)  # larger than what the lasso takes away

    expected, r2 = by_definition(model, x, baselines, masks, z, theirs)
    found = explain(model, x if len(x) > 1 else x[0], "lime", standardise=False,
                        baselines=baselines if len(x) > 1 else baselines[0],
                    feature_mask=masks, n_samples=40, design=planned(z), surrogate=ours)  # fmt: skip
    torch.testing.assert_close(found.details["scores"], expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.details["r2"], r2, rtol=1e-8, atol=1e-8)
    for value, t, m in zip(found.values.values(), x, masks, strict=True):
        at = m.expand(len(t), *t.shape[1:])
        for i, o in itertools.product(range(len(t)), range(expected.shape[1])):
            torch.testing.assert_close(value[i, o], expected[i, o][at[i]], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("baseline", ["zero", "drawn"])
@pytest.mark.parametrize(("kernel", "width"), [("cosine", 0.3), ("euclidean", 2.0), ("hamming", 0.5)])
def test_kernels(explain, kernel, width, baseline):
    model, x = built(mlp), draw(2, 6)
    reference = torch.zeros(2, 6).double() if baseline == "zero" else draw(2, 6, seed=4)
    z = coalitions(30, 6)
    z[1] = False  # of which zero makes a vector without direction
    expected, _ = by_definition(model, (x,), (reference,), (torch.arange(6)[None],), z, SURROGATES["ridge"][1], kernel, width)
    found = explain(model, x, "lime", standardise=False,
                        baselines=reference, kernel=kernel, kernel_width=width, n_samples=30, design=planned(z),
                    surrogate=SURROGATES["ridge"][0])  # fmt: skip
    torch.testing.assert_close(found.details["scores"], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("kernel", "width"), [("cosine", 0.25), ("euclidean", 0.75 * 6**0.5)])
def test_distances_between_vectors_of_features(explain, kernel, width):
    model, x, z = built(mlp), draw(2, 6), coalitions(30, 6)

    def weight(row):
        d = 1 - math.sqrt(float(row.double().mean())) if kernel == "cosine" else math.sqrt(float((~row).sum()))
        return math.exp(-(d**2) / (2 * width**2))

    w = [weight(row) for row in z]
    found = explain(model, x, "lime", standardise=False,
                        target=1, kernel=kernel, kernel_width=width, kernel_space="features", n_samples=30,
                    design=planned(z), surrogate={"ridge": {"alpha": 0.5}})  # fmt: skip
    for i in range(2):
        y = model(torch.where(z, x[i], 0.0))[:, 1].detach().numpy()
        peer = linear().Ridge(alpha=0.5).fit(z.double().numpy(), y, sample_weight=w)
        torch.testing.assert_close(found.values["input"][i], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)


def test_positions_that_belong_to_no_feature_count_in_the_distance(explain):
    x, reference, z = draw(2, 4), draw(2, 4, seed=1), coalitions(20, 2)
    mask = torch.tensor([[5, NO_FEATURE, 9, 5]])
    seen = []
    for i in range(2):
        present = z[:, [0, 0, 1, 0]].clone()
        present[:, 1] = True
        changed = torch.where(present, x[i], reference[i])
        d = 1 - torch.nn.functional.cosine_similarity(x[i], changed, dim=1)
        peer = (
            linear()
            .Ridge(alpha=1.0)
            .fit(z.double().numpy(), changed.prod(1).numpy(), sample_weight=(-(d**2) / 2).exp().numpy())
        )
        seen.append(torch.from_numpy(peer.coef_))
    found = explain(lambda x: x.prod(1), x, "lime", standardise=False,
                        baselines=reference, feature_mask=mask, surrogate="ridge", n_samples=20,
                    design=planned(z))  # fmt: skip
    torch.testing.assert_close(found.details["scores"], torch.stack(seen), rtol=1e-8, atol=1e-8)
    assert bool((found.values["x"][:, 1] == 0).all())


def test_features_that_make_no_difference_to_an_example_are_left_out_of_its_fit(explain):
    x = draw(3, 4)
    x[1, 2] = 0  # as the baseline
    mask = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 1, 0]])  # the third example has two features
    z = coalitions(30, 4)
    found = explain(lambda x: x.prod(1) + x.sum(1), x, "lime", standardise=False,
                        feature_mask=mask, surrogate="least_squares", n_samples=30,
                    design=planned(z), kernel="hamming", kernel_width=0.4)  # fmt: skip
    w = torch.exp(-((~z).double().mean(1) ** 2) / (2 * 0.4**2)).numpy()
    for i, those in enumerate([[0, 1, 2, 3], [0, 1, 3], [0, 1]]):
        changed = torch.where(z[:, mask[i]], x[i], 0.0)
        peer = linear().LinearRegression().fit(z[:, those].numpy(), (changed.prod(1) + changed.sum(1)).numpy(), sample_weight=w)
        expected = torch.zeros(4, dtype=torch.float64)
        expected[those] = torch.from_numpy(peer.coef_)
        torch.testing.assert_close(found.details["scores"][i], expected, rtol=1e-8, atol=1e-8)


def test_one_value_for_the_whole_batch(explain):
    x, z = draw(3, 4), coalitions(25, 4)
    changed = torch.where(z[:, None], x, 0.0)
    d = 1 - torch.nn.functional.cosine_similarity(x.flatten()[None], changed.flatten(1), dim=1)
    peer = (
        linear().Ridge(alpha=1.0).fit(z.numpy(), (changed**3).sum((1, 2)).numpy(), sample_weight=torch.exp(-(d**2) / 2).numpy())
    )
    found = explain(lambda x: (x**3).sum(), x, "lime", standardise=False, surrogate="ridge", n_samples=25, design=planned(z))
    assert found.values["x"].shape == (1, 4)
    torch.testing.assert_close(found.values["x"][0], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)
    assert found.details["r2"].shape == (1,)


def test_integers_stay_integers(explain):
    model, ids, z = built(Tokens), torch.tensor([[1, 2, 3], [5, 6, 10], [4, 4, 4]]), coalitions(20, 3)
    expected, _ = by_definition(model, (ids,), (torch.full_like(ids, 2),), (torch.arange(3)[None],), z, SURROGATES["ridge"][1])
    found = explain(
        model, ids, "lime", standardise=False, baselines=2, surrogate={"ridge": {"alpha": 0.5}}, n_samples=20, design=planned(z)
    )
    here = torch.tensor([[True, False, True], [True] * 3, [True] * 3])  # the second token of the first is the baseline
    got = found.details["scores"]
    torch.testing.assert_close(got[1:], expected[1:], rtol=1e-8, atol=1e-8)
    assert bool((got[0][:, ~here[0]] == 0).all())
    assert found.values["ids"].dtype is torch.float64


@pytest.mark.parametrize("name", ["SkLearnLasso", "SkLearnRidge", "SkLearnLinearRegression"])
def test_captum_from_the_same_masks(name):
    captum = pytest.importorskip("captum.attr")
    from captum._utils.models import linear_model

    net, x, mask, z = built(mlp), draw(1, 6), torch.tensor([[0, 0, 1, 2, 2, 3]]), coalitions(40, 4)

    def model(x):
        return 100 * net(x)

    options = {"SkLearnLasso": {"alpha": 0.01, "tol": 1e-6}, "SkLearnRidge": {"alpha": 1.0}}.get(name, {})
    ours = {"SkLearnLasso": "lasso", "SkLearnRidge": "ridge", "SkLearnLinearRegression": "least_squares"}[name]
    masks = iter(z.long()[:, None])
    peer = captum.Lime(model, getattr(linear_model, name)(**options), perturb_func=lambda x, **_: next(masks))
    expected = peer.attribute(x, target=1, feature_mask=mask, n_samples=40)
    found = attrkit.explain(
        model, x, "lime", standardise=False, target=1, feature_mask=mask, n_samples=40, design=planned(z), surrogate=ours
    )
    torch.testing.assert_close(found.values["x"].float(), expected, rtol=1e-4, atol=1e-4)


# Samples.


def test_samples_are_seeded_and_the_first_is_the_example():
    seen = []

    def model(x):
        seen.append(x.clone())
        return x.prod(1)

    x = draw(1, 5)
    first = attrkit.explain(model, x, "lime", standardise=False, n_samples=20, internal_batch_size=50, surrogate="ridge")
    assert bool((torch.cat(seen) == x).all(1).any())
    again = attrkit.explain(model, x, "lime", standardise=False, n_samples=20, surrogate="ridge")
    other = attrkit.explain(model, x, "lime", standardise=False, n_samples=20, surrogate="ridge", seed=1)
    assert torch.equal(first.values["x"], again.values["x"])
    assert not torch.equal(first.values["x"], other.values["x"])
    batched = attrkit.explain(
        model, torch.cat([draw(1, 5, seed=3), x]), "lime", standardise=False, n_samples=20, surrogate="ridge"
    )
    torch.testing.assert_close(batched.values["x"][1:], first.values["x"])


def test_the_share_of_features_that_are_there():
    design = attrkit.Problem.part("designs", {"bernoulli": {"share": 0.25}}, "design")
    z = torch.cat(list(design(300, 8000, torch.Generator().manual_seed(0))))
    assert z.shape == (8000, 300)
    assert z.dtype is torch.bool
    assert abs(float(z.double().mean()) - 0.25) < 0.002
    torch.testing.assert_close(z.double().mean(0), torch.full((300,), 0.25).double(), rtol=0, atol=0.025)


def test_few_features_are_not_evaluated_twice():
    asked = attrkit.explain(lambda x: x.prod(1), draw(1, 3), "lime", standardise=False, n_samples=500, surrogate="ridge")
    assert asked.details["evaluations"] == 8
    assert asked.details["samples"] == 500


def test_a_background_takes_turns(explain):
    rows, x, z = draw(5, 3, seed=6), draw(2, 3), coalitions(30, 3)
    changed = torch.where(z[:, None], x, rows[torch.arange(30) % 5][:, None])
    d = (x - changed).norm(dim=2)
    for given in ({"background": rows}, {"replacement": {"background": {"data": rows}}}):
        found = explain(lambda x: x.prod(1), x, "lime", standardise=False,
                            n_samples=30, design=planned(z), kernel="euclidean", kernel_width=2.0,
                        surrogate="ridge", **given)  # fmt: skip
        for i in range(2):
            w = torch.exp(-(d[:, i] ** 2) / 8).numpy()
            peer = linear().Ridge(alpha=1.0).fit(z.numpy(), changed[:, i].prod(1).numpy(), sample_weight=w)
            torch.testing.assert_close(found.values["x"][i], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)
        assert found.details["evaluations"] == 30


def test_fewer_samples_than_features(explain):
    x, z = draw(1, 12), coalitions(6, 12)
    found = explain(
        lambda x: x.prod(1) + x.sum(1), x, "lime", standardise=False, n_samples=6, design=planned(z), surrogate="least_squares"
    )
    changed = torch.where(z, x, 0.0)
    scores, intercept = found.values["x"][0], found.details["intercept"]
    torch.testing.assert_close(z.double() @ scores + intercept, changed.prod(1) + changed.sum(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.details["r2"], torch.ones(1, dtype=torch.float64))
    assert not found.errors


def test_nothing_to_explain(explain):
    found = explain(lambda x: x.sum(1), torch.zeros(2, 3), "lime", standardise=False)
    assert bool((found.values["x"] == 0).all())
    assert found.details["intercept"].tolist() == [0, 0]
    assert found.details["r2"].tolist() == [1, 1]


@pytest.mark.parametrize("own", [True, False])
def test_an_interrupt_leaves_the_surrogate_of_the_first_samples(own):
    x, z, calls = draw(2, 6), coalitions(60, 6), []

    def model(x):
        calls.append(len(x))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return x.prod(1) + x.sum(1)

    masks = iter(z.long()[:, None].repeat(2, 1, 1))
    design = {"perturb_func": lambda x, **_: next(masks)} if own else {"design": planned(z)}
    given = dict(surrogate="ridge", kernel="hamming", internal_batch_size=16)
    with pytest.warns(AttrkitWarning, match="interrupted after .* of 60 evaluations; the estimate is made of these"):
        found = attrkit.explain(model, x, "lime", standardise=False, n_samples=60, **design, **given)
    samples = found.details["samples"]
    assert 2 <= samples < 60
    again = attrkit.explain(
        lambda x: x.prod(1) + x.sum(1), x, "lime", standardise=False, n_samples=samples, design=planned(z[:samples]), **given
    )
    if not own:
        torch.testing.assert_close(found.values["x"], again.values["x"])
    assert bool(found.values["x"].isfinite().all())


def test_an_empty_batch(explain):
    found = explain(lambda x: x.sum(1), draw(0, 4), "lime", standardise=False, n_samples=20)
    assert found.values["x"].shape == (0, 4)


# Layers, quality, errors.


def test_a_layer_and_a_neuron(explain):
    model, x, z = built(smooth_mlp), draw(2, 5), coalitions(40, 6)
    with torch.no_grad():
        hidden = model[:2](x)
    expected, _ = by_definition(
        model[2:], (hidden,), (torch.full_like(hidden, 0.1),), (torch.arange(6)[None],), z, SURROGATES["ridge"][1]
    )
    given = dict(n_samples=40, design=planned(z), surrogate={"ridge": {"alpha": 0.5}})
    found = explain(model, x, "lime", standardise=False, layer="1", baselines=0.1, target=2, **given)
    torch.testing.assert_close(found.values["1"], expected[:, 2], rtol=1e-8, atol=1e-8)
    found = explain(model, x, "lime", standardise=False, layer="1", neuron=3, **{**given, "design": planned(coalitions(40, 5))})
    expected, _ = by_definition(lambda x: model[:2](x)[:, 3], (x,), (torch.zeros_like(x),), (torch.arange(5)[None],),
                                coalitions(40, 5), SURROGATES["ridge"][1])  # fmt: skip
    torch.testing.assert_close(found.values["input"], expected[:, 0], rtol=1e-8, atol=1e-8)


def test_a_linear_model_is_found_exactly(explain):
    w, x = draw(6), draw(3, 6)
    found = explain(lambda x: x @ w + 2, x, "lime", standardise=False, surrogate="least_squares", n_samples=60)
    torch.testing.assert_close(found.values["x"], x * w, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.details["intercept"], torch.full((3,), 2.0).double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.details["r2"], torch.ones(3).double())
    assert bool((found.errors["x"] < 1e-8).all())
    assert found.details["degrees_of_freedom"] == 60 - 7


def test_standardised_values_make_the_penalty_relative(explain):
    def model(scale):
        return lambda x: scale * (x.prod(1) + x.sum(1))

    x, given = draw(2, 5), dict(n_samples=50, standardise=True)
    large, small = (explain(model(s), x, "lime", **given) for s in (1.0, 1e-6))
    assert bool((small.values["x"] != 0).any())
    torch.testing.assert_close(small.values["x"] * 1e6, large.values["x"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(small.details["intercept"] * 1e6, large.details["intercept"], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(small.details["r2"], large.details["r2"])


def test_coefficients_that_are_all_zero_are_warned_about():
    def model(x):
        return 1e-3 * torch.stack([x.sum(1), 1e4 * x.sum(1), torch.ones(len(x))], 1)

    with pytest.warns(
        AttrkitWarning, match="lime: all coefficients are 0 for 2 of 6 outputs, .* use standardise=True"
    ) as caught:
        found = attrkit.explain(model, draw(2, 4), "lime", standardise=False, n_samples=50)
    assert len(caught) == 1
    assert len(found.warnings) == 1
    assert bool((found.values["x"][:, 0] == 0).all())


@pytest.mark.parametrize("surrogate", ["least_squares", {"ridge": {"alpha": 2.0}}])
def test_standard_errors_cover_what_all_coalitions_would_give(surrogate):
    x = draw(2, 6)
    w = draw(6, 4, seed=2)

    def model(x):
        return torch.tanh(x @ w).prod(1) * 5 + (x @ w).sin().sum(1)

    every = torch.tensor(list(itertools.product([False, True], repeat=6)))
    many = 300
    whole = attrkit.explain(model, x, "lime", standardise=False,
                        n_samples=65, design=planned(torch.cat([every[-1:], every])), kernel="hamming",
                            kernel_width=0.7, surrogate="least_squares" if surrogate == "least_squares"
                            else {"ridge": {"alpha": 2.0 * 64 / many}})  # fmt: skip
    exact, inside, ratio = whole.values["x"], [], []
    for seed in range(120):
        found = attrkit.explain(
            model,
            x,
            "lime",
            standardise=False,
            n_samples=many,
            kernel="hamming",
            kernel_width=0.7,
            surrogate=surrogate,
            seed=seed,
        )
        off = (found.values["x"] - exact).abs()
        inside.append(off <= 1.98 * found.errors["x"])
        ratio.append(off / found.errors["x"])
    covered = float(torch.stack(inside).double().mean())
    spread = float((torch.stack(ratio) ** 2).mean().sqrt())
    assert 0.92 < covered < 0.975
    assert 0.9 < spread < 1.1


def test_no_errors_for_a_lasso_or_a_surrogate_of_the_caller_s(explain):
    for surrogate in ("lasso", lambda z, y, w: (z.new_ones(z.shape[1], y.shape[1]), y[0])):
        assert not explain(lambda x: x.sum(1), draw(1, 3), "lime", standardise=False, n_samples=20, surrogate=surrogate).errors


# Messages.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_samples": 1}, UsageError, "n_samples must be at least 2, got 1"),
        ({"n_samples": 2.5}, UsageTypeError, "n_samples must be int, got 2.5"),
        ({"kernel": "cosin"}, UsageTypeError, "kernel must be 'cosine' or 'euclidean' or 'hamming', got 'cosin'"),
        ({"kernel_width": 0.0}, UsageError, "kernel_width must be a positive number, got 0.0"),
        ({"kernel_space": "inputs"}, UsageTypeError, "kernel_space must be 'site' or 'features', got 'inputs'"),
        ({"design": "bernouli"}, UnknownName, "no design 'bernouli'. Did you mean 'bernoulli'"),
        ({"design": {"bernoulli": {"share": 1.0}}}, UsageError, "share must be between 0 and 1, got 1.0"),
        ({"replacement": "blurr"}, UnknownName, "no replacement 'blurr'. Did you mean 'blur'"),
        ({"replacement": "mean", "background": draw(2, 6)}, UsageError, "background and replacement both say"),
        ({"perturb_func": print, "design": "kernel"}, UsageError, "perturb_func takes the place of design: leave"),
        ({"similarity_func": print, "kernel_width": 2.0}, UsageError, "similarity_func takes the place of kernel_width"),
        ({"perturb_func": 3}, UsageTypeError, "perturb_func must be a function, got int"),
        ({"similarity_func": 3}, UsageTypeError, "similarity_func must be a function, got int"),
        ({"similarity_func": lambda *a, **k: -1.0}, UsageError, "must return one number of at least 0, .* returned -1.0"),
        ({"similarity_func": lambda *a, **k: 0.0}, UsageError, "all samples have the weight 0; use a larger kernel_width"),
        ({"perturb_func": lambda x, **k: torch.ones(1, 4)}, UsageError, r"perturb_func must return shape \(1, 6\), .* got 4"),
        ({"perturb_func": lambda x, **k: torch.ones(2, 6)}, UsageError, r"perturb_func must return .*, it returned \(2, 6\)"),
        ({"perturb_func": lambda x, **k: None}, UsageError, r"perturb_func must return .*, it returned NoneType"),
    ],
)  # fmt: skip
def test_messages(explain, given, error, message):
    model = torch.nn.Sequential(built(mlp), torch.nn.Hardtanh()).double()
    with pytest.raises(error, match=message):
        explain(model, draw(2, 6), "lime", standardise=False, target=0, **{"n_samples": 20, **given})


def test_a_narrow_kernel_sees_the_example_alone():
    found = attrkit.explain(
        lambda x: x.prod(1), draw(1, 3), "lime", standardise=False, kernel="euclidean", kernel_width=1e-200, surrogate="ridge"
    )
    assert bool((found.values["x"].abs() < 1e-20).all())
    torch.testing.assert_close(found.details["intercept"], draw(1, 3).prod(1))


@pytest.mark.parametrize("kernel", ["cosine", "euclidean"])
def test_distances_that_are_not_finite(kernel):
    def model(x):
        return x.isinf().double().sum(1)

    with pytest.raises(UsageError, match=f"kernel='{kernel}' compares values that are not all finite; use kernel='hamming'"):
        attrkit.explain(model, draw(1, 3), "lime", standardise=False, baselines=math.inf, kernel=kernel)
    found = attrkit.explain(
        model, draw(1, 3), "lime", standardise=False, baselines=math.inf, kernel="hamming", surrogate="least_squares"
    )
    torch.testing.assert_close(found.values["x"], -torch.ones(1, 3).double())


def test_a_model_that_returns_nan():
    with pytest.raises(ModelError, match="the model returned NaN or infinity for"):
        attrkit.explain(lambda x: (1 / x).sum(1), draw(1, 3), "lime", standardise=False, n_samples=20)


def test_it_says_that_it_draws():
    assert registry.method("lime").stochastic
