"""Methods that draw: gradient SHAP, expected gradients, noise tunnel: which draws they make, and what they add up to.

Draws are read off what comes out: the mean of k samples and that of k + 1 give away the one that was added.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import AttrkitError, UnknownName, UsageError, UsageIndexError, UsageTypeError
from attrkit.registry import registry
from tests.plugins.models import Several, Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp

X = draw(3, 5, seed=1)
ROWS = draw(10, 5, seed=2)
TARGETS = [0, 2, 1]


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def tensors(found):
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def halves(x):
    """Half the squared length: its gradient is the point itself."""
    return (x**2).sum(1) / 2


@pytest.fixture(scope="module")
def model():
    return built(smooth_mlp)


@pytest.fixture
def registered():
    """Registers declarations for the time of a test."""
    names = []

    def register(spec):
        registry.register(spec)
        names.append(spec.name)
        return spec

    yield register
    for name in names:
        registry._forget(name)


@attrkit.method("point_itself", objective=False, gradient=False)
def point_itself(problem):
    """What the method is applied to."""
    return tuple(t.clone() for t in problem.inputs)


def copies(inputs, count, stdevs, seed=0):
    """The noisy copies that noise_tunnel applies a method to: for each sample, the inputs."""
    spec = registry.wrapper("noise_tunnel").around(point_itself)
    given = {"stdevs": stdevs, "seed": seed}
    means = [attrkit.explain(lambda *_: 0, inputs, spec, nt_samples=k, **given).values.values() for k in range(1, count + 1)]
    sums = [[(k + 1) * t for t in each] for k, each in enumerate(means)]
    before = [[torch.zeros_like(t) for t in sums[0]], *sums[:-1]]
    return [tuple(s - b for s, b in zip(*pair, strict=True)) for pair in zip(sums, before, strict=True)]


def added(values, count):
    """Single samples from the means of the first, the first two, and so on."""
    means = [values(k) for k in range(1, count + 1)]
    return [means[0], *((k + 1) * means[k] - k * means[k - 1] for k in range(1, count))]


#: Calls of ``attrkit.explain`` by a seed and further options, each of which draws.
CALLS = {
    "gradient_shap": ("gradient_shap", {"baselines": ROWS, "n_samples": 6, "stdevs": 0.3}),
    "input_baseline_x_gradient": ("input_baseline_x_gradient", {"baselines": ROWS}),
    "expected_gradients": ("expected_gradients", {"baselines": ROWS, "n_samples": 6}),
    "mirrored": ("expected_gradients", {"baselines": ROWS[:2], "n_samples": 9}),
    "nt of saliency": ("noise_tunnel(saliency)", {"nt_samples": 6, "stdevs": 0.3}),
    "nt of ig": ("noise_tunnel(integrated_gradients)", {"nt_samples": 6, "n_steps": 3, "stdevs": 0.3}),
    "nt of eg": ("noise_tunnel(expected_gradients)", {"nt_samples": 3, "n_samples": 3, "baselines": ROWS}),
    "nt, baselines drawn": (
        "IntegratedGradients",
        {"nt_samples": 6, "n_steps": 3, "baselines": ROWS, "draw_baseline_from_distrib": True},
    ),
    "variance": ("noise_tunnel(input_x_gradient)", {"nt_type": "vargrad", "nt_samples": 5, "stdevs": 0.2}),
}  # fmt: skip
drawing = pytest.mark.parametrize("call", CALLS)


@pytest.fixture
def asked(explain, model, untouched):
    """One of the calls, by whichever door it has a name at."""

    def ask(call, inputs=X, target=0, model=model, **given):
        method, options = CALLS[call]
        if method.islower():
            return only(explain(model, inputs, method, target=target, **{**options, **given}))
        made = attrkit.attr.NoiseTunnel(getattr(attrkit.attr, method)(model))
        with untouched(model, inputs):
            return made.attribute(inputs, target=target, **{"seed": 0, **options, **given})

    return ask


# Draws.


@drawing
def test_the_same_seed_draws_the_same_and_another_another(asked, call):
    found = asked(call, seed=3)
    same(asked(call, seed=3), found)
    assert not torch.allclose(asked(call, seed=4), found)
    same(asked(call), asked(call, seed=0))


@drawing
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_how_many_rows_share_a_pass_changes_no_draw(asked, call, rows):
    same(asked(call, internal_batch_size=rows, target=TARGETS), asked(call, target=TARGETS))


@pytest.mark.parametrize("call", [c for c in CALLS if "nt_samples" in CALLS[c][1]])
@pytest.mark.parametrize("most", [1, 4, 50])
def test_how_many_copies_are_given_at_once_changes_no_draw(asked, call, most):
    same(asked(call, nt_samples_batch_size=most, target=TARGETS), asked(call, target=TARGETS))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_copies_and_rows_are_given_at_once_than_is_asked(explain, registered, most):
    given, seen = [], []

    @attrkit.method("watching", backward_passes="1")
    def watching(problem):
        given.append(len(problem.inputs[0]))
        return problem.value_and_grad()[1]

    def model(x):
        seen.append(len(x))
        return halves(x)

    registered(watching)
    explain(model, X, "noise_tunnel(watching)", nt_samples=20, nt_samples_batch_size=most)
    assert max(given) == most * len(X)
    seen.clear()
    explain(model, X, "noise_tunnel(watching)", nt_samples=20, internal_batch_size=most)
    assert max(seen) <= most
    seen.clear()
    explain(model, X, "gradient_shap", baselines=ROWS, n_samples=20, internal_batch_size=most)
    assert max(seen) <= most


@drawing
def test_an_example_is_explained_alone_as_first_in_a_batch(asked, call):
    together = asked(call, target=TARGETS)
    same(asked(call, X[:1], target=TARGETS[0]), together[:1])
    same(asked(call, X[:2], target=TARGETS[:2]), together[:2])


@drawing
def test_the_other_examples_of_a_batch_change_nothing(asked, call):
    other = torch.cat([draw(2, 5, seed=8), X[2:], draw(4, 5, seed=9)])
    same(asked(call, other, target=[1, 1, TARGETS[2], 0, 0, 1, 2])[2:3], asked(call, target=TARGETS)[2:])


@drawing
def test_equal_examples_have_draws_of_their_own(asked, call):
    first, second = asked(call, X[:1].expand(2, 5), target=1)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("seed", [-1, 2**40, 2**70, -(2**63)])
def test_any_whole_number_is_a_seed(asked, seed):
    same(asked("gradient_shap", seed=seed), asked("gradient_shap", seed=seed))


def test_neighbouring_seeds_below_zero_draw_differently(asked):
    assert not torch.allclose(asked("gradient_shap", seed=-1), asked("gradient_shap", seed=-2))


def test_more_samples_leave_the_earlier_ones_as_they_were(explain):
    def mean(n):
        spec = registry.wrapper("noise_tunnel").around(point_itself)
        return only(explain(lambda _: 0, X, spec, nt_samples=n, stdevs=0.5, seed=7))

    first, second, *_ = added(mean, 4)
    same((first + second) / 2, mean(2))
    squares = torch.stack([s[0] for s in copies(X, 4, 0.5, seed=7)])
    same(squares.mean(0), mean(4))


def test_noise_is_standard_normal_times_its_deviation():
    noise = torch.stack([c[0] for c in copies(torch.zeros(40, 20).double(), 4, 2.5)]) / 2.5
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 1) < 0.05
    assert abs(float((noise**4).mean()) - 3) < 0.4
    flat = noise.reshape(4, -1)
    correlations = torch.corrcoef(flat) - torch.eye(4)
    assert correlations.abs().max() < 0.15
    assert torch.corrcoef(noise.transpose(0, 1).reshape(40, -1)).fill_diagonal_(0).abs().max() < 0.6


#: Classes without a seed, on a model and a layer: how they are made, and what each call is given.
CLASSES = {
    "GradientShap": (lambda model: attrkit.attr.GradientShap(model), (ROWS,), {"target": 0, "stdevs": 0.2}),
    "LayerGradientShap": (lambda model: attrkit.attr.LayerGradientShap(model, model[1]), (ROWS,), {"target": 0}),
    "NeuronGradientShap": (lambda model: attrkit.attr.NeuronGradientShap(model, model[1]), (2, ROWS), {}),
    "ExpectedGradients": (lambda model: attrkit.attr.ExpectedGradients(model), (ROWS,), {"target": 0}),
    "LayerExpectedGradients": (lambda model: attrkit.attr.LayerExpectedGradients(model, model[1]), (ROWS,), {"target": 0}),
    "NoiseTunnel": (lambda model: attrkit.attr.NoiseTunnel(attrkit.attr.Saliency(model)), (), {"target": 0}),
    "NoiseTunnel of a layer": (
        lambda model: attrkit.attr.NoiseTunnel(attrkit.attr.LayerConductance(model, model[1])),
        (),
        {"target": 0, "n_steps": 3},
    ),
    "NoiseTunnel of a drawing method": (
        lambda model: attrkit.attr.NoiseTunnel(attrkit.attr.ExpectedGradients(model)),
        (),
        {"target": 0, "baselines": ROWS, "n_samples": 3},
    ),
}  # fmt: skip
classes = pytest.mark.parametrize("name", CLASSES)


@classes
def test_without_a_seed_a_class_follows_torch_and_takes_one_number_from_it(model, name):
    made, args, kwargs = CLASSES[name]
    call = lambda: made(model).attribute(X, *args, **kwargs)  # noqa: E731 - the call is made five times
    torch.manual_seed(5)
    first, second, state = call(), call(), torch.get_rng_state()
    assert not torch.allclose(first, second)
    torch.manual_seed(5)
    torch.randint(2**62, (1,))
    torch.randint(2**62, (1,))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    same(call(), first)
    same(call(), second)


@classes
def test_no_other_generator_moves(model, name):
    made, args, kwargs = CLASSES[name]
    numbers, state = np.random.get_state()[1].copy(), random.getstate()
    made(model).attribute(X, *args, **kwargs)
    assert (np.random.get_state()[1] == numbers).all()
    assert random.getstate() == state


@classes
def test_with_a_seed_no_generator_moves(untouched, model, name):
    made, args, kwargs = CLASSES[name]
    with untouched(model, X, ROWS):
        first = made(model).attribute(X, *args, **kwargs, seed=11)
    torch.rand(3)
    same(made(model).attribute(X, *args, **kwargs, seed=11), first)
    assert not torch.allclose(made(model).attribute(X, *args, **kwargs, seed=12), first)


def test_both_doors_draw_the_same_for_a_seed(explain, attribute, model):
    same(
        attribute("GradientShap", model)(X, ROWS, 7, 0.2, 1, seed=9),
        only(explain(model, X, "gradient_shap", baselines=ROWS, n_samples=7, stdevs=0.2, target=1, seed=9)),
    )
    same(
        attrkit.attr.NoiseTunnel(attrkit.attr.Saliency(model)).attribute(X, "vargrad", 4, None, 0.2, target=1, seed=9),
        only(explain(model, X, "noise_tunnel(saliency)", nt_type="vargrad", nt_samples=4, stdevs=0.2, target=1, seed=9)),
    )


# Baselines.

#: Rows from which the place and the row of a sample can be told: at a place u between row r and zero it is (1 - u) (1, r).
FAN = torch.tensor([[1.0, r] for r in range(6)], dtype=torch.float64)


def places(points):
    """The row and the position of points between FAN and zero."""
    return (points[..., 1] / points[..., 0]).round().long(), 1 - points[..., 0]


def test_positions_and_rows_are_drawn_uniformly_and_apart(explain):
    zero = torch.zeros(300, 2).double()
    found = only(explain(halves, zero, "input_baseline_x_gradient", baselines=FAN, multiply_by_inputs=False))
    rows, positions = places(found)
    counts = torch.bincount(rows, minlength=6)
    assert (counts > 25).all()
    assert (counts < 80).all()
    assert ((positions > 0) & (positions < 1)).all()
    assert abs(float(positions.mean()) - 0.5) < 0.06
    assert abs(float(positions.var()) - 1 / 12) < 0.015
    assert abs(float(torch.corrcoef(torch.stack([rows.double(), positions]))[0, 1])) < 0.15


def test_samples_of_gradient_shap_are_single_input_baseline_x_gradients(explain):
    def mean(n):
        return only(explain(halves, torch.zeros(2, 2).double(), "gradient_shap", baselines=FAN, n_samples=n, options=plain))

    plain = {"multiply_by_inputs": False}
    samples = torch.stack(added(mean, 12))
    rows, positions = places(samples)
    same(samples, (1 - positions)[..., None] * FAN[rows], 1e-9)
    assert len(set(positions.flatten().tolist())) == 24
    assert len(set(rows.flatten().tolist())) > 3


def test_rows_of_several_inputs_belong_together(explain):
    def model(a, b):
        return halves(a) + halves(b.flatten(1))

    zeros, other = (torch.zeros(40, 2).double(), torch.zeros(40, 1, 2).double()), 10 * FAN[:, None]
    for method in ("input_baseline_x_gradient", "expected_gradients"):
        given = {"n_samples": 1} if method == "expected_gradients" else {}
        found = explain(model, zeros, method, baselines=(FAN, other), options={"multiply_by_inputs": False, **given}).values
        a, b = found.values()
        same(b[:, 0], 10 * a)
        assert len(set(places(a)[0].tolist())) == 6


def test_baselines_may_be_a_function_of_nothing_or_of_the_inputs(explain, attribute, model):
    for method in ("gradient_shap", "expected_gradients", "input_baseline_x_gradient"):
        expected = only(explain(model, X, method, baselines=ROWS, target=0))
        same(only(explain(model, X, method, baselines=lambda: ROWS, target=0)), expected)
        shifted = only(explain(model, X, method, baselines=X[:2] + 1, target=0))
        same(only(explain(model, X, method, baselines=lambda x: x[:2] + 1, target=0)), shifted)
    found = attribute("GradientShap", model)(X, lambda: ROWS, target=0, seed=2)
    same(found, attribute("GradientShap", model)(X, ROWS, target=0, seed=2))


def test_a_function_of_several_inputs_takes_and_returns_them_as_a_tuple(explain):
    model, inputs = built(TwoInputs), (draw(3, 4), draw(3, 2, 3, seed=1))
    seen = []

    def background(given):
        seen.append(given)
        return tuple(t[:2] - 1 for t in given)

    found = explain(model, inputs, "gradient_shap", baselines=background, target=0).values
    expected = explain(model, inputs, "gradient_shap", baselines=tuple(t[:2] - 1 for t in inputs), target=0).values
    for name in ("a", "b"):
        same(found[name], expected[name])
    assert len(seen) == 1
    assert isinstance(seen[0], tuple)


def test_a_function_of_torch_s_own_makes_baselines(explain, model):
    expected = only(explain(model, X, "gradient_shap", baselines=torch.zeros(3, 5).double(), target=0))
    same(only(explain(model, X, "gradient_shap", baselines=torch.zeros_like, target=0)), expected)


def test_one_row_is_every_sample_s_baseline(explain):
    point = draw(2, 2, seed=4)
    found = only(explain(halves, point, "expected_gradients", baselines=FAN[2:3], n_samples=64))
    same(found, (point**2 - FAN[2] ** 2) / 2, 0.02)
    flat = only(explain(lambda x: x @ FAN[3], point, "gradient_shap", baselines=FAN[2:3], n_samples=3))
    same(flat, (point - FAN[2]) * FAN[3])


def test_there_may_be_fewer_or_more_rows_than_examples_and_as_many(explain, model):
    for count in (1, 2, 3, 4, 10):
        found = only(explain(model, X, "gradient_shap", baselines=ROWS[:count], target=0, n_samples=2))
        assert found.shape == X.shape
        alone = only(explain(model, X[:1], "gradient_shap", baselines=ROWS[:count], target=0, n_samples=2))
        same(alone, found[:1])


# Sums.


def test_a_convergence_delta_for_each_sample_an_example_s_together(attribute):
    point = draw(3, 2, seed=4)
    made = attribute("GradientShap", halves)
    _, delta = made(point, FAN, 5, return_convergence_delta=True, seed=1)
    assert delta.shape == (15,)
    slopes = attribute("GradientShap", halves, multiply_by_inputs=False)
    shares, gradients = (added(lambda n, made=each: made(point, FAN, n, seed=1), 5) for each in (made, slopes))
    for sample, (share, slope) in enumerate(zip(shares, gradients, strict=True)):
        start = point - share / slope
        rows = start[:, 1].round().long()
        same(start, FAN[rows], 1e-9)
        same(delta.reshape(3, 5)[:, sample], share.sum(1) - (halves(point) - halves(start)), 1e-9)


@pytest.mark.parametrize("stdevs", [0.0, 0.4])
def test_the_deltas_of_a_linear_model_are_zero(attribute, stdevs):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)))
    found, delta = attribute("GradientShap", model)(X, ROWS, 6, stdevs, [0, 1, 1], return_convergence_delta=True, seed=1)
    assert delta.shape == (18,)
    same(delta, torch.zeros_like(delta), 1e-13)
    assert found.shape == X.shape
    found, delta = attribute("LayerGradientShap", model, model[0])(X, ROWS, 6, stdevs, 1, return_convergence_delta=True, seed=1)
    assert (found.shape, delta.shape) == ((3, 4), (18,))
    same(delta, torch.zeros_like(delta), 1e-13)


@pytest.mark.parametrize("name", ["GradientShap", "LayerGradientShap"])
def test_the_mean_delta_is_that_of_the_mean(attribute, model, name):
    place = () if name == "GradientShap" else (model[1],)
    slope = model[4].weight[0].detach()
    made = attribute(name, model, *place)
    found, delta = made(X, ROWS, 7, 0.3, 0, return_convergence_delta=True, seed=4)
    _, fewer = made(X, ROWS, 3, 0.3, 0, return_convergence_delta=True, seed=4)
    assert slope.shape == (6,)
    same(delta.reshape(3, 7)[:, :3], fewer.reshape(3, 3))
    same(found, made(X, ROWS, 7, 0.3, 0, seed=4))
    change = found.sum(1) - delta.reshape(3, 7).mean(1)  # the mean change of the output from the baselines to the noisy copies
    noisy = copies(X, 7, 0.3, seed=4)
    with torch.no_grad():
        ends = torch.stack([model(c[0])[:, 0] for c in noisy]).mean(0)
        lowest, highest = (getattr(model(ROWS)[:, 0], kind)() for kind in ("min", "max"))
    assert ((ends - change >= lowest) & (ends - change <= highest)).all()


def test_deltas_whatever_shares_a_pass(attribute, model):
    made = attribute("GradientShap", model)
    _, expected = made(X, ROWS, 6, target=0, return_convergence_delta=True, seed=4)
    for rows in (1, 4, 100):
        _, delta = made(X, ROWS, 6, target=0, return_convergence_delta=True, seed=4, internal_batch_size=rows)
        same(delta, expected)


def test_of_a_linear_model_gradient_shap_is_exact_for_its_draws(attribute):
    model = built(lambda: nn.Linear(5, 2))
    weight = model.weight[1].detach()
    found = attribute("GradientShap", model)(X, ROWS[:1], 4, target=1, seed=1)
    same(found, (X - ROWS[:1]) * weight)
    slopes = attribute("GradientShap", model, multiply_by_inputs=False)(X, ROWS, 4, 1.0, 1, seed=1)
    same(slopes, weight.expand(3, 5))


@pytest.mark.parametrize("name", ["ExpectedGradients", "InputBaselineXGradient", "LayerExpectedGradients"])
def test_other_sampled_classes_return_the_delta_that_they_offer(attribute, name):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)))
    place = (model[0],) if name.startswith("Layer") else ()
    made = attribute(name, model, *place)
    given = {} if name == "InputBaselineXGradient" else {"n_samples": 4}
    found = made(X, ROWS[:2], target=0, return_convergence_delta=True, seed=1, **given)
    assert isinstance(found, tuple)
    values, delta = found
    assert values.shape == (3, 4 if place else 5)
    assert len(delta) % 3 == 0
    same(delta, torch.zeros_like(delta), 1e-13)


# Expectations.


def double_integral(model, inputs, rows, target):
    """The integral over places, averaged over rows."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = torch.zeros_like(inputs)
    for row in rows:
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            at = (row + node * (inputs - row)).requires_grad_()
            (gradient,) = torch.autograd.grad(model(at)[:, target].sum(), at)
            total += weight * gradient * (inputs - row) / len(rows)
    return total


