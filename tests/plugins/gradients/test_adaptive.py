"""Quadrature that chooses its own points, and conductance by the derivative along the path."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import grad

import attrkit
from attrkit.errors import AttrkitWarning, UnknownName, UsageError, UsageTypeError
from tests.plugins.models import Polynomials, Residual, Reused, Several, Tokens, TwoInputs, built, cnn, draw, smooth_mlp

X = draw(4, 5, seed=1)
B = draw(4, 5, seed=2)
TARGETS = [0, 2, 1, 1]


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def only(explanation):
    (values,) = explanation.values.values()
    return values


@pytest.fixture(scope="module", autouse=True)
def forward_mode():
    """Torch loads what forward mode needs when it is first used, and warns of a part of itself then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (X,), (X,))


@pytest.fixture(scope="module")
def model():
    return built(smooth_mlp)


@pytest.fixture
def auto(explain):
    """Integrated gradients with as many points as are needed."""

    def call(model, inputs, **given):
        return explain(model, inputs, "integrated_gradients", n_steps="auto", **given)

    return call


def complete(found, tol):
    """Whether the attributions of each example add up within tol of the change of its output."""
    change = (found.output - found.baseline_output).abs()
    return bool((found.delta.abs() <= tol * change + 1e-13).all())


# Complete within tol.


@pytest.mark.parametrize("tol", [0.3, 1e-3, 1e-6, 1e-11])
@pytest.mark.parametrize("place", [{}, {"layer": "0"}, {"layer": "1"}, {"layer": "2", "attribute_to_layer_input": True}])
def test_attributions_add_up_within_tol_for_each_example(auto, model, tol, place):
    found = auto(model, 3 * X, baselines=B, target=TARGETS, tol=tol, **place)
    assert complete(found, tol)
    assert found.options["n_steps"] == "auto"


@pytest.mark.parametrize("layer", [None, "0", "1", "2", "3"])
def test_they_are_what_many_points_come_to(explain, auto, model, layer):
    given = {"baselines": B, "target": TARGETS, "layer": layer}
    exact = only(explain(model, X, "integrated_gradients", n_steps=120, **given))
    same(only(auto(model, X, tol=1e-9, **given)), exact, 1e-8)
    same(only(auto(model, X, tol=1e-3, **given)), exact, 1e-2)


@pytest.mark.parametrize("selector", [2, (slice(1, 4),), lambda v: v.square().sum(1)], ids=["index", "slice", "function"])
def test_of_a_neuron_they_add_up_to_the_change_of_its_value(attribute, model, selector):
    found = attribute("NeuronIntegratedGradients", model, model[3])(2 * X, selector, B, n_steps="auto", tol=1e-6)
    value = {2: lambda v: v[:, 2]}.get(selector) if isinstance(selector, int) else selector
    value = value if callable(value) else lambda v: v[:, 1:4].sum(1)
    with torch.no_grad():
        change = value(model[:4](2 * X)) - value(model[:4](B))
    assert ((found.sum(1) - change).abs() <= 1e-6 * change.abs()).all()


def test_the_classes_take_it_too(attribute, model):
    for name, place in (("IntegratedGradients", ()), ("LayerIntegratedGradients", (model[1],))):
        given = {"n_steps": "auto", "tol": 1e-8, "return_convergence_delta": True}
        found, delta = attribute(name, model, *place)(X, B, TARGETS, **given)
        with torch.no_grad():
            change = (model(X) - model(B))[range(4), TARGETS]
        same(delta, found.sum(1) - change)
        assert (delta.abs() <= 1e-8 * change.abs() + 1e-14).all()


def test_the_average_gradient_alone(explain, auto, attribute, model):
    whole = only(auto(model, X, baselines=B, target=0, tol=1e-5))
    slopes = only(auto(model, X, baselines=B, target=0, tol=1e-5, multiply_by_inputs=False))
    same(slopes * (X - B), whole)
    same(attribute("IntegratedGradients", model, multiply_by_inputs=False)(X, B, 0, n_steps="auto", tol=1e-5), slopes)
    layer = only(auto(model, X, baselines=B, target=0, tol=1e-5, multiply_by_inputs=False, layer="1"))
    with torch.no_grad():
        apart = model[:2](X) - model[:2](B)
    same(layer * apart, only(auto(model, X, baselines=B, target=0, tol=1e-5, layer="1")))


