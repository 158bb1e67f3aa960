"""Surrogates against scikit-learn, against their conditions of optimality, and objects of the caller's as surrogates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrkit
from attrkit.errors import UnknownName, UsageError, UsageTypeError
from tests.plugins.models import draw


def part(given, option="surrogate"):
    return attrkit.Problem.part("surrogates", given, option)


def data(k, features, columns, *, shared=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = (torch.rand(k, features, generator=generator) < 0.5).double()
    y = z @ draw(features, columns, seed=seed + 1) + 0.3 * draw(k, columns, seed=seed + 2) + 2
    return z, y, torch.rand(k, 1 if shared else columns, generator=generator, dtype=torch.float64) + 0.01


def peers():
    linear = pytest.importorskip("sklearn.linear_model")
    return {
        "least_squares": linear.LinearRegression(),
        "ridge": linear.Ridge(alpha=0.7),
        "lasso": linear.Lasso(alpha=0.05, tol=1e-12, max_iter=200_000),
    }


OURS = {"least_squares": "least_squares", "ridge": {"ridge": {"alpha": 0.7}}, "lasso": {"lasso": {"alpha": 0.05}}}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("k", "features"), [(60, 7), (300, 40), (10, 1), (20, 30)])
@pytest.mark.parametrize("name", OURS)
def test_agrees_with_scikit_learn(name, k, features, shared):
    z, y, w = data(k, features, 3, shared=shared)
    coefficients, intercepts = part(OURS[name])(z, y, w)
    assert coefficients.shape == (features, 3)
    assert intercepts.shape == (3,)
    for i in range(3):
        peer = peers()[name].fit(z.numpy(), y[:, i].numpy(), sample_weight=w[:, 0 if shared else i].numpy())
        torch.testing.assert_close(coefficients[:, i], torch.from_numpy(peer.coef_), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(intercepts[i].item(), float(peer.intercept_), rtol=1e-8, atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(2, 30),
    features=st.integers(1, 40),
    alpha=st.sampled_from([0.0, 1e-4, 0.01, 0.3]),
    seed=st.integers(0, 10**6),
    twice=st.booleans(),
)
def test_the_lasso_is_optimal(k, features, alpha, seed, twice):
    z, y, w = data(k, features, 2, seed=seed)
    if twice:  # features that say the same
        z[:, -1] = z[:, 0]
    x, intercept = part({"lasso": {"alpha": alpha}})(z, y, w)
    share = w / w.sum(0)
    gradient = z.T @ (share * (y - z @ x - intercept))
    scale = float(y.abs().max())
    assert bool((gradient.abs() <= alpha + 1e-8 * scale).all())
    on = x != 0
    torch.testing.assert_close(gradient[on], alpha * x.sign()[on], rtol=0, atol=1e-8 * scale)
    torch.testing.assert_close(
        (share * (y - z @ x - intercept)).sum(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_least_squares_of_too_few_samples_has_the_smallest_coefficients():
    z, y, w = data(5, 12, 2)
    x, intercept = part("least_squares")(z, y, w)
    torch.testing.assert_close(z @ x + intercept, y)
    root, middle = w[:, 0].sqrt()[:, None], (w[:, 0] @ z) / w[:, 0].sum()
    expected = torch.linalg.pinv(root * (z - middle)) @ (root * (y[:, :1] - (w[:, 0] @ y[:, 0]) / w[:, 0].sum()))
    torch.testing.assert_close(x[:, :1], expected, rtol=1e-9, atol=1e-9)


def test_no_columns_is_no_error():
    z, y, _ = data(5, 3, 0)
    for name in OURS:
        x, intercept = part(name)(z, y, torch.ones(5, 1, dtype=torch.float64))
        assert x.shape == (3, 0)
        assert intercept.shape == (0,)


@pytest.mark.parametrize("name", ["ridge", "lasso"])
def test_a_penalty_is_a_number_of_at_least_zero(name):
    with pytest.raises(UsageError, match="alpha must be a number of at least 0, got -1"):
        part({name: {"alpha": -1.0}})(*data(5, 2, 1))
    with pytest.raises(UsageTypeError, match="alpha must be float"):
        part({name: {"alpha": "small"}})
    with pytest.raises(UnknownName, match=f"{name} has no option 'alpa'. Did you mean 'alpha'"):
        part({name: {"alpa": 1.0}})


# Objects of the caller's, through the method.

X, MASK = draw(1, 6), torch.tensor([[0, 0, 1, 2, 2, 3]])


def model(x):
    return x.prod(1) + x.sum(1) + (x[:, :3] ** 2).sum(1)


def explained(surrogate, **options):
    return attrkit.explain(model, X, "lime", feature_mask=MASK, n_samples=80, surrogate=surrogate, **options)


@pytest.mark.parametrize("name", OURS)
def test_an_object_of_scikit_learn(name):
    ours, theirs = explained(OURS[name]), explained(peers()[name])
    torch.testing.assert_close(theirs.details["scores"], ours.details["scores"], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(theirs.details["intercept"], ours.details["intercept"], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(theirs.details["r2"], ours.details["r2"], rtol=1e-8, atol=1e-8)
    assert not theirs.errors


class Represented:
    """The established protocol: the surrogate of the caller's is fitted with a loader."""

    def __init__(self, biased):
        self.batches = []
        if biased:
            self.bias = lambda: self.constant

    def fit(self, loader):
        (batch,) = loader
        self.batches.append(batch)
        x, constant = part("least_squares")(*(t.double().reshape(len(batch[0]), -1) for t in batch))
        self.found, self.constant = x.T, constant

    def representation(self):
        return self.found


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("option", ["surrogate", "interpretable_model"])
def test_an_object_of_the_established_protocol(option, biased):
    given, expected = Represented(biased), explained("least_squares")
    found = explained(**{"surrogate": "lasso", option: given})
    torch.testing.assert_close(found.details["scores"], expected.details["scores"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.details["intercept"], expected.details["intercept"], rtol=1e-4, atol=1e-4)
    ((z, y, w),) = given.batches
    assert z.shape == (80, 4)
    assert y.shape == w.shape == (80,)
    assert z.dtype is y.dtype is w.dtype is torch.float32


def test_a_function_as_a_surrogate():
    def constant(coalitions, values, weights):
        return coalitions.new_full((coalitions.shape[1], values.shape[1]), 3.0), values.mean(0)

    found = explained(constant, standardise=False)
    assert bool((found.values["x"] == 3).all())


class Short:
    def fit(self, x, y, sample_weight):
        self.coef_ = [1.0]


def test_what_is_no_surrogate():
    with pytest.raises(UsageError, match="surrogate: Short was fitted to 4 features but gives 1 coefficients"):
        explained(Short())
    with pytest.raises(UsageTypeError, match=r"surrogate is the class Short; give an object of it, Short\(\.\.\.\)"):
        explained(Short)
    with pytest.raises(
        UsageTypeError, match=r"interpretable_model must have fit\(loader\) and representation\(\), .* Short has"
    ):
        explained("lasso", interpretable_model=Short())
    with pytest.raises(UnknownName, match="no surrogate 'laso'. Did you mean 'lasso'"):
        explained("laso")