@pytest.fixture(scope="module")
def small():
    """A model, two examples, ten rows, and the exact expectation."""
    model, inputs, rows = built(lambda: smooth_mlp(4)), draw(2, 4, seed=5), draw(10, 4, seed=6)
    return model, inputs, rows, double_integral(model, inputs, rows, 0)


@pytest.mark.parametrize(("method", "count", "within"), [("gradient_shap", 1500, 0.08), ("expected_gradients", 300, 0.004)])
def test_many_samples_come_to_the_double_integral(explain, small, method, count, within):
    model, inputs, rows, exact = small
    found = only(explain(model, inputs, method, baselines=rows, n_samples=count, target=0))
    assert (found - exact).abs().max() < within * exact.abs().max()


def test_with_noise_the_expectation_is_over_the_noise_too(explain):
    point, rows, s = draw(1, 2, seed=3).expand(200, 2), draw(3, 2, seed=4), 0.7
    found = only(explain(halves, point, "gradient_shap", baselines=rows, n_samples=30, stdevs=s)).mean(0)
    exact = ((point[:1] - rows) * rows + ((point[:1] - rows) ** 2 + s**2) / 2).mean(0)
    same(found, exact, 0.05)


def test_expected_gradients_are_closer_than_gradient_shap_at_the_same_cost(small):
    model, inputs, rows, exact = small

    def error(method, n):
        def squared(seed):
            given = {"baselines": rows, "n_samples": n, "target": 0, "seed": seed}
            return float((only(attrkit.explain(model, inputs, method, **given)) - exact).square().mean())

        return np.sqrt(np.mean([squared(seed) for seed in range(16)]))

    for n, factor in ((10, 1.4), (20, 1.7), (40, 2.5)):
        assert factor * error("expected_gradients", n) < error("gradient_shap", n)