def test_several_inputs_share_their_points(explain, auto):
    model, inputs, compared = built(TwoInputs), (draw(3, 4), draw(3, 2, 3)), (draw(3, 4, seed=5), draw(1, 2, 3, seed=6))
    found = auto(model, inputs, baselines=compared, target=1, tol=1e-8)
    assert complete(found, 1e-8)
    exact = explain(model, inputs, "integrated_gradients", baselines=compared, target=1, n_steps=100)
    for name in ("a", "b"):
        same(found.values[name], exact.values[name], 1e-7)


def test_several_layers_each_have_the_points_that_they_need(auto, attribute, model):
    together = auto(model, X, target=0, tol=1e-6, layers=["0", "2"]).values
    for layer in ("0", "2"):
        same(together[layer], only(auto(model, X, target=0, tol=1e-6, layer=layer)))
    inputs = (draw(3, 4), draw(3, 2, 3))
    model = built(TwoInputs)
    found = attribute("LayerIntegratedGradients", model, [model.left, model.right])(inputs, target=1, n_steps="auto", tol=1e-7)
    with torch.no_grad():
        change = model(*inputs)[:, 1] - model(*map(torch.zeros_like, inputs))[:, 1]
    assert ((found[0].sum(1) + found[1].sum(1) - change).abs() <= 1e-7 * change.abs()).all()


@pytest.mark.parametrize("kind", ["tuple", "dict", "dataclass"])
def test_a_layer_with_several_tensors(auto, kind):
    found = auto(built(lambda: Several(kind)), draw(3, 3), target=1, layer="pack", tol=1e-8)
    assert list(found.values) == ["pack[0]", "pack[1]"]
    assert complete(found, 1e-8)


def test_tokens_at_their_embedding(auto):
    found = auto(
        built(lambda: nn.Sequential(nn.Embedding(7, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2))),
        torch.tensor([[1, 2, 3, 4], [5, 6, 0, 1]]),
        target=[0, 1],
        layer="0",
        tol=1e-8,
    )
    assert found.values["0"].shape == (2, 4, 3)
    assert complete(found, 1e-8)


