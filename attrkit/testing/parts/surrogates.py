"""What surrogates promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attrkit.testing.declared import declared
from attrkit.testing.models import points
from attrkit.testing.parts.subject import PartSubject
from attrkit.testing.snapshots import Bits, untouched


def _used(s: PartSubject, options: Mapping[str, Any]) -> Any:
    """A surrogate with other options."""
    return PartSubject(s.spec, options)(_coalitions(40), points(40, 2, seed=1), _ones(40))


check = declared(_used)
CHECKS = check.found
_TRUE = torch.tensor([[3.0, 2.0], [-2.0, 4.0], [0.0, -3.0], [5.0, 0.0]], dtype=torch.float64)
_START = torch.tensor([0.5, -1.0], dtype=torch.float64)


def _coalitions(k: int, features: int = 4, seed: int = 0) -> Tensor:
    return (points(k, features, seed=seed) > 0).double()


def _ones(k: int) -> Tensor:
    return torch.ones(k, 1, dtype=torch.float64)


def _near(found: Tensor, expected: Tensor, what: str, tolerance: float = 1e-7) -> None:
    off = float((found - expected).abs().max()) if found.numel() else 0.0
    assert off <= tolerance * (1 + float(expected.abs().max()) if expected.numel() else 1.0), f"{what}: off by {off:.3g}"


@check()
def returns_coefficients_and_intercepts(s: PartSubject) -> None:
    """Coefficients of shape (features, columns) and intercepts of shape (columns,), float64, finite, without a graph."""
    for k, features, columns in ((40, 4, 3), (40, 1, 1), (3, 6, 2), (1, 2, 1)):
        found = s(_coalitions(k, features), points(k, columns, seed=1), _ones(k))
        pair = isinstance(found, tuple) and len(found) == 2
        assert pair, f"returned {found!r}, not coefficients and intercepts"
        coefficients, intercepts = found
        shapes = tuple(coefficients.shape), tuple(intercepts.shape)
        wanted = (features, columns), (columns,)
        assert shapes == wanted, f"{k} coalitions of {features} features, {columns} columns: returned shapes {shapes}"
        for t in found:
            assert t.dtype is torch.float64, f"returned {t.dtype}; values are float64"
            assert not t.requires_grad, "returned a tensor with a graph"
            assert bool(t.isfinite().all()), f"{k} coalitions of {features} features gave NaN or infinity"


@check()
def finds_a_linear_function(s: PartSubject) -> None:
    """Of values that are linear it finds the coefficients, or somewhat smaller ones."""
    z = _coalitions(400)
    coefficients, intercepts = s(z, z @ _TRUE + _START, _ones(400))
    _near(coefficients, _TRUE, "coefficients of a linear function", 0.1)
    _near(intercepts, _START, "intercepts of a linear function", 0.15)
    longer = coefficients.norm() / _TRUE.norm()
    assert float(longer) <= 1 + 1e-6, f"coefficients are {float(longer):.3g} times as large as those of the linear function"


@check()
def weights_matter(s: PartSubject) -> None:
    """What has no weight makes no difference, and of two populations that with the weight is described."""
    z, other = _coalitions(400), _coalitions(400, seed=1)
    values, wrong = z @ _TRUE + _START, -other @ _TRUE
    weights = torch.cat([_ones(400), torch.zeros(400, 1, dtype=torch.float64)])
    together = s(torch.cat([z, other]), torch.cat([values, wrong]), weights)
    for found, alone in zip(together, s(z, values, _ones(400)), strict=True):
        _near(found, alone, "coalitions of weight 0 make a difference")


@check()
def columns_are_independent(s: PartSubject) -> None:
    """Each column is fitted by itself, with weights of its own where it has some."""
    z, values = _coalitions(60), points(60, 3, seed=1)
    weights = points(60, 3, seed=2).abs() + 0.1
    common = s(z, values, weights[:, :1])
    own = s(z, values, weights)
    for j in range(3):
        for found, w in ((common, weights[:, :1]), (own, weights[:, j : j + 1])):
            coefficients, intercepts = s(z, values[:, j : j + 1], w)
            _near(found[0][:, j], coefficients[:, 0], f"column {j} is fitted otherwise beside others")
            _near(found[1][j], intercepts[0], f"column {j} is fitted otherwise beside others")


@check()
def the_order_does_not_matter(s: PartSubject) -> None:
    """Coalitions in another order give the same, and features in another order the same in that order."""
    z, values, weights = _coalitions(60), points(60, 2, seed=1), points(60, 1, seed=2).abs() + 0.1
    coefficients, intercepts = s(z, values, weights)
    rows, columns = torch.randperm(60, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 3, 1])
    shuffled = s(z[rows], values[rows], weights[rows])
    _near(shuffled[0], coefficients, "coalitions in another order give something else", 1e-6)
    moved = s(z[:, columns], values, weights)
    _near(moved[0], coefficients[columns], "features in another order give something else", 1e-6)
    _near(moved[1], intercepts, "features in another order give something else", 1e-6)


@check()
def a_constant_is_an_intercept(s: PartSubject) -> None:
    """What is added to all values is added to the intercept, and a constant has no coefficients."""
    z, values, weights = _coalitions(60), points(60, 2, seed=1), _ones(60)
    coefficients, intercepts = s(z, values, weights)
    raised = s(z, values + 100, weights)
    _near(raised[0], coefficients, "coefficients of values that are all 100 larger", 1e-6)
    _near(raised[1], intercepts + 100, "intercepts of values that are all 100 larger", 1e-6)
    flat = s(z, torch.full((60, 1), 7.0, dtype=torch.float64), weights)
    _near(flat[0], torch.zeros(4, 1, dtype=torch.float64), "coefficients of a constant")
    _near(flat[1], torch.full((1,), 7.0, dtype=torch.float64), "the intercept of a constant")


@check()
def degenerate_coalitions_are_fine(s: PartSubject) -> None:
    """Features that are always there, or always together, give finite numbers."""
    z = _coalitions(30)
    for column, like in ((0, torch.ones(30)), (1, z[:, 2]), (3, torch.zeros(30))):
        changed = z.clone()
        changed[:, column] = like
        found = s(changed, points(30, 2, seed=1), _ones(30))
        assert all(bool(t.isfinite().all()) for t in found), "features that cannot be told apart gave NaN or infinity"


@check()
def gives_the_same_twice(s: PartSubject) -> None:
    """The same values give the same; they, and all random states, are as they were."""
    z, values, weights = _coalitions(40), points(40, 2, seed=1), _ones(40)
    before = [Bits(t) for t in (z, values, weights)]
    with untouched(torch.nn.Identity()):
        first, second = (s(z, values, weights) for _ in range(2))
    assert all(map(torch.equal, first, second)), "two calls gave different results"
    assert [Bits(t) for t in (z, values, weights)] == before, "wrote into what it was given"
