"""Quadrature rules: where they evaluate, that their weights sum to one, and up to which degree they are exact."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrkit
from attrkit.errors import UnknownName, UsageError
from attrkit.registry import registry
from attrkit_gradients.quadrature import RULES, quadrature

#: The highest degree of polynomials that n points integrate exactly.
DEGREE = {
    "gausslegendre": lambda n: 2 * n - 1,
    "clenshaw_curtis": lambda n: n - 1 + n % 2,
    "riemann_left": lambda n: 0,
    "riemann_right": lambda n: 0,
    "riemann_middle": lambda n: 1,
    "riemann_trapezoid": lambda n: 1,
}


def integral(rule, n, degree):
    return sum(w * a**degree for a, w in zip(*attrs.astuple(quadrature(rule, n)), strict=True))


def test_every_rule_is_tested():
    assert DEGREE.keys() == RULES.keys()


@pytest.mark.parametrize("rule", DEGREE)
@given(n=st.integers(2, 60))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_weights_sum_to_one_over_points_of_the_path(rule, n):
    nodes, weights = attrs.astuple(quadrature(rule, n))
    assert len(nodes) == len(weights) == n
    assert list(nodes) == sorted(set(nodes))
    assert 0 <= nodes[0] <= nodes[-1] <= 1
    assert sum(weights) == pytest.approx(1, abs=1e-14)
    assert min(weights) > 0


@pytest.mark.parametrize("rule", DEGREE)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_degree(rule, n):
    degree = DEGREE[rule](n)
    for d in range(degree + 1):
        assert integral(rule, n, d) == pytest.approx(1 / (d + 1), abs=1e-14)
    assert integral(rule, n, degree + 1) != pytest.approx(1 / (degree + 2), rel=1e-8)


@pytest.mark.parametrize(
    ("rule", "nodes"),
    [
        ("gausslegendre", [0.5 - 15**0.5 / 10, 0.5, 0.5 + 15**0.5 / 10]),
        ("riemann_left", [0, 1 / 3, 2 / 3]),
        ("riemann_right", [1 / 3, 2 / 3, 1]),
        ("riemann_middle", [1 / 6, 1 / 2, 5 / 6]),
        ("riemann_trapezoid", [0, 1 / 2, 1]),
        ("clenshaw_curtis", [0, 1 / 2, 1]),
    ],
)
def test_three_points(rule, nodes):
    assert attrs.astuple(quadrature(rule, 3))[0] == pytest.approx(nodes, abs=1e-15)


@pytest.mark.parametrize("rule", DEGREE)
@pytest.mark.parametrize("n", [2, 4])
def test_integrated_gradients_uses_the_rule(attribute, rule, n):
    degree = DEGREE[rule](n) + 2  # its derivative is one degree above what the rule integrates exactly
    x = torch.tensor([[0.5, -1.5], [2.0, 1.0]], dtype=torch.float64)
    found = attribute("IntegratedGradients", lambda x: (x**degree).sum(1))(x, n_steps=n, method=rule)
    torch.testing.assert_close(found, x**degree * degree * integral(rule, n, degree - 1), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, x**degree, rtol=1e-6)


@pytest.mark.parametrize("rule", DEGREE)
def test_conductance_of_a_layer_adds_the_ends_of_the_path_to_the_rule_s_points(attribute, rule):
    seen, body = [], torch.nn.Identity()

    def model(x):
        seen.extend(x[:, 0].tolist())
        return body(x).sum(1)

    given = {"n_steps": 4, "method": rule, "internal_batch_size": 1}
    attribute("LayerConductance", model, body)(torch.ones(1, 1, dtype=torch.float64), **given)
    ends, nodes = [1, 0], attrs.astuple(quadrature(rule, 4))[0]
    assert seen == pytest.approx([*ends, *nodes], abs=1e-15)


@pytest.mark.parametrize(
    ("method", "n_steps", "message"),
    [
        ("riemann_trapezoid", 1, "n_steps must be an integer of at least 2 for riemann_trapezoid, got 1"),
        ("gausslegendre", 0, "n_steps must be an integer of at least 1 for gausslegendre, got 0"),
        ("gausslegendre", -3, "n_steps must be an integer of at least 1"),
        ("riemann_left", 2.5, "n_steps must be int.*, got 2.5"),
        ("riemann_left", "many", "n_steps must be int.*, got 'many'"),
    ],
)
@pytest.mark.parametrize("name", ["IntegratedGradients", "Conductance"])
def test_too_few_points(attribute, name, method, n_steps, message):
    with pytest.raises(UsageError, match=message):
        attribute(name, lambda x: x.sum(1))(torch.ones(1, 2), n_steps=n_steps, method=method)


@pytest.mark.parametrize("name", ["integrated_gradients", "conductance"])
def test_every_option_can_be_given_to_explain_too(name):
    model, point = torch.nn.Linear(3, 2).double(), torch.ones(1, 3, dtype=torch.float64)
    given = {option.name: option.default for option in registry.method(name).options}
    given |= {"method": "riemann_left", "n_steps": 3}
    assert attrkit.explain(model, point, name, target=0, options=given).options == given


def test_an_unknown_rule_is_named_with_the_one_that_was_meant(attribute):
    message = "no quadrature rule. Did you mean 'riemann_trapezoid'. Rules: gausslegendre, clenshaw_curtis, riemann_left"
    with pytest.raises(UnknownName, match=message):
        attribute("IntegratedGradients", lambda x: x.sum(1))(torch.ones(1, 2), method="riemann_trapzoid")