def test_one_call_of_a_layer_that_runs_twice(explain, auto):
    model, x = built(Reused), draw(3, 4)
    model.relu = nn.Tanh()
    for call in (0, 1):
        given = {"layer": f"mix@{call}", "target": 1}
        exact = only(explain(model, x, "integrated_gradients", n_steps=100, **given))
        same(only(auto(model, x, tol=1e-9, **given)), exact, 1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_in_low_precision_rounding_is_no_reason_to_go_on(auto, dtype):
    found = auto(built(smooth_mlp).to(dtype), X.to(dtype), target=0, tol=1e-9)
    assert only(found).dtype is dtype
    assert found.passes["forward"] < 100


# As many points as are needed, for each example.


@pytest.fixture
def evaluations(untouched):
    """How many times each example of a batch is differentiated. Its number is its last input, which does not move."""

    def count(function, inputs, *, layer=None, **given):
        numbers = torch.arange(float(len(inputs)), dtype=inputs.dtype)[:, None]
        seen = torch.zeros(len(inputs), dtype=torch.long)

        def model(x):
            if x.requires_grad:
                seen.index_add_(0, x[:, -1].round().long(), torch.ones(len(x), dtype=torch.long))
            return function(x[:, :-1])

        whole = torch.cat([inputs, numbers], 1)
        given = {"baselines": torch.cat([torch.zeros_like(inputs), numbers], 1), "internal_batch_size": 1, **given}
        with untouched(nn.Identity(), whole):
            found = attrkit.explain(model, whole, "integrated_gradients", n_steps="auto", **given)
        return seen.tolist(), found

    return count


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_polynomials_of_low_degree_stop_at_the_second_level_exactly(evaluations, degree):
    inputs = draw(3, 2, seed=4) + 3
    powers = torch.arange(1.0, 3).double()
    seen, found = evaluations(lambda x: 2 + (powers * x**degree).sum(1), inputs, tol=1e-10)
    assert seen == [5, 5, 5]
    same(only(found)[:, :2], powers * inputs**degree - powers * (0.0**degree))
    assert found.passes == {"forward": 5, "backward": 5}


def test_a_polynomial_model_and_its_layers_stop_at_the_second_level(explain, auto):
    model, x, reference = built(Polynomials), draw(3, 4), draw(3, 4, seed=3)
    for place in ({}, {"layer": "lower"}, {"layer": "forms"}):
        found = auto(model, x, baselines=reference, target=1, tol=1e-9, **place)
        same(only(found), only(explain(model, x, "integrated_gradients", baselines=reference, target=1, n_steps=20, **place)))
        assert complete(found, 1e-12)
        assert found.passes["backward"] == 5


def test_a_tolerance_beside_a_number_is_refused(explain):
    with pytest.raises(UsageError, match="tol=0.1 has no effect beside n_steps=20: leave it out, or give n_steps='auto'"):
        explain(built(Polynomials), draw(3, 4), "integrated_gradients", target=1, n_steps=20, tol=0.1)


def test_a_rule_of_ones_own_is_refused(auto):
    with pytest.raises(UsageError, match="method='riemann_left' has no effect with n_steps='auto'"):
        auto(built(Polynomials), draw(3, 4), target=1, options={"method": "riemann_left"})


def test_an_easy_example_gets_fewer_points_than_a_hard_one(evaluations):
    inputs = torch.tensor([[0.01], [9.0], [0.02], [25.0]]).double()
    seen, found = evaluations(lambda x: torch.sin(x).sum(1) + 3 * x.sum(1), inputs, tol=1e-6)
    assert seen[0] == seen[2] == 5
    assert 9 <= seen[1] < seen[3] <= 65
    assert all(n in (5, 9, 17, 33, 65, 129, 257) for n in seen)
    assert complete(found, 1e-6)


def test_a_smaller_tol_takes_more_points(evaluations):
    inputs = torch.tensor([[6.0]]).double()
    counts = [evaluations(lambda x: torch.sin(x).sum(1) + x.sum(1), inputs, tol=tol)[0][0] for tol in (0.5, 1e-3, 1e-6, 1e-12)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_examples_that_stop_leave_the_others_as_they_were(explain, auto):
    def model(x, scale):
        return (torch.sin(scale[:, None] * x) + x**2).sum(1)

    x, reference, scale = draw(4, 3, seed=3), draw(4, 3, seed=4), torch.tensor([0.01, 12.0, 0.1, 30.0]).double()
    given = {"baselines": reference, "tol": 1e-7}
    together = auto(model, x, additional_forward_args=scale, **given)
    for i in range(4):
        part = slice(i, i + 1)
        alone = auto(model, x[part], additional_forward_args=scale[part], **{**given, "baselines": reference[part]})
        same(only(alone), only(together)[part])
    exact = explain(model, x, "integrated_gradients", additional_forward_args=scale, baselines=reference, n_steps=200)
    same(only(together), only(exact), 1e-5)


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_the_chunk_size_changes_nothing(auto, model, rows):
    for place in ({}, {"layer": "1"}):
        given = {"baselines": B, "target": TARGETS, "tol": 1e-6, **place}
        same(only(auto(model, 4 * X, internal_batch_size=rows, **given)), only(auto(model, 4 * X, **given)))


def test_at_a_layer_examples_stop_separately_too(explain):
    rows, layer = [], nn.Identity()

    def model(x):
        rows.append(len(x))
        v = layer(x)
        return torch.sin(v).sum(1) + 3 * v.sum(1)

    def evaluations(*places):
        rows.clear()
        x = torch.tensor(places).double()[:, None]
        explain(model, x, "integrated_gradients", n_steps="auto", tol=1e-6, layer=layer, internal_batch_size=1)
        return len(rows)

    easy, hard = evaluations(0.01), evaluations(25.0)
    assert hard > 3 * easy
    assert evaluations(0.01, 25.0) <= easy + hard + 1


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_of_one_and_an_empty_one(auto, model, count):
    for place, width in (({}, 5), ({"layer": "1"}, 6)):
        found = auto(model, X[:count], target=0, tol=1e-6, **place)
        assert only(found).shape == (count, width)
        assert found.delta.shape == (count,)


# Where that is not enough.


def test_kinks_are_warned_about_with_how_far_it_came(auto):
    def model(x):
        return (x - 1 / 3).abs().sum(1) + 0.01 * x.sum(1)

    x = torch.tensor([[0.2], [1.0], [0.1]]).double()
    said = r"n_steps='auto': 1 of 3 examples did not reach tol=1e-06 with 257 points; the largest gap is \S+ of the change"
    with pytest.warns(AttrkitWarning, match=said) as caught:
        found = auto(model, x, tol=1e-6)
    gap = float(str(caught[0].message).partition("gap is ")[2].split()[0])
    change = (found.output - found.baseline_output)[1].abs()
    assert gap == pytest.approx(float(found.delta[1].abs() / change), rel=0.05)
    assert found.warnings == (str(caught[0].message),)
    same(only(found), model(x)[:, None] - 1 / 3, 0.05)


def test_what_oscillates_too_fast_is_warned_about_and_as_good_as_the_last_level(explain, auto):
    def model(x):
        return torch.sin(2000 * x).sum(1) + x.sum(1)

    x = torch.tensor([[1.0], [0.0005]]).double()
    with pytest.warns(AttrkitWarning, match="1 of 2 examples did not reach tol=0.01 with 257 points"):
        found = auto(model, x)
    fixed = explain(model, x, "integrated_gradients", n_steps=257, options={"method": "clenshaw_curtis"})
    same(only(found)[0], only(fixed)[0], 1e-9)
    same(only(found)[1], model(x)[1:], 1e-2)


def test_it_warns_of_all_that_did_not_get_there(auto):
    x = torch.tensor([[1.0], [1.1], [1.2], [0.1]]).double()
    with pytest.warns(AttrkitWarning, match="3 of 4 examples did not reach tol=1e-07"):
        auto(lambda x: (x - 0.7).abs().sum(1), x, tol=1e-7)


def test_a_fit_by_luck_at_one_level_is_not_enough(auto):
    def model(x):  # its gradient is 1 at three points and not between
        return (x + torch.sin(4 * torch.pi * x) / (4 * torch.pi)).sum(1)

    found = auto(model, torch.tensor([[1.0], [0.7]]).double(), tol=1e-6)
    same(only(found), model(torch.tensor([[1.0], [0.7]]).double())[:, None], 1e-6)


# Nothing changes.


def test_where_nothing_depends_on_the_input_there_is_nothing_to_add_up(auto):
    found = auto(lambda x: (0 * x).sum(1) + 3, X)
    assert torch.equal(only(found), torch.zeros_like(X))
    assert found.passes["backward"] == 5


def test_an_example_that_is_its_own_baseline(auto, model):
    reference = B.clone()
    reference[1] = X[1]
    found = auto(model, X, baselines=reference, target=0, tol=1e-8)
    assert torch.equal(only(found)[1], torch.zeros(5).double())
    assert complete(found, 1e-8)


def test_contributions_that_cancel_each_other(auto):
    x = torch.tensor([[0.8, 0.8], [0.3, 0.9]]).double()
    found = auto(lambda x: 5 + torch.sin(3 * x[:, 0]) - torch.sin(3 * x[:, 1]), x, tol=1e-6)
    same(only(found), torch.stack([torch.sin(3 * x[:, 0]), -torch.sin(3 * x[:, 1])], 1), 1e-4)


def test_an_output_that_comes_back_to_where_it_was(auto):
    found = auto(lambda x: 1 + (x * (1 - x)).sum(1), torch.ones(2, 3).double(), tol=1e-3)
    same(only(found), torch.zeros(2, 3).double())
    assert found.passes["backward"] == 5


def test_an_output_that_comes_back_to_zero(auto):
    found = auto(lambda x: (x * (0.9 - x) * (1 + x)).sum(1), torch.full((2, 3), 0.9, dtype=torch.float64), tol=1e-3)
    same(only(found), torch.zeros(2, 3).double())
    assert found.passes["backward"] == 5


# Models that do not take one example at a time.


@pytest.mark.filterwarnings("ignore:n_steps='auto'")
def test_examples_that_influence_one_another_are_explained_together(explain, auto):
    def model(x):
        centred = x - x.mean(0)
        return (centred**2).sum(1) + torch.sin(4 * x * x[:, :1]).sum(1)

    x = torch.tensor([[0.0, 0.1], [1.5, -1.0], [1.2, 0.7]]).double()
    same(only(auto(model, x, tol=1e-5)), only(explain(model, x, "integrated_gradients", n_steps=200)), 1e-8)


@pytest.mark.filterwarnings("ignore:n_steps='auto'")
def test_examples_that_stop_do_not_change_what_the_model_says_of_the_others(explain, auto):
    def model(x):  # as many models do with the batch's size, length or largest value
        return torch.sin(x).sum(1) * len(x)

    x = torch.tensor([[0.01], [9.0], [8.0]]).double()
    found = auto(model, x, tol=1e-5, internal_batch_size=3)
    same(only(found), only(explain(model, x, "integrated_gradients", n_steps=100, internal_batch_size=3)), 1e-3)


def test_a_model_with_one_output_for_the_batch_is_done_when_all_add_up(explain, auto):
    def model(x):
        return torch.sin(x).sum()

    found = auto(model, X, tol=1e-6)
    same(only(found), only(explain(model, X, "integrated_gradients", n_steps=60)), 1e-5)
    assert found.passes["backward"] < 100


def test_a_layer_of_other_rows_than_the_batch_is_refused(auto):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.head = nn.Linear(3, 4), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.token(x.reshape(-1, 3))).reshape(len(x), 8))

    with pytest.raises(UsageError, match="n_steps='auto' stops example by example, but the layer's value has other rows"):
        auto(built(Flat), draw(3, 2, 3), layer="token", target=0)