def test_more_samples_are_closer(small):
    model, inputs, rows, exact = small

    def error(n):
        given = {"baselines": rows, "n_samples": n, "target": 0}
        found = (only(attrkit.explain(model, inputs, "expected_gradients", seed=s, **given)) for s in range(16))
        return float(torch.stack([f - exact for f in found]).square().mean().sqrt())

    assert error(50) < error(20)


def used(explain, count, n, seed=0):
    """For each of two examples, the row and the position of every sample of expected gradients."""
    seen = []

    def model(x):
        if x.requires_grad:
            seen.append(x.detach())
        return halves(x)

    given = {"baselines": FAN[:count], "n_samples": n, "seed": seed, "internal_batch_size": 2}
    explain(model, torch.zeros(2, 2).double(), "expected_gradients", **given)
    assert len(seen) == n
    return places(torch.stack(seen, 1))


@pytest.mark.parametrize(
    ("rows", "n"),
    [
        (1, 1), (1, 7), (6, 6), (5, 5), (2, 4), (6, 12), (3, 12), (5, 20),
        (2, 6),
        (3, 9),
        (6, 18),
    ],
)  # fmt: skip
def test_each_row_has_its_turn_as_often(explain, rows, n):
    for example in used(explain, rows, n)[0]:
        assert torch.bincount(example, minlength=rows).tolist() == [n // rows] * rows


@pytest.mark.parametrize(("rows", "n"), [(6, 4), (6, 1), (4, 7), (2, 3), (1, 1)])
def test_no_row_has_a_second_turn_before_each_has_one(explain, rows, n):
    for example in used(explain, rows, n)[0]:
        counts = torch.bincount(example, minlength=rows)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (1, 2), (6, 4), (6, 6), (3, 5), (2, 4), (3, 12), (2, 7), (2, 6)])
def test_each_part_of_the_path_has_one_sample(explain, rows, n):
    for example in used(explain, rows, n)[1]:
        assert (example * n).floor().long().sort().values.tolist() == list(range(n))


