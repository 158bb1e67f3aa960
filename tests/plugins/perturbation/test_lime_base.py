"""LIME whose every part is a function of the caller's: against scikit-learn, against Captum, and its messages."""

from __future__ import annotations

import pytest
import torch

import attrkit
from attrkit.errors import AttrkitWarning, UsageError, UsageTypeError
from tests.plugins.models import Tokens, TwoInputs, built, draw, mlp

X = draw(1, 6)


def linear():
    return pytest.importorskip("sklearn.linear_model")


def functions(rows, *, own_space, generator=False, seen=None):
    """Samples from rows of numbers in the interpretable space, three features of two positions each."""
    left = iter(rows[:, None])

    def note(name, kwargs):
        if seen is not None:
            seen.append((name, kwargs))

    def built_of(z, original, **kwargs):
        note("from", kwargs)
        return original * z.repeat_interleave(2, 1)

    def read_off(sample, original, **kwargs):
        note("to", kwargs)
        return (sample / original)[:, ::2]

    def perturb(original, **kwargs):
        note("perturb", kwargs)
        z = next(left)
        return z if own_space else built_of(z, original)

    def generate(original, **kwargs):
        for z in left:
            yield z if own_space else built_of(z, original)

    def similarity(original, sample, z, **kwargs):
        note("similarity", kwargs)
        return torch.exp(-(original - sample).norm())

    return {
        "similarity_func": similarity,
        "perturb_func": generate if generator else perturb,
        "perturb_interpretable_space": own_space,
        "from_interp_rep_transform": built_of if own_space else None,
        "to_interp_rep_transform": None if own_space else read_off,
    }


@pytest.mark.parametrize("generator", [True, False])
@pytest.mark.parametrize("own_space", [True, False])
@pytest.mark.parametrize("surrogate", ["ridge", "object"])
def test_the_coefficients_of_the_surrogate(explain, own_space, generator, surrogate):
    model, rows = built(mlp), draw(30, 3, seed=2)
    given = "ridge" if surrogate == "ridge" else linear().Ridge(alpha=1.0)
    found = explain(model, X, "lime_base", target=1, n_samples=30, interpretable_model=given,
                    **functions(rows, own_space=own_space, generator=generator))  # fmt: skip
    samples = X * rows.repeat_interleave(2, 1)
    w = torch.exp(-(X - samples).norm(dim=1))
    peer = linear().Ridge(alpha=1.0).fit(rows.numpy(), model(samples)[:, 1].detach().numpy(), sample_weight=w.numpy())
    assert list(found.values) == ["features"]
    assert found.values["features"].shape == (1, 3)
    assert found.values["features"].dtype is torch.float64
    torch.testing.assert_close(found.values["features"][0], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.details["intercept"].item(), float(peer.intercept_), rtol=1e-8, atol=1e-8)
    assert torch.equal(found.details["scores"], found.values["features"])