# What is refused.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"tol": 0}, UsageError, "tol must be a positive number, got 0"),
        ({"tol": -1e-3}, UsageError, "tol must be a positive number, got -0.001"),
        ({"tol": float("nan")}, UsageError, "tol must be a positive number, got nan"),
        ({"tol": "small"}, UsageTypeError, "tol must be float, got 'small'"),
        ({"tol": None}, UsageTypeError, "tol must be float, got None"),
        ({"tol": True}, UsageTypeError, "tol must be float, got True"),
        ({"n_steps": "automatic"}, UsageTypeError, "n_steps must be int or 'auto', got 'automatic'"),
        ({"n_steps": 2.5}, UsageTypeError, "n_steps must be int or 'auto', got 2.5"),
        ({"n_steps": None}, UsageTypeError, "n_steps must be int or 'auto', got None"),
    ],
)
def test_what_is_refused(explain, model, given, error, message):
    with pytest.raises(error, match=message):
        explain(model, X, "integrated_gradients", target=0, **{"n_steps": "auto", **given})


def test_other_methods_have_no_points_of_their_own_choice(explain, model):
    for method in ("conductance", "internal_influence"):
        with pytest.raises(UsageTypeError, match="n_steps must be int, got 'auto'"):
            explain(model, X, method, n_steps="auto", target=0, layer="1")