def test_examples_and_seeds_have_plans_of_their_own(explain):
    rows, positions = used(explain, 6, 6)
    assert rows[0].tolist() != rows[1].tolist()
    assert not torch.allclose(positions[0], positions[1])
    others, elsewhere = used(explain, 6, 6, seed=1)
    assert rows.tolist() != others.tolist()
    assert not torch.allclose(positions, elsewhere)


def test_expected_gradients_of_a_layer_add_up(attribute, model):
    rows = ROWS[:2]
    found = attribute("LayerExpectedGradients", model, model[1])(X, rows, target=0, n_samples=400, seed=1)
    with torch.no_grad():
        change = model(X)[:, 0] - model(rows)[:, 0].mean()
    same(found.sum(1), change, 1e-3)
    linear = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)))
    found = attribute("LayerExpectedGradients", linear, linear[0])(X, rows, target=0, n_samples=4, seed=1)
    with torch.no_grad():
        expected = (linear[0](X) - linear[0](rows).mean(0)) * linear[1].weight[0]
    same(found, expected)


def test_neurons_are_explained_as_outputs_are(attribute):
    model = built(smooth_mlp)
    for name in ("GradientShap", "ExpectedGradients"):
        of_neuron = attribute(f"Neuron{name}", model, model[2])(X, 4, ROWS, seed=3)
        same(of_neuron, attribute(name, model[:3])(X, ROWS, target=4, seed=3))


def test_inputs_of_a_layer(attribute, model):
    for name in ("LayerGradientShap", "LayerExpectedGradients"):
        into = attribute(name, model, model[2])(X, ROWS, target=0, attribute_to_layer_input=True, seed=3)
        same(into, attribute(name, model, model[1])(X, ROWS, target=0, seed=3))


# The noise tunnel, sample by sample.

KINDS = {
    "smoothgrad": lambda samples: samples.mean(0),
    "smoothgrad_sq": lambda samples: (samples**2).mean(0),
    "vargrad": lambda samples: samples.var(0),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def summed_up(each, kind):
    """For each tensor, the samples' numpy mean, mean square or variance."""
    return tuple(torch.from_numpy(KINDS[kind](np.stack([t.numpy() for t in parts]))) for parts in zip(*each, strict=True))


MASK = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 2, 2, 2], [4, 4, 4, 7, 7]])

#: Attributions, and what each call of theirs is given; those of other families where they are installed.
INNER = {
    "saliency": ("Saliency", None, {"target": TARGETS}, ""),
    "input x gradient": ("InputXGradient", None, {"target": 2}, ""),
    "ig": ("IntegratedGradients", None, {"target": TARGETS, "baselines": ROWS[:3], "n_steps": 4}, ""),
    "ig, one baseline": ("IntegratedGradients", None, {"target": 1, "baselines": ROWS[:1], "n_steps": 4}, ""),
    "ig, adaptive": ("IntegratedGradients", None, {"target": TARGETS, "n_steps": "auto", "tol": 1e-4}, ""),
    "ablation": (
        "FeatureAblation",
        None,
        {"target": TARGETS, "baselines": ROWS[:3], "feature_mask": MASK},
        "attrkit_perturbation",
    ),
    "ablation, one mask": ("FeatureAblation", None, {"target": 0, "feature_mask": MASK[:1]}, "attrkit_perturbation"),
    "lrp": ("LRP", None, {"target": TARGETS, "rules": "epsilon_plus"}, "attrkit_propagation"),
    "layer": ("LayerGradientXActivation", "1", {"target": TARGETS}, ""),
    "layer ig": ("LayerIntegratedGradients", "1", {"target": TARGETS, "baselines": ROWS[:3], "n_steps": 4}, ""),
    "layer's input": ("LayerConductance", "2", {"target": 0, "n_steps": 4, "attribute_to_layer_input": True}, ""),
    "layers": ("LayerGradientXActivation", ["0", "2"], {"target": TARGETS}, ""),
    "activation": ("LayerActivation", "1", {}, ""),
    "neuron": ("NeuronGradient", "1", {"neuron_selector": 3}, ""),
    "neuron ig": ("NeuronIntegratedGradients", "1", {"neuron_selector": (2,), "baselines": ROWS[:3], "n_steps": 4}, ""),
    "neuron conductance": ("NeuronConductance", "1", {"neuron_selector": 1, "target": TARGETS, "n_steps": 4}, ""),
}  # fmt: skip


@pytest.mark.parametrize("inner", INNER)
def test_each_summary_is_numpy_s_of_the_single_samples(untouched, inner):
    name, layer, given, package = INNER[inner]
    if package:
        pytest.importorskip(package)
    model = built(lambda: mlp(5) if inner == "lrp" else smooth_mlp())
    place = () if layer is None else (layer,)
    made = getattr(attrkit.attr, name)(model, *place)
    each = [tensors(made.attribute(c, **given)) for (c,) in copies(X, 4, 0.2, seed=6)]
    for kind in KINDS:
        with untouched(model, X):
            found = attrkit.attr.NoiseTunnel(made).attribute(X, kind, 4, stdevs=0.2, seed=6, **given)
        assert isinstance(found, list) == isinstance(layer, list)
        for one, expected in zip(tensors(found), summed_up(each, kind), strict=True):
            same(one, expected, 1e-11)
            assert (one != 0).any()


@kinds
def test_a_layer_with_several_tensors_has_as_many_summaries(untouched, kind):
    model, x = built(Several), draw(3, 3)
    made = attrkit.attr.LayerGradientXActivation(model, model.pack)
    with untouched(model, x):
        found = attrkit.attr.NoiseTunnel(made).attribute(x, kind, 4, stdevs=0.2, seed=6, target=1)
    each = [made.attribute(c, 1) for (c,) in copies(x, 4, 0.2, seed=6)]
    assert isinstance(found, tuple)
    for one, expected in zip(found, summed_up(each, kind), strict=True):
        same(one, expected)


@kinds
def test_several_inputs_have_deviations_of_their_own(untouched, kind):
    model, inputs = built(TwoInputs), (draw(3, 4), draw(3, 2, 3, seed=1))
    made = attrkit.attr.InputXGradient(model)
    with untouched(model, *inputs):
        found = attrkit.attr.NoiseTunnel(made).attribute(inputs, kind, 4, stdevs=(0.1, 2.0), seed=6, target=1)
    noisy = copies(inputs, 4, (0.1, 2.0), seed=6)
    spread = [torch.stack([c[i] - inputs[i] for c in noisy]).std() for i in range(2)]
    assert spread[1] / spread[0] > 10
    for one, expected in zip(found, summed_up([made.attribute(c, 1) for c in noisy], kind), strict=True):
        same(one, expected)


def test_an_input_without_deviation_stays_as_it_is():
    inputs = (draw(3, 4), draw(3, 2, 3, seed=1))
    for a, b in copies(inputs, 3, (0.0, 1.0)):
        same(a, inputs[0])
        assert (b != inputs[1]).all()
    ids = torch.tensor([[1, 2], [3, 4], [5, 6]])
    for _, b in copies((inputs[0], ids), 3, (1.0, 0.0)):
        same(b.double(), ids.double())


@kinds
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "conductance"])
def test_without_noise_it_is_the_method_itself(explain, model, kind, method):
    given = {"target": TARGETS, "internal_batch_size": 8}
    found = only(explain(model, X, f"noise_tunnel({method})", nt_type=kind, stdevs=0.0, nt_samples=3, **given))
    plain = only(explain(model, X, method, **given))
    same(found, {"smoothgrad": plain, "smoothgrad_sq": plain**2, "vargrad": torch.zeros_like(plain)}[kind])


def test_variance_of_one_sample_is_zero(explain, model):
    found = only(explain(model, X, "noise_tunnel(saliency)", nt_type="vargrad", nt_samples=1, target=0))
    assert torch.equal(found, torch.zeros_like(X))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_variance_is_never_negative(explain, dtype):
    class Huge(nn.Module):
        def forward(self, x):
            return (1000 * x + x**2 / 2).sum(1)

    x = draw(4, 50).to(dtype)
    found = only(explain(Huge(), x, "noise_tunnel(saliency)", nt_type="vargrad", nt_samples=7, stdevs=1e-4))
    assert found.dtype is dtype
    assert (found >= 0).all()
    assert found.max() < 1