def test_words_that_are_left_out(explain):
    """Samples are shorter than the example."""
    model, ids = built(Tokens), torch.tensor([[1, 2, 3, 4, 5]])
    z = torch.rand(40, 1, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    z[:, :, 0] = True
    rows = iter(z)
    found = explain(
        model, ids, "lime_base", target=0, n_samples=40, interpretable_model="least_squares",
        similarity_func=lambda original, sample, kept, **kwargs: sample.shape[1] / 5,
        perturb_func=lambda original, **kwargs: next(rows),
        from_interp_rep_transform=lambda kept, original, **kwargs: original[kept][None],
    )  # fmt: skip
    y = torch.stack([model(ids[kept][None])[0, 0] for kept in z]).detach()
    w = z[:, 0].double().mean(1)
    peer = linear().LinearRegression().fit(z[:, 0].numpy(), y.numpy(), sample_weight=w.numpy())
    torch.testing.assert_close(found.values["features"][0], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)


def test_several_tensors_and_one_value_for_the_batch(explain):
    a, b, rows = draw(2, 4), draw(2, 2, 3), draw(20, 2, seed=2)
    left = iter(rows[:, None])
    model = built(TwoInputs)
    found = explain(
        lambda a, b: model(a, b)[:, 0].sum(), (a, b), "lime_base", n_samples=20, interpretable_model="ridge",
        similarity_func=lambda original, sample, z, **kwargs: 1,
        perturb_func=lambda original, **kwargs: next(left),
        from_interp_rep_transform=lambda z, original, **kwargs: (original[0] * z[0, 0], original[1] * z[0, 1]),
    )  # fmt: skip
    y = torch.stack([model(a * r[0], b * r[1])[:, 0].sum() for r in rows]).detach()
    peer = linear().Ridge(alpha=1.0).fit(rows.numpy(), y.numpy())
    torch.testing.assert_close(found.values["features"][0], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)


def test_keywords_reach_every_function(explain):
    for own_space in (True, False):
        seen = []
        explain(built(mlp), X, "lime_base", target=0, n_samples=5, interpretable_model="ridge", perturb_kwargs={"word": 3},
                **functions(draw(5, 3), own_space=own_space, seen=seen))  # fmt: skip
        direct = {(name, tuple(kwargs.items())) for name, kwargs in seen} - {("from", ())}  # of perturb itself
        names = {"perturb", "similarity", "from" if own_space else "to"}
        assert direct == {(name, (("word", 3),)) for name in names}


def test_captum():
    captum = pytest.importorskip("captum.attr")
    from captum._utils.models.linear_model import SkLearnLinearRegression

    for own_space in (True, False):
        rows = draw(30, 3, seed=2)
        model = built(mlp)
        peer = captum.LimeBase(model, SkLearnLinearRegression(), **functions(rows, own_space=own_space))
        expected = peer.attribute(X, target=1, n_samples=30)
        found = attrkit.explain(model, X, "lime_base", target=1, n_samples=30, interpretable_model=SkLearnLinearRegression(),
                                **functions(rows, own_space=own_space))  # fmt: skip
        torch.testing.assert_close(found.values["features"].float(), expected.reshape(1, 3), rtol=1e-3, atol=1e-5)


def test_an_explanation_is_saved_and_loaded(explain, tmp_path):
    found = explain(built(mlp), X, "lime_base", target=0, n_samples=9, interpretable_model="ridge",
                    **functions(draw(9, 3), own_space=True))  # fmt: skip
    again = attrkit.Explanation.load(found.save(tmp_path / "found"))
    assert torch.equal(again.values["features"], found.values["features"])


def test_a_generator_that_ends_early():
    with pytest.warns(AttrkitWarning, match="perturb_func yielded 8 of 50 samples"):
        found = attrkit.explain(built(mlp), X, "lime_base", target=0, interpretable_model="ridge",
                                **functions(draw(8, 3), own_space=True, generator=True))  # fmt: skip
    assert found.details["samples"] == 8


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"interpretable_model": None}, UsageError, "lime_base needs interpretable_model; the method lime has defaults"),
        ({"similarity_func": None}, UsageError, "lime_base needs similarity_func"),
        ({"perturb_func": None}, UsageError, "lime_base needs perturb_func"),
        ({"from_interp_rep_transform": None}, UsageError, "lime_base needs from_interp_rep_transform"),
        ({"perturb_interpretable_space": False}, UsageError, "lime_base needs to_interp_rep_transform"),
        ({"n_samples": 0}, UsageError, "n_samples must be at least 1, got 0"),
        ({"from_interp_rep_transform": 3}, UsageTypeError, "from_interp_rep_transform must be a function, got int"),
        ({"from_interp_rep_transform": lambda z, x, **k: "x"}, UsageTypeError, "_transform must return inputs .* str"),
        ({"from_interp_rep_transform": lambda z, x, **k: (x, x)}, UsageTypeError, "must return inputs of the model, 1 tensors"),
        ({"perturb_func": lambda x, **k: [1]}, UsageError, r"perturb_func must return .* \(1, features\), it returned list"),
        ({"target": None}, UsageError, "target"),
        ({"similarity_func": lambda *a, **k: float("nan")}, UsageError, "must return one number .* returned nan"),
    ],
)  # fmt: skip
def test_messages(given, error, message):
    fine = {
        **functions(draw(9, 3), own_space=True),
        "from_interp_rep_transform": lambda z, x, **k: x * float(torch.as_tensor(z).sum()),
    }
    with pytest.raises(error, match=message):
        attrkit.explain(
            built(mlp), X, "lime_base", **{"target": 0, "n_samples": 9, "interpretable_model": "ridge", **fine, **given}
        )


def test_a_method_whose_features_have_another_shape_is_refused():
    @attrkit.method("odd", gradient=False, lands="features")
    def odd(problem):
        return (torch.zeros(3),)

    with pytest.raises(attrkit.errors.AttrkitError, match=r"must return a tuple of tensors shaped \(rows, features\)"):
        attrkit.explain(built(mlp), X, odd, target=0)