# Conductance by the derivative along the path.

FORWARD = "forward_gausslegendre"


def nodes(n):
    places, weights = np.polynomial.legendre.leggauss(n)
    return [((p + 1) / 2, w / 2) for p, w in zip(places.tolist(), weights.tolist(), strict=True)]


def summed(lower, upper, inputs, start, targets, rule):
    """The sum, over a rule's nodes, of the gradient of what is above a layer times the derivative of what is below."""
    total = 0
    way = tuple(x - b for x, b in zip(inputs, start, strict=True))
    for place, weight in rule:
        at = tuple(b + place * w for b, w in zip(start, way, strict=True))
        value, change = torch.func.jvp(lower, at, way)
        value = value.detach().requires_grad_()
        (gradient,) = grad(upper(value)[range(len(value)), targets].sum(), value)
        total = total + weight * gradient * change.detach()
    return total


def residual_parts(model):
    def lower(x):
        x = F.relu(model.bn(model.conv(x)))
        return model.block1(F.max_pool2d(x, 2))

    return lower, lambda v: model.fc(torch.flatten(F.adaptive_avg_pool2d(model.block2(v), 1), 1))


SPLIT = {
    "mlp, linear": (smooth_mlp, "0", lambda m: (m[:1], m[1:]), [(5,)]),
    "mlp, tanh": (smooth_mlp, "1", lambda m: (m[:2], m[2:]), [(5,)]),
    "mlp, softplus": (smooth_mlp, "3", lambda m: (m[:4], m[4:]), [(5,)]),
    "mlp, output": (smooth_mlp, "4", lambda m: (m, nn.Identity()), [(5,)]),
    "cnn, conv": (lambda: cnn(batch_norm=True), "0", lambda m: (m[:1], m[1:]), [(2, 8, 8)]),
    "cnn, pool": (lambda: cnn(batch_norm=True), "3", lambda m: (m[:4], m[4:]), [(2, 8, 8)]),
    "cnn, dense": (lambda: cnn(batch_norm=True), "12", lambda m: (m[:13], m[13:]), [(2, 8, 8)]),
    "residual": (Residual, "block1", residual_parts, [(3, 8, 8)]),
    "two inputs": (TwoInputs, "act", lambda m: (lambda a, b: m.act(m.left(a) + m.right(b.flatten(1))), m.head), [(4,), (2, 3)]),
}  # fmt: skip