def test_variance_is_right_where_a_difference_of_squares_has_no_digits_left(explain):
    def model(x):
        return (4000 * x + x**2 / 2).sum(1)

    x = draw(3, 40).float()
    found = only(explain(model, x, "noise_tunnel(saliency)", nt_type="vargrad", nt_samples=40, stdevs=0.05))
    noise = torch.stack([c[0] - x for c in copies(x, 40, 0.05)]).double()
    exact = noise.var(0, unbiased=False)
    assert abs(float(found.mean() / exact.mean()) - 1) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@drawing
def test_attributions_have_the_precision_of_the_inputs(asked, call, dtype):
    given = {k: v.to(dtype) for k, v in CALLS[call][1].items() if isinstance(v, torch.Tensor)}
    found = asked(call, X.to(dtype), model=built(smooth_mlp).to(dtype), **given)
    assert found.dtype is dtype
    assert found.isfinite().all()


def test_what_the_model_takes_besides_goes_along_row_by_row(explain):
    def model(a, weights, power):
        return (weights * a**power).sum(1)

    weights = draw(3, 5, seed=9)
    given = {"nt_samples": 4, "stdevs": 0.3, "seed": 2}
    found = only(explain(model, X, "noise_tunnel(input_x_gradient)", additional_forward_args=(weights, 2), **given))
    same(found, torch.stack([weights * 2 * c**2 for (c,) in copies(X, 4, 0.3, seed=2)]).mean(0))
    found = only(explain(model, X, "gradient_shap", baselines=ROWS[:1] * 0, additional_forward_args=(weights, 1), stdevs=0.1))
    same(found, weights * torch.stack([c for (c,) in copies(X, 5, 0.1)]).mean(0))


def test_an_explanation_of_a_wrapped_method_tells_how_it_was_made(explain, model):
    found = explain(model, X, "noise_tunnel(integrated_gradients)", target="predicted", nt_samples=4, n_steps=6, seed=8)
    assert (found.method, found.seed, found.delta) == ("noise_tunnel(integrated_gradients)", 8, None)
    assert found.passes == {"forward": 24, "backward": 24}
    assert found.options["nt_samples"] == 4
    assert found.options["n_steps"] == 6
    same(found.output, model(X).detach().amax(1))


# The noise tunnel's convergence deltas.


def test_deltas_of_each_sample_of_a_wrapped_method(model):
    made = attrkit.attr.IntegratedGradients(model)
    given = {"target": TARGETS, "baselines": ROWS[:3], "n_steps": 2, "return_convergence_delta": True}
    _, delta = attrkit.attr.NoiseTunnel(made).attribute(X, nt_samples=4, stdevs=0.5, seed=3, **given)
    expected = torch.stack([made.attribute(c, **given)[1] for (c,) in copies(X, 4, 0.5, seed=3)], 1)
    assert (expected.abs() > 1e-9).any()
    same(delta, expected.flatten())
    for most in (1, 3):
        _, again = attrkit.attr.NoiseTunnel(made).attribute(X, "vargrad", 4, most, 0.5, seed=3, **given)
        same(again, delta)


def test_deltas_of_a_wrapped_method_at_a_layer(model):
    made = attrkit.attr.LayerConductance(model, model[1])
    given = {"target": 0, "n_steps": 2, "return_convergence_delta": True}
    _, delta = attrkit.attr.NoiseTunnel(made).attribute(X, nt_samples=4, stdevs=0.5, seed=3, **given)
    expected = torch.stack([made.attribute(c, **given)[1] for (c,) in copies(X, 4, 0.5, seed=3)], 1)
    same(delta, expected.flatten())


def test_deltas_of_each_sample_at_several_layers(model):
    made = attrkit.attr.LayerConductance(model, [model[0], model[2]])
    given = {"target": 0, "n_steps": 2, "return_convergence_delta": True}
    _, delta = attrkit.attr.NoiseTunnel(made).attribute(X, nt_samples=4, stdevs=0.5, seed=3, **given)
    singles = [made.attribute(c, **given)[1] for (c,) in copies(X, 4, 0.5, seed=3)]
    for found, expected in zip(delta, zip(*singles, strict=True), strict=True):
        same(found, torch.stack(expected, 1).flatten())


def test_deltas_of_gradient_shap_at_several_layers(attribute):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)))
    made = attribute("LayerGradientShap", model, [model[0], model[1]])
    _, deltas = made(X, ROWS, 4, target=0, return_convergence_delta=True, seed=1)
    for delta in deltas:
        assert delta.shape == (12,)
        same(delta, torch.zeros_like(delta))


def test_a_wrapper_has_the_delta_and_the_product_of_what_it_wraps(model):
    tunnel = attrkit.attr.NoiseTunnel
    assert tunnel(attrkit.attr.IntegratedGradients(model)).has_convergence_delta()
    assert not tunnel(attrkit.attr.Saliency(model)).has_convergence_delta()
    assert tunnel(attrkit.attr.IntegratedGradients(model)).multiplies_by_inputs
    assert not tunnel(attrkit.attr.IntegratedGradients(model, multiply_by_inputs=False)).multiplies_by_inputs
    assert tunnel(attrkit.attr.Saliency(model)).get_name() == "Noise Tunnel"


# Baselines drawn for each copy.


DRAWN = {"stdevs": 0.0, "n_steps": 1, "draw_baseline_from_distrib": True, "seed": 1}


def test_each_copy_draws_a_row_where_baselines_are_a_distribution():
    made = attrkit.attr.NoiseTunnel(attrkit.attr.IntegratedGradients(lambda x: x.sum(1)))
    zeros = torch.zeros(2, 2).double()
    rows = -torch.stack(added(lambda n: made.attribute(zeros, nt_samples=n, baselines=FAN, **DRAWN), 12))
    same(rows[..., 0], torch.ones(12, 2).double())
    assert len(set(rows[..., 1].round().flatten().tolist())) > 3
    assert not torch.allclose(rows[:, 0], rows[:, 1])


def test_drawn_rows_of_several_inputs_belong_together():
    zeros = (torch.zeros(5, 2).double(), torch.zeros(5, 2).double())
    made = attrkit.attr.NoiseTunnel(attrkit.attr.IntegratedGradients(lambda a, b: (a + b).sum(1)))
    a, b = made.attribute(zeros, nt_samples=1, baselines=(FAN, 3 * FAN), **DRAWN)
    same(3 * a, b)
    assert len(set(a[:, 1].tolist())) > 1


def test_drawn_baselines_may_be_a_function(model):
    made = attrkit.attr.NoiseTunnel(attrkit.attr.IntegratedGradients(model))
    expected = made.attribute(X, baselines=ROWS, target=0, **DRAWN)
    same(made.attribute(X, baselines=lambda: ROWS, target=0, **DRAWN), expected)
    same(made.attribute(X, baselines=lambda x: ROWS, target=0, **DRAWN), expected)


def test_a_drawn_baseline_has_a_delta_of_its_own(model):
    made = attrkit.attr.NoiseTunnel(attrkit.attr.IntegratedGradients(model))
    given = {**DRAWN, "baselines": ROWS, "n_steps": 30, "stdevs": 0.2}
    _, delta = made.attribute(X, target=0, nt_samples=4, return_convergence_delta=True, **given)
    assert delta.shape == (12,)
    same(delta, torch.zeros_like(delta), 1e-6)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:3]], ids=["ten", "as many as examples"])
def test_drawn_baselines_by_the_native_door(explain, model, rows):
    given = {**DRAWN, "target": 0, "baselines": rows}
    found = explain(model, X, "noise_tunnel(integrated_gradients)", **given)
    made = attrkit.attr.NoiseTunnel(attrkit.attr.IntegratedGradients(model))
    same(only(found), made.attribute(X, **given))
    if found.baseline_output is not None:  # if it says one, then one that was drawn
        compared = explain(model, X, "gradient_shap", baselines=rows, target=0, seed=1).baseline_output
        same(found.baseline_output, compared)