@pytest.fixture(params=SPLIT)
def split(request):
    """A model, a layer, what is below and above it, inputs and baselines as they are given."""
    factory, layer, parts, shapes = SPLIT[request.param]
    model = built(factory)
    inputs, start = (tuple(draw(3, *shape, seed=seed + i) for i, shape in enumerate(shapes)) for seed in (10, 20))
    return model, layer, *parts(model), inputs, start


def given_as(tensors):
    return tensors if len(tensors) > 1 else tensors[0]


def test_it_is_the_sum_of_gradients_times_derivatives_at_the_nodes(attribute, split):
    model, layer, lower, upper, inputs, start = split
    made = attribute("LayerConductance", model, layer)
    found = made(given_as(inputs), given_as(start), [0, 2, 1], n_steps=6, method=FORWARD)
    expected = summed(lower, upper, inputs, start, [0, 2, 1], nodes(6))
    same(found, expected, 1e-11)
    assert (found != 0).any()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("riemann_left", [(0.0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25)]),
        ("riemann_right", [(0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1.0, 0.25)]),
        ("riemann_middle", [(0.125, 0.25), (0.375, 0.25), (0.625, 0.25), (0.875, 0.25)]),
        ("riemann_trapezoid", [(0.0, 1 / 6), (1 / 3, 1 / 3), (2 / 3, 1 / 3), (1.0, 1 / 6)]),
        ("gausslegendre", nodes(4)),
    ],
)
def test_each_rule_has_its_nodes_and_weights(attribute, model, name, rule):
    found = attribute("LayerConductance", model, model[1])(X, B, TARGETS, n_steps=4, method=f"forward_{name}")
    same(found, summed(model[:2], model[2:], (X,), (B,), TARGETS, rule))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_few_points_are_enough_where_the_model_is_smooth(attribute, activation):
    model = built(lambda: nn.Sequential(nn.Linear(5, 6), activation(), nn.Linear(6, 6), activation(), nn.Linear(6, 2)))
    made = attribute("LayerConductance", model, model[1])
    exact = made(X, B, 0, n_steps=2000, method="riemann_trapezoid")
    by_differences, by_derivatives = (
        (made(X, B, 0, n_steps=8, method=method) - exact).abs().max() for method in ("gausslegendre", FORWARD)
    )
    assert by_derivatives < 1e-5  # what is left is mostly that of the exact one
    assert by_derivatives < by_differences / 100


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_it_is_complete(attribute, model, layer):
    given = {"n_steps": 30, "method": FORWARD, "return_convergence_delta": True}
    _, delta = attribute("LayerConductance", model, layer)(X, B, TARGETS, **given)
    assert delta.abs().max() < 1e-10


def test_of_a_linear_model_one_point_is_enough(attribute):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)))
    found = attribute("LayerConductance", model, model[0])(X, B, 1, n_steps=1, method=FORWARD)
    same(found, ((X - B) @ model[0].weight.T * model[1].weight[1]).detach())