def test_without_drawing_baselines_belong_to_their_examples(explain):
    given = {"nt_samples": 3, "stdevs": 0.0, "n_steps": 1}
    found = only(explain(lambda x: x.sum(1), X, "noise_tunnel(integrated_gradients)", baselines=ROWS[:3], **given))
    same(found, X - ROWS[:3])
    with pytest.raises(UsageError, match=r"shape \(10, 5\), but the input has shape \(.*5\)"):
        explain(lambda x: x.sum(1), X, "noise_tunnel(integrated_gradients)", baselines=ROWS, **given)


def test_drawing_is_nothing_new_to_a_method_that_draws(model):
    made = attrkit.attr.NoiseTunnel(attrkit.attr.InputBaselineXGradient(model))
    given = {"target": 0, "baselines": ROWS, "seed": 1}
    same(made.attribute(X, draw_baseline_from_distrib=True, **given), made.attribute(X, **given))


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency"])
def test_drawing_from_nothing_is_refused(explain, model, method):
    with pytest.raises(UsageError, match="baselines must be a tensor" if method != "saliency" else "takes no baselines"):
        explain(model, X, f"noise_tunnel({method})", draw_baseline_from_distrib=True, target=0)


# Around what others wrote.


def test_a_registered_method_can_be_wrapped_by_name_and_by_class(explain, registered, model):
    @attrkit.method("cubed", baseline="optional", forward_passes="2", backward_passes="1")
    def cubed(problem, *, power: int = 3):
        """The gradient to a power, and whatever else it knows."""
        _, gradient = problem.value_and_grad()
        return tuple(g**power + problem.start[0] for g in gradient)

    registered(cubed)
    found = only(explain(model, X, "noise_tunnel(cubed)", target=1, power=2, baselines=0.5, nt_samples=3, seed=4))
    made = attrkit.attr.Cubed(model)
    each = [made.attribute(c, 0.5, 1, power=2) for (c,) in copies(X, 3, 1.0, seed=4)]
    same(found, torch.stack(each).mean(0))
    wrapped = attrkit.attr.NoiseTunnel(made).attribute(X, target=1, power=2, baselines=0.5, nt_samples=3, seed=4)
    same(wrapped, found)


def test_a_registered_method_that_draws_draws_for_each_copy(explain, registered, model):
    @attrkit.method("noise_alone", stochastic=True, objective=False, gradient=False)
    def noise_alone(problem):
        return problem.normal(0)

    registered(noise_alone)
    single = torch.stack(
        added(lambda n: only(explain(model, X, "noise_tunnel(noise_alone)", nt_samples=n, target=0, stdevs=0.0)), 6)
    )
    assert single.flatten(1).corrcoef().fill_diagonal_(0).abs().max() < 0.9
    assert len({round(float(v), 9) for v in single.flatten()}) == single.numel()
    assert not torch.allclose(single[0], only(explain(model, X, "noise_alone", target=0)))
    plain = torch.stack([c[0] - X for c in copies(X, 6, 1.0)])
    assert not torch.allclose(single, plain)


def test_a_method_that_returns_no_tensors_is_named(explain, registered, model):
    @attrkit.method("hollow", gradient=False)
    def hollow(problem):
        return problem.value()

    registered(hollow)
    with pytest.raises(AttrkitError, match="method hollow must return a tuple of tensors"):
        explain(model, X, "noise_tunnel(hollow)", target=0)


def test_what_was_learnt_of_one_wrapped_method_is_not_held_of_another(explain, registered):
    @attrkit.method("in_units_of_the_batch", backward_passes="1")
    def in_units_of_the_batch(problem):
        _, gradient = problem.value_and_grad()
        return tuple(g / g.abs().max() for g in gradient)

    registered(in_units_of_the_batch)
    given = {"target": 0, "nt_samples": 6, "stdevs": 0.5}
    expected = only(explain(built(smooth_mlp), X, "noise_tunnel(in_units_of_the_batch)", **given))
    model = built(smooth_mlp)
    explain(model, X, "noise_tunnel(saliency)", **given)
    same(only(explain(model, X, "noise_tunnel(in_units_of_the_batch)", **given)), expected)


def test_nothing_is_left_behind_where_the_wrapped_method_raises(explain, registered, model):
    @attrkit.method("failing", backward_passes="1")
    def failing(problem):
        problem.value_and_grad()
        message = "out of patience"
        raise KeyError(message)

    registered(failing)
    for layer in (None, "1"):
        with pytest.raises(KeyError, match="out of patience"):
            explain(model, X, "noise_tunnel(failing)", target=0, layer=layer)


def test_nothing_is_left_behind_where_the_model_raises_half_way(untouched):
    class Brittle(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(5, 2)
            self.seen = [0]

        def forward(self, x):
            self.seen[0] += 1
            if self.seen[0] > 2:
                message = "third time"
                raise ArithmeticError(message)
            return self.body(x)

    model = built(Brittle)
    for made in (attrkit.attr.Saliency(model), attrkit.attr.LayerConductance(model, "body")):
        with untouched(model, X), pytest.raises(ArithmeticError, match="third time"):
            attrkit.attr.NoiseTunnel(made).attribute(X, nt_samples=50, target=0, nt_samples_batch_size=1, seed=1)


class Doubled(attrkit.attr.GradientAttribution):
    """A user's own attribution, in the manner of the established API."""

    def attribute(self, inputs, target=None, *, factor=2.0, baselines=None):
        found = self.gradient_func(self.forward_func, inputs if isinstance(inputs, tuple) else (inputs,), target)
        found = tuple(factor * g for g in found)
        if baselines is not None:
            found = tuple(g + b for g, b in zip(found, baselines, strict=True))
        return found if isinstance(inputs, tuple) else found[0]


@kinds
def test_a_user_s_own_attribution_can_be_wrapped(untouched, kind):
    def model(x):
        return (x**3).sum(1)

    with untouched(nn.Identity(), X):
        found = attrkit.attr.NoiseTunnel(Doubled(model)).attribute(X, kind, 4, stdevs=0.2, seed=6, factor=1.5)
    each = [(1.5 * 3 * c**2,) for (c,) in copies(X, 4, 0.2, seed=6)]
    same(found, summed_up(each, kind)[0])


@pytest.mark.parametrize("target", [1, TARGETS], ids=["one", "list"])
def test_a_user_s_own_attribution_gets_the_target(model, target):
    found = attrkit.attr.NoiseTunnel(Doubled(model)).attribute(X, "smoothgrad", 4, stdevs=0.2, seed=6, target=target)
    each = [Doubled(model).attribute(c, target) for (c,) in copies(X, 4, 0.2, seed=6)]
    same(found, torch.stack(each).mean(0))


def test_a_user_s_own_attribution_gets_rows_for_each_copy():
    def model(x):
        return (x**3).sum(1)

    class Shifted(attrkit.attr.Attribution):
        def attribute(self, inputs, shift=None, additional_forward_args=None):
            return inputs + shift + (0 if additional_forward_args is None else additional_forward_args[0])

    shift, extra = draw(3, 5, seed=9), draw(3, 5, seed=10)
    found = attrkit.attr.NoiseTunnel(Shifted(model)).attribute(X, stdevs=0.1, nt_samples=4, seed=6, shift=shift)
    clean = torch.stack([c for (c,) in copies(X, 4, 0.1, seed=6)]).mean(0)
    same(found, clean + shift)
    given = {"shift": shift, "additional_forward_args": (extra,)}
    found = attrkit.attr.NoiseTunnel(Shifted(lambda x, e: x.sum(1))).attribute(X, stdevs=0.1, nt_samples=4, seed=6, **given)
    same(found, clean + shift + extra)


def test_a_user_s_own_attribution_of_several_inputs_returns_as_many():
    def model(a, b):
        return (a**2).sum(1) + (b**3).sum((1, 2))

    inputs = (draw(3, 4), draw(3, 2, 3, seed=1))
    a, b = attrkit.attr.NoiseTunnel(Doubled(model)).attribute(inputs, nt_samples=3, stdevs=(0.1, 0.2), seed=2)
    noisy = copies(inputs, 3, (0.1, 0.2), seed=2)
    same(a, torch.stack([4 * c[0] for c in noisy]).mean(0))
    same(b, torch.stack([6 * c[1] ** 2 for c in noisy]).mean(0))


def test_a_user_s_own_subclass_of_a_shipped_class_keeps_its_own_way(model):
    class Signed(attrkit.attr.Saliency):
        def attribute(self, inputs, **kwargs):
            return 10 + super().attribute(inputs, target=1, abs=False)

    found = attrkit.attr.NoiseTunnel(Signed(model)).attribute(X, nt_samples=3, seed=4)
    plain = attrkit.attr.NoiseTunnel(attrkit.attr.Saliency(model)).attribute(X, nt_samples=3, seed=4, target=1, abs=False)
    same(found, 10 + plain)


def test_a_user_s_own_layer_attribution_can_be_wrapped(model):
    class Passed(attrkit.attr.LayerAttribution):
        def attribute(self, inputs):
            return attrkit.attr.LayerActivation(self.forward_func, self.layer).attribute(inputs)

    found = attrkit.attr.NoiseTunnel(Passed(model, model[1])).attribute(X, nt_samples=3, stdevs=0.1, seed=4)
    with torch.no_grad():
        same(found, torch.stack([model[:2](c) for (c,) in copies(X, 3, 0.1, seed=4)]).mean(0))


def test_a_user_s_own_attribution_has_no_delta_that_a_wrapper_knows():
    with pytest.raises(UsageTypeError, match="NoiseTunnel has no convergence delta around Doubled, which is a class of"):
        attrkit.attr.NoiseTunnel(Doubled(halves)).attribute(X, return_convergence_delta=True)


@pytest.fixture
def largest(registered):
    """A wrapper of a third party: at each place the largest that a method says near a point."""

    @attrkit.wrapper("largest_of", stochastic=True, times="spots")
    def largest_of(problem, inner, *, spots: int = 3, away: float = 0.5):
        """Keep the largest of several attributions.

        Args:
            spots: how many there are.
            away: how far from the inputs.
        """
        moved = (tuple(x + away * k for x in problem.inputs) for k in range(spots))
        found = list(problem.attributions(inner, moved, spots))
        return tuple(torch.stack(parts).amax(0) for parts in zip(*found, strict=True))

    return registered(largest_of)


def test_a_third_party_s_wrapper_works_by_name_and_by_class(explain, attribute, model, largest):
    each = [attrkit.attr.InputXGradient(model).attribute(X + 0.25 * k, TARGETS) for k in range(4)]
    expected = torch.stack(each).amax(0)
    found = explain(model, X, "largest_of(input_x_gradient)", target=TARGETS, spots=4, away=0.25)
    same(only(found), expected)
    assert found.method == "largest_of(input_x_gradient)"
    assert "LargestOf" in dir(attrkit.attr)
    same(attrkit.attr.LargestOf(attrkit.attr.InputXGradient(model)).attribute(X, 4, 0.25, target=TARGETS), expected)
    layer = attrkit.attr.LargestOf(attrkit.attr.LayerActivation(model, model[1])).attribute(X, 4, 0.25)
    with torch.no_grad():
        same(layer, torch.stack([model[:2](X + 0.25 * k) for k in range(4)]).amax(0))
    with pytest.raises(UnknownName, match=r"largest_of\(saliency\) has no option 'spot'. Did you mean 'spots'"):
        explain(model, X, "largest_of(saliency)", target=0, spot=3)


def test_wrappers_wrap_wrapped_methods(explain, model, largest):
    found = only(explain(model, X, "largest_of(noise_tunnel(saliency))", target=0, spots=2, nt_samples=3, seed=5, away=0.0))
    assert found.shape == X.shape
    other = only(explain(model, X, "noise_tunnel(largest_of(saliency))", target=0, spots=2, nt_samples=3, seed=5, away=0.1))
    each = [
        only(attrkit.explain(model, c, "largest_of(saliency)", target=0, spots=2, away=0.1))
        for (c,) in copies(X, 3, 1.0, seed=5)
    ]
    same(other, torch.stack(each).mean(0))


def test_an_option_of_both_is_the_wrapper_s(explain):
    found = explain(lambda x: x @ ROWS[5], X, "noise_tunnel(gradient_shap)", baselines=ROWS[:1], stdevs=0.4, nt_samples=3)
    same(only(found), torch.stack([(c - ROWS[:1]) * ROWS[5] for (c,) in copies(X, 3, 0.4)]).mean(0))
    twice = explain(halves, X, "noise_tunnel(noise_tunnel(saliency))", abs=False, stdevs=0.0, nt_samples=400)
    assert twice.passes == {"forward": 2000, "backward": 2000}  # the inner one has its own five samples
    assert abs(float((only(twice) - X).std()) * 2000**0.5 - 1) < 0.5  # and its deviation of one


def test_deltas_of_each_sample_around_a_method_that_has_samples_itself(model):
    made = attrkit.attr.NoiseTunnel(attrkit.attr.GradientShap(model))
    _, delta = made.attribute(X, nt_samples=4, baselines=ROWS, target=0, return_convergence_delta=True, seed=1)
    assert len(delta) % 12 == 0


def test_a_seed_settles_what_a_wrapped_wrapper_draws():
    tunnel = attrkit.attr.NoiseTunnel
    made = tunnel(tunnel(attrkit.attr.Saliency(halves)))
    first = made.attribute(X, seed=3)
    torch.rand(3)
    same(made.attribute(X, seed=3), first)


# A mask for every example.


@pytest.mark.parametrize("before", [False, True])
def test_a_mask_of_one_example_s_shape_is_no_mask_for_each_example(explain, before):
    pytest.importorskip("attrkit_perturbation")
    images, mask = draw(3, 3, 4), torch.arange(12).reshape(3, 4) // 2
    model = built(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    plain = only(explain(model, images, "feature_ablation", feature_mask=mask, target=0))
    if before:  # then it is known that copies can be given to the method together
        explain(model, images, "noise_tunnel(feature_ablation)", target=0, stdevs=0.0, nt_samples=3)
    found = explain(model, images, "noise_tunnel(feature_ablation)", feature_mask=mask, target=0, stdevs=0.0, nt_samples=3)
    same(only(found), plain)


# Empty batches.


@pytest.mark.parametrize(
    "call",
    [
        "input_baseline_x_gradient", "expected_gradients", "nt of eg",
        "gradient_shap",
        "nt of saliency",
        "nt, baselines drawn",
    ],
)  # fmt: skip
def test_an_empty_batch_has_empty_attributions(asked, call):
    given = {"stdevs": 0.0} if call == "nt of eg" else {}
    assert asked(call, X[:0], **given).shape == (0, 5)


# What is refused.

BAD = [
    ("noise_tunnel(saliency)", {"nt_type": "smothgrad"}, UsageError,
     "nt_type must be smoothgrad, smoothgrad_sq, vargrad, got 'smothgrad'. Did you mean 'smoothgrad'"),
    ("noise_tunnel(saliency)", {"nt_type": None}, UsageTypeError, "nt_type must be str, got None"),
    ("noise_tunnel(saliency)", {"nt_samples": 0}, UsageError, "nt_samples must be at least 1, got 0"),
    ("noise_tunnel(saliency)", {"nt_samples": 2.0}, UsageTypeError, "nt_samples must be int, got 2.0"),
    ("noise_tunnel(saliency)", {"nt_samples": True}, UsageTypeError, "nt_samples must be int, got True"),
    ("noise_tunnel(saliency)", {"nt_samples_batch_size": 0}, UsageError, "nt_samples_batch_size must be at least 1, got 0"),
    ("noise_tunnel(saliency)", {"nt_samples_batch_size": "1"}, UsageTypeError, "nt_samples_batch_size must be int or None"),
    ("noise_tunnel(saliency)", {"stdevs": -0.5}, UsageError, "stdevs must be at least 0, got -0.5"),
    ("noise_tunnel(saliency)", {"stdevs": float("nan")}, UsageError, "stdevs must be at least 0, got nan"),
    ("noise_tunnel(saliency)", {"stdevs": (1.0, 2.0)}, UsageError, "stdevs has 2 entries for 1 inputs; give one for each"),
    ("noise_tunnel(saliency)", {"stdevs": ()}, UsageError, "stdevs has 0 entries for 1 inputs"),
    ("noise_tunnel(saliency)", {"stdevs": "1"}, UsageTypeError, "stdevs must be a number, or a tuple of numbers, got '1'"),
    ("noise_tunnel(saliency)", {"stdevs": None}, UsageTypeError, "stdevs must be a number, or a tuple of numbers, got None"),
    ("noise_tunnel(saliency)", {"stdevs": torch.ones(1)}, UsageTypeError, "stdevs must be a number"),
    ("noise_tunnel(saliency)", {"stdevs": (True,)}, UsageTypeError, "stdevs must be a number"),
    ("noise_tunnel(saliency)", {"nt_sample": 3}, UnknownName,
     r"noise_tunnel\(saliency\) has no option 'nt_sample'. Did you mean 'nt_samples'"),
    ("noise_tunnel(saliency)", {"n_steps": 3}, UnknownName, r"noise_tunnel\(saliency\) has no option 'n_steps'"),
    ("noise_tunnel(saliency)", {"baselines": ROWS}, UsageError, r"method 'noise_tunnel\(saliency\)' takes no baselines"),
    ("noise_tunnel(saliency)", {"seed": 1.5}, UsageTypeError, "seed must be an integer, got 1.5"),
    ("noise_tunnel(integrated_gradients)", {"n_steps": 0}, UsageError, "n_steps must be an integer of at least 1"),
    ("noise_tunnel(saliancy)", {}, UnknownName, "no method 'saliancy'. Did you mean 'saliency'"),
    ("noise_tunel(saliency)", {}, UnknownName, "no wrapper 'noise_tunel'. Did you mean 'noise_tunnel'"),
    ("noise_tunnel", {}, UnknownName,
     r"'noise_tunnel' is a wrapper: it takes a method; ask for it as 'noise_tunnel\(METHOD\)'"),
    ("noise_tunnel()", {}, UnknownName, "no method ''"),
    ("gradient_shap", {}, UsageError,
     "method 'gradient_shap' needs baselines=, a tensor like the inputs with one or more rows"),
    ("expected_gradients", {}, UsageError, "method 'expected_gradients' needs baselines="),
    ("gradient_shap", {"baselines": 0}, UsageTypeError, "baselines must be a tensor with a row for each baseline .*, got int"),
    ("gradient_shap", {"baselines": [ROWS]}, UsageTypeError,
     "baselines must be a tensor with a row for each baseline .*, got list"),
    ("gradient_shap", {"baselines": ROWS[0]}, UsageError,
     r"baselines has shape \(5,\); give one or more rows like an example of the input, shape \(rows, 5\)"),
    ("gradient_shap", {"baselines": ROWS[:, :4]}, UsageError, r"baselines has shape \(10, 4\); give one or more rows"),
    ("gradient_shap", {"baselines": ROWS[:0]}, UsageError, r"baselines has shape \(0, 5\); give one or more rows"),
    ("gradient_shap", {"baselines": (ROWS, ROWS)}, UsageIndexError,
     "baselines has 2 entries, but the input has 1 tensors; give one baseline"),
    ("gradient_shap", {"baselines": lambda: 3}, UsageTypeError,
     "baselines must be a tensor with a row for each baseline .*, got int"),
    ("gradient_shap", {"baselines": lambda x: x[:, :2]}, UsageError, r"baselines has shape \(3, 2\)"),
    ("gradient_shap", {"baselines": ROWS, "n_samples": 0}, UsageError, "n_samples must be at least 1, got 0"),
    ("gradient_shap", {"baselines": ROWS, "n_samples": 2.5}, UsageTypeError, "n_samples must be int, got 2.5"),
    ("gradient_shap", {"baselines": ROWS, "stdevs": -1}, UsageError, "stdevs must be at least 0, got -1"),
    ("gradient_shap", {"baselines": ROWS, "stdevs": (0.1, 0.2)}, UsageError, "stdevs has 2 entries for 1 inputs"),
    ("expected_gradients", {"baselines": ROWS, "n_samples": -1}, UsageError, "n_samples must be at least 1, got -1"),
    ("expected_gradients", {"baselines": ROWS, "stdevs": 1.0}, UnknownName, "expected_gradients has no option 'stdevs'"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "given", "error", "message"), BAD, ids=lambda v: str(v)[:40] if isinstance(v, str) else "")
def test_what_is_refused_is_named_with_what_to_do(explain, model, method, given, error, message):
    with pytest.raises(error, match=message) as caught:
        explain(model, X, method, target=0, **given)
    assert isinstance(caught.value, ValueError)


def test_rows_of_several_inputs_that_do_not_pair_are_refused(explain):
    model, inputs = built(TwoInputs), (draw(3, 4), draw(3, 2, 3))
    rows = (draw(5, 4), draw(4, 2, 3))
    with pytest.raises(UsageError, match=r"baselines has \[5, 4\] rows; the rows of one draw belong together"):
        explain(model, inputs, "gradient_shap", baselines=rows, target=0)
    with pytest.raises(UsageIndexError, match="baselines has 1 entries, but the input has 2 tensors"):
        explain(model, inputs, "gradient_shap", baselines=rows[0], target=0)
    with pytest.raises(UsageError, match="stdevs has 3 entries for 2 inputs"):
        explain(model, inputs, "noise_tunnel(saliency)", stdevs=(1.0, 2.0, 3.0), target=0)


@pytest.mark.parametrize(
    ("wrapped", "got"),
    [
        (lambda: built(smooth_mlp), "Sequential"),
        (lambda: "saliency", "str"),
        (lambda: None, "NoneType"),
        (lambda: attrkit.attr.Saliency, "the class Saliency"),
    ],
)
def test_a_wrapper_wraps_attributions_only(wrapped, got):
    with pytest.raises(UsageTypeError, match=rf"attribution_method must be an attribution, like Saliency\(model\), got {got}"):
        attrkit.attr.NoiseTunnel(wrapped())


def test_parameters_of_the_wrapped_class_that_do_not_exist(model):
    made = attrkit.attr.NoiseTunnel(attrkit.attr.Saliency(model))
    with pytest.raises(UsageTypeError, match="Saliency.* has no parameter 'n_steps'"):
        made.attribute(X, target=0, n_steps=3)
    with pytest.raises(UsageTypeError, match="inputs"):
        made.attribute(target=0)


def test_a_misspelt_parameter_of_the_wrapper_is_recognised(model):
    with pytest.raises(UsageTypeError, match="Did you mean 'nt_samples'"):
        attrkit.attr.NoiseTunnel(attrkit.attr.Saliency(model)).attribute(X, target=0, nt_sample=3)


def test_noise_on_numbers_of_tokens_is_refused_as_such(explain):
    with pytest.raises(UsageTypeError, match="torch.int64"):
        explain(built(Tokens), torch.tensor([[1, 2, 3, 4]]), "noise_tunnel(saliency)", layer="embedding", target=0)


def test_tokens_without_noise_are_explained(explain):
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    given = {"layer": "embedding", "target": [0, 1]}
    found = only(explain(built(Tokens), ids, "noise_tunnel(saliency)", stdevs=0.0, **given))
    same(found, only(explain(built(Tokens), ids, "saliency", **given)))


def test_images_and_feature_maps(explain):
    model, images, rows = built(cnn), draw(2, 2, 8, 8), draw(4, 2, 8, 8, seed=3)
    found = explain(model, images, "gradient_shap", baselines=rows, layers=["1", "3"], target=[0, 2], seed=1)
    for layer in ("1", "3"):
        alone = explain(model, images, "gradient_shap", baselines=rows, layer=layer, target=[0, 2], seed=1)
        same(found.values[layer], only(alone))
    maps = only(explain(model, images, "noise_tunnel(grad_cam)", layer="3", target=[0, 2], nt_samples=3, stdevs=0.1))
    each = [only(attrkit.explain(model, c, "grad_cam", layer="3", target=[0, 2])) for (c,) in copies(images, 3, 0.1)]
    same(maps, torch.stack(each).mean(0))