def test_a_number_as_baseline_and_none(attribute, model):
    made = attribute("LayerConductance", model, model[1])
    same(
        made(X, 0.5, 0, n_steps=5, method=FORWARD),
        summed(model[:2], model[2:], (X,), (torch.full_like(X, 0.5),), [0] * 4, nodes(5)),
    )
    same(made(X, None, 0, n_steps=5, method=FORWARD), made(X, torch.zeros_like(X), 0, n_steps=5, method=FORWARD))


def test_the_input_of_a_layer_is_the_output_of_the_one_before(attribute, model):
    given = {"n_steps": 5, "method": FORWARD}
    into = attribute("LayerConductance", model, model[2])(X, B, 0, attribute_to_layer_input=True, **given)
    same(into, attribute("LayerConductance", model, model[1])(X, B, 0, **given))


@pytest.mark.parametrize("kind", ["tuple", "dict", "dataclass"])
def test_a_layer_with_several_tensors_has_conductances_for_each(attribute, kind):
    model, x = built(lambda: Several(kind)), draw(3, 3)
    found = attribute("LayerConductance", model, model.pack)(x, target=1, n_steps=6, method=FORWARD)

    def above(v):
        first, second = v[:, :2], v[:, 2:]
        return model.head(torch.cat([first * second, first], 1))

    def below(x):
        v = model.mix(x)
        return torch.cat([torch.tanh(v[:, :2]), v[:, 2:] ** 2], 1)

    same(torch.cat(found, 1), summed(below, above, (x,), (torch.zeros_like(x),), [1] * 3, nodes(6)))


def test_what_goes_around_the_layer_counts_only_where_it_passes_through(attribute):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.lower, self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            v = torch.tanh(self.lower(x))
            v = v + torch.tanh(self.inner(v))
            return self.head(v * x.sum(1, keepdim=True))

    model = built(Around)
    found = attribute("LayerConductance", model, model.inner)(X, B, 0, n_steps=6, method=FORWARD)
    total = torch.zeros(4, 6).double()
    for place, weight in nodes(6):
        at = B + place * (X - B)

        def below(x):
            v = torch.tanh(model.lower(x))
            return model.inner(v)

        _, change = torch.func.jvp(below, (at,), (X - B,))
        lower = torch.tanh(model.lower(at)).detach()
        value = model.inner(lower).detach().requires_grad_()
        output = model.head((lower + torch.tanh(value)) * at.sum(1, keepdim=True))[:, 0]
        total += weight * grad(output.sum(), value)[0] * change.detach()
    same(found, total)


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_the_chunk_size_changes_nothing_of_it(explain, model, rows):
    given = {"layer": "1", "baselines": B, "target": TARGETS, "n_steps": 7, "options": {"method": FORWARD}}
    same(
        only(explain(model, X, "conductance", internal_batch_size=rows, **given)),
        only(explain(model, X, "conductance", **given)),
    )


def test_an_example_is_explained_alone_as_in_a_batch(attribute):
    model, images = built(Residual), draw(3, 3, 8, 8)
    made = attribute("LayerConductance", model, model.block2)
    together = made(images, target=[0, 2, 1], n_steps=5, method=FORWARD)
    for i, target in enumerate([0, 2, 1]):
        same(made(images[i : i + 1], target=target, n_steps=5, method=FORWARD), together[i : i + 1])


def test_it_costs_a_forward_and_a_backward_pass_for_each_point(explain, model):
    found = explain(model, X, "conductance", layer="1", target=0, n_steps=9, options={"method": FORWARD})
    assert found.passes["backward"] == 9
    assert 9 <= found.passes["forward"] <= 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attributions_have_the_precision_of_the_layer(attribute, dtype):
    model = built(smooth_mlp).to(dtype)
    found = attribute("LayerConductance", model, model[1])(X.to(dtype), target=0, n_steps=4, method=FORWARD)
    assert found.dtype is dtype
    same(found.double(), attribute("LayerConductance", built(smooth_mlp), "1")(X, target=0, n_steps=4, method=FORWARD), 0.03)


def test_at_inputs_and_for_neurons_it_is_the_rule_itself(explain, attribute, model):
    found = explain(model, X, "conductance", target=0, n_steps=5, options={"method": FORWARD})
    same(only(found), only(explain(model, X, "integrated_gradients", target=0, n_steps=5)))
    neurons = attribute("NeuronConductance", model, model[1])
    same(neurons(X, 2, B, 0, n_steps=5, method=FORWARD), neurons(X, 2, B, 0, n_steps=5, method="gausslegendre"))


def test_several_layers_have_the_conductances_of_each_alone(explain, model):
    given = {"target": 0, "n_steps": 6, "options": {"method": FORWARD}}
    together = explain(model, X, "conductance", layer=["0", "1", "3"], **given).values
    for layer in ("0", "1", "3"):
        same(together[layer], only(explain(model, X, "conductance", layer=layer, **given)))


def test_each_call_of_a_layer_has_the_conductances_of_it_alone(explain):
    model, x = built(Reused), draw(3, 4)
    given = {"target": 0, "n_steps": 6, "options": {"method": FORWARD}}
    both = explain(model, x, "conductance", layer="mix", **given).values
    for call in (0, 1):
        same(both[f"mix[{call}]"], only(explain(model, x, "conductance", layer=f"mix@{call}", **given)))


def test_one_call_of_a_layer_that_runs_twice_has_its_own_conductance(attribute):
    model, x = built(Reused), draw(3, 4)
    start = torch.zeros_like(x)

    def again(v):
        return model.relu(model.mix(v))

    found = attribute("LayerConductance", model, attrkit.Call(model.mix, 1))(x, target=0, n_steps=6, method=FORWARD)
    same(found, summed(lambda x: model.mix(again(x)), lambda v: model.head(F.relu(v)), (x,), (start,), [0] * 3, nodes(6)))
    found = attribute("LayerConductance", model, "mix@0")(x, target=0, n_steps=6, method=FORWARD)
    same(found, summed(model.mix, lambda v: model.head(again(F.relu(v))), (x,), (start,), [0] * 3, nodes(6)))


class Squared(torch.autograd.Function):
    """Has a backward pass and no forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Sampled(nn.Module):
    """Reads an image at places between its pixels, which torch has no forward-mode derivative of."""

    def forward(self, x):
        places = torch.zeros(len(x), 3, 3, 2, dtype=x.dtype)
        return F.grid_sample(x, places, align_corners=False).flatten(1)


class Curved(nn.Module):
    def forward(self, x):
        return Squared.apply(x)


@pytest.mark.parametrize(("lower", "shape"), [(Curved, (5,)), (Sampled, (2, 4, 4))], ids=["of the user's own", "of torch's"])
def test_an_operation_without_a_forward_mode_derivative_is_named(explain, lower, shape):
    model, x = nn.Sequential(lower(), nn.Flatten()).double(), draw(2, *shape)
    with pytest.raises(UsageError, match="(?s)method: a forward-mode derivative is missing .* use a method without 'forward_'"):
        explain(model, x, "conductance", layer="0", target=0, options={"method": FORWARD})
    assert explain(model, x, "conductance", layer="0", target=0).values["0"].isfinite().all()


def test_above_the_layer_no_forward_mode_derivative_is_needed(explain):
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), Curved()).double()
    found = explain(model, X, "conductance", layer="1", target=2, n_steps=20, options={"method": FORWARD})
    assert found.delta.abs().max() < 1e-9


def test_a_rule_that_does_not_exist(explain, model):
    for name in ("forward_", "forward_gauss", "forward_forward_gausslegendre", "forwards_gausslegendre"):
        with pytest.raises(UnknownName, match="is no quadrature rule"):
            explain(model, X, "conductance", layer="1", target=0, options={"method": name})


def test_numbers_of_tokens_have_no_derivative(explain):
    with pytest.raises(UsageTypeError, match="torch.int64"):
        explain(
            built(Tokens), torch.tensor([[1, 2, 3]]), "conductance", layer="embedding", target=0, options={"method": FORWARD}
        )


def test_a_layer_that_the_path_does_not_reach_has_no_conductance(attribute):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.constant = nn.Linear(5, 4), nn.Linear(3, 4)

        def forward(self, x):
            return self.used(x) * self.constant(torch.ones(len(x), 3, dtype=x.dtype))

    found = attribute("LayerConductance", built(Aside), "constant")(X, target=0, n_steps=3, method=FORWARD)
    assert torch.equal(found, torch.zeros(4, 4).double())
