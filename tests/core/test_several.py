"""Several explanations from the same passes: targets, neurons, layers, calls; and how little of a model runs for them.

Everything is compared with what a single explanation says, or with the model run by hand, one place of a path at a time.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - torch may be missing

import attrkit  # noqa: E402
from attrkit.errors import AttrkitWarning, UnknownName, UsageError, UsageTypeError  # noqa: E402
from tests.plugins.models import Residual, Reused, Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp  # noqa: E402

X = draw(3, 5, seed=1)
B = draw(3, 5, seed=2)
ROWS = draw(6, 5, seed=3)
IMAGES = draw(3, 2, 8, 8, seed=4)
TARGETS = [1, [0, 2, 1]]


@pytest.fixture(scope="module", autouse=True)
def prepared():
    """One thread; and torch has loaded what forward mode needs, of a part of which it warns."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (X,), (X,))
    yield
    torch.set_num_threads(before)


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def alike(found, expected, tolerance=1e-12):
    """Whether two explanations say the same of the same."""
    assert list(found.values) == list(expected.values)
    for name, values in expected.values.items():
        same(found.values[name], values, tolerance)
    for name in ("output", "baseline_output", "delta"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if other is not None:
            same(one, other, tolerance)
    for name in ("target", "where", "options", "method", "seed", "rules", "warnings"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.fixture
def explain(untouched):
    def call(model, inputs, method, **given):
        with untouched(model, *(inputs if isinstance(inputs, tuple) else (inputs,))):
            return attrkit.explain(model, inputs, method, **given)

    return call


@pytest.fixture
def each(untouched):
    def call(model, inputs, method, **given):
        with untouched(model, *(inputs if isinstance(inputs, tuple) else (inputs,))):
            return attrkit.explain_each(model, inputs, method, **given)

    return call


# Several targets.

MASK = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 2, 2, 2], [4, 4, 4, 7, 7]])
AUTO = {"n_steps": "auto", "tol": 1e-5}

#: Methods, the models and inputs they are asked about, and how.
CASES = {
    "saliency": ("saliency", smooth_mlp, X, {}),
    "saliency, signed": ("saliency", smooth_mlp, X, {"abs": False}),
    "input x gradient": ("input_x_gradient", smooth_mlp, X, {}),
    "ig": ("integrated_gradients", smooth_mlp, X, {"n_steps": 9, "baselines": B}),
    "ig, auto": ("integrated_gradients", smooth_mlp, 4 * X, AUTO),
    "ig, chunks": ("integrated_gradients", smooth_mlp, X, {"n_steps": 9, "internal_batch_size": 2}),
    "saliency of a layer": ("saliency", smooth_mlp, X, {"layer": "1"}),
    "ig of a layer": ("integrated_gradients", smooth_mlp, X, {"n_steps": 9, "layer": "1", "baselines": B}),
    "ig of a layer, auto": ("integrated_gradients", smooth_mlp, 4 * X, {"layer": "1", **AUTO}),
    "ig of layers": ("integrated_gradients", smooth_mlp, X, {"n_steps": 9, "layer": ["0", "3"]}),
    "conductance": ("conductance", smooth_mlp, X, {"n_steps": 9, "layer": "1", "baselines": B}),
    "conductance, forward": ("conductance", smooth_mlp, X, {"layer": "1", "options": {"method": "forward_riemann_middle"}}),
    "conductance of inputs": ("conductance", smooth_mlp, X, {"n_steps": 9}),
    "conductance of layers": ("conductance", smooth_mlp, X, {"n_steps": 9, "layer": ["0", "3"]}),
    "internal influence": ("internal_influence", smooth_mlp, X, {"n_steps": 9, "layer": "1", "baselines": B}),
    "ablation": ("feature_ablation", smooth_mlp, X, {"feature_mask": MASK, "baselines": B}),
    "ablation, one mask": ("feature_ablation", smooth_mlp, X, {"feature_mask": MASK[:1]}),
    "ablation of a layer": ("feature_ablation", smooth_mlp, X, {"layer": "1", "baselines": draw(3, 6, seed=7)}),
    "lrp": ("lrp", lambda: mlp(5), X, {"rules": "epsilon_plus"}),
    "lrp of layers": ("lrp", lambda: mlp(5), X, {"layer": ["0", "2"]}),
    "activation": ("activation", smooth_mlp, X, {"layer": "1"}),
    "grad cam": ("grad_cam", cnn, IMAGES, {"layer": "3"}),
    "grad cam ++": ("grad_cam_plus_plus", cnn, IMAGES, {"layers": ["1", "3"]}),
    "eigen cam": ("eigen_cam", cnn, IMAGES, {"layer": "3"}),
    "guided grad cam": ("guided_grad_cam", cnn, IMAGES, {"layer": "3"}),
    "gradient shap": ("gradient_shap", smooth_mlp, X, {"baselines": ROWS, "n_samples": 4, "stdevs": 0.2, "seed": 5}),
    "gradient shap of a layer": ("gradient_shap", smooth_mlp, X, {"baselines": ROWS, "layer": "1", "seed": 5}),
    "expected gradients": ("expected_gradients", smooth_mlp, X, {"baselines": ROWS, "n_samples": 4, "seed": 5}),
    "nt of saliency": ("noise_tunnel(saliency)", smooth_mlp, X, {"nt_samples": 4, "stdevs": 0.3, "seed": 5}),
    "nt of ig": ("noise_tunnel(integrated_gradients)", smooth_mlp, X, {"nt_samples": 3, "n_steps": 4, "baselines": B}),
    "nt of ig, auto": ("noise_tunnel(integrated_gradients)", smooth_mlp, X, {"nt_samples": 3, **AUTO}),
    "nt of ablation": ("noise_tunnel(feature_ablation)", smooth_mlp, X, {"feature_mask": MASK, "nt_samples": 3}),
    "nt of a layer": ("noise_tunnel(integrated_gradients)", smooth_mlp, X, {"nt_samples": 3, "n_steps": 4, "layer": "1"}),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES)


@cases
def test_each_target_is_explained_as_it_is_alone(explain, each, case):
    method, factory, inputs, given = CASES[case]
    together = each(built(factory), inputs, method, targets=TARGETS, **given)
    assert len(together) == len(TARGETS)
    model = built(factory)
    for found, target in zip(together, TARGETS, strict=True):
        alike(found, explain(model, inputs, method, target=target, **given), 1e-11)


@pytest.mark.parametrize(
    "case", ["ig", "ig of a layer", "ablation of a layer", "nt of saliency", "gradient shap", "conductance"]
)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("order", ["one first", "each first"])
def test_with_what_was_learnt_of_the_model_before(explain, each, case, count, order):
    method, factory, inputs, given = CASES[case]
    model, targets = built(factory), [k % 3 for k in range(count)]
    if order == "each first":
        each(model, inputs, method, targets=[2, 1], **given)
    singles = [explain(model, inputs, method, target=target, **given) for target in targets]
    for _ in range(2):
        for found, single in zip(each(model, inputs, method, targets=targets, **given), singles, strict=True):
            alike(found, single, 1e-11)


@pytest.mark.parametrize("examples", [0, 1, 7])
@pytest.mark.parametrize("case", ["saliency", "ig", "ig of a layer", "conductance", "nt of ig"])
def test_of_batches_of_any_size(explain, each, case, examples):
    method, factory, _, given = CASES[case]
    given = {k: v for k, v in given.items() if k != "baselines"}
    if "nt_samples" in given and not examples:
        given["stdevs"] = 0.0
    model, inputs = built(factory), draw(examples, 5)
    for target, found in zip([2, 0], each(model, inputs, method, targets=[2, 0], **given), strict=True):
        alike(found, explain(model, inputs, method, target=target, **given), 1e-11)


def test_several_inputs(explain, each):
    model, inputs = built(TwoInputs), (draw(3, 4), draw(3, 2, 3))
    for method, given in (("integrated_gradients", {"n_steps": 4, "baselines": (draw(3, 4, seed=9), 0)}), ("saliency", {})):
        for k, found in enumerate(each(model, inputs, method, targets=range(3), **given)):
            alike(found, explain(model, inputs, method, target=k, **given))
    for k, found in enumerate(each(model, inputs, "saliency", targets=range(3), additional_forward_args=0.5)):
        alike(found, explain(model, inputs, "saliency", target=k, additional_forward_args=0.5))


def test_arguments_by_name_and_those_with_a_row_for_each_example(explain, each):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(5, 3)

        def forward(self, x, gate=None, power=1):
            return torch.tanh(self.body(x)) ** power * gate

    model, inputs = built(Gated), {"x": X, "gate": draw(3, 3, seed=8), "power": 2}
    for k, found in enumerate(each(model, inputs, "integrated_gradients", targets=[0, 1, 2], n_steps=5)):
        alike(found, explain(model, inputs, "integrated_gradients", target=k, n_steps=5))
    gates = draw(3, 3, seed=8)
    given = {"additional_forward_args": (gates, 2), "nt_samples": 3}
    for k, found in enumerate(each(model, X, "noise_tunnel(saliency)", targets=[0, 1, 2], **given)):
        alike(found, explain(model, X, "noise_tunnel(saliency)", target=k, **given))


def test_tokens(explain, each):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    for method, layer in (("feature_ablation", None), ("integrated_gradients", "embedding"), ("conductance", "relu")):
        if method == "conductance":
            continue
        for k, found in enumerate(each(model, ids, method, targets=[0, 1, 2], layer=layer)):
            alike(found, explain(model, ids, method, target=k, layer=layer))


def test_outputs_of_several_dimensions_and_targets_by_kind(explain, each):
    model = built(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Unflatten(1, (2, 3))))
    targets = [(1, 2), [(0, 0), (1, 1), (1, 2)], (0, -1)]
    for target, found in zip(targets, each(model, X, "integrated_gradients", targets=targets, n_steps=4), strict=True):
        alike(found, explain(model, X, "integrated_gradients", target=target, n_steps=4))
    model = built(smooth_mlp)
    targets = ["predicted", 0, torch.tensor([2, 1, 0])]
    for target, found in zip(targets, each(model, X, "saliency", targets=targets), strict=True):
        alike(found, explain(model, X, "saliency", target=target))
    for target, found in zip([2, 1], each(model, X, "saliency", targets=iter([2, 1])), strict=True):
        alike(found, explain(model, X, "saliency", target=target))


def test_the_same_target_twice(each):
    first, second = each(built(smooth_mlp), X, "integrated_gradients", targets=[1, 1])
    alike(first, second)


def test_a_model_with_one_output_needs_no_target(explain, each):
    (found,) = each(lambda x: (x**2).sum(1), X, "saliency", targets=[None])
    same(only(found), 2 * X.abs())


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "feature_ablation"])
def test_a_model_with_one_row_of_outputs_for_the_batch(explain, each, method):
    def model(x):
        return torch.stack([(x**2).sum(), (x**3).sum()])[None]

    for k, found in enumerate(each(model, X, method, targets=[0, 1])):
        alike(found, explain(model, X, method, target=k))


def test_examples_that_influence_one_another(explain, each):
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            v = torch.tanh(self.body(x))
            return self.head(torch.tanh(3 * (v - v.mean(0)) * v))

    for place in (None, "body"):
        given = {"n_steps": 12, "layer": place}
        expected = [explain(built(Centred), X, "integrated_gradients", target=k, **given) for k in range(3)]
        for found, single in zip(
            each(built(Centred), X, "integrated_gradients", targets=range(3), **given), expected, strict=True
        ):
            alike(found, single, 1e-10)


class Around(nn.Module):
    """A layer with a way around it; what is below takes its time for every row."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.lower, self.inner, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.seconds = seconds

    def forward(self, x):
        time.sleep(self.seconds * len(x))
        v = torch.tanh(self.lower(x))
        return self.head(torch.tanh(v + self.inner(v)))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_targets_seen_from_a_layer_with_a_way_around_it(explain, each, method, count):
    given = {"layer": "inner", **({"n_steps": 12} if method == "integrated_gradients" else {})}
    singles = [explain(built(Around), X, method, target=k % 3, **given) for k in range(count)]
    found = each(built(Around), X, method, targets=[k % 3 for k in range(count)], **given)
    for one, single in zip(found, singles, strict=True):
        alike(one, single, 1e-10)


@pytest.mark.parametrize("count", [2, 3])
def test_targets_seen_from_such_a_layer_after_a_single_one(explain, each, count):
    model = built(lambda: Around(0.001))
    given = {"layer": "inner", "n_steps": 12}
    singles = [explain(model, X, "integrated_gradients", target=k, **given) for k in range(count)]
    for found, single in zip(each(model, X, "integrated_gradients", targets=range(count), **given), singles, strict=True):
        alike(found, single, 1e-10)


class Aside(nn.Module):
    """A layer beside what leads to the output, and an input that does nothing."""

    def __init__(self):
        super().__init__()
        self.used, self.aside = nn.Linear(5, 3), nn.Linear(5, 4)

    def forward(self, x, ignored=None):
        self.aside(x)
        return self.used(x)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_a_layer_on_which_no_target_depends(each, method):
    with pytest.warns(AttrkitWarning, match="does not depend on layer 'aside'"):
        found = each(built(Aside), X, method, targets=[0, 1], layer="aside")
    for one in found:
        assert torch.equal(only(one), torch.zeros(3, 4).double())


def test_an_input_on_which_no_target_depends(explain, each):
    with pytest.warns(AttrkitWarning, match="does not depend on input 'ignored'"):
        expected = explain(built(Aside), (X, X), "saliency", target=1)
    with pytest.warns(AttrkitWarning, match="does not depend on input 'ignored'"):
        found = each(built(Aside), (X, X), "saliency", targets=[0, 1])
    alike(found[1], expected)


# How many passes that takes.

RUN = []  # how many rows each module of these has seen, by its name


class Counted(nn.Module):
    """Notes what comes by, outside of the model."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        RUN.append((self.name, len(x)))
        return x


def rows_at(name, call):
    """The rows that a module sees during a call."""
    RUN.clear()
    call()
    return sum(rows for seen, rows in RUN if seen == name)


def counting():
    """A smooth model that counts below its first layer and above its last."""
    return built(lambda: nn.Sequential(Counted("first"), *smooth_mlp(), Counted("last")))


SHARED = {
    "saliency": ("saliency", {}),
    "ig": ("integrated_gradients", {"n_steps": 12}),
    "ig of a layer": ("integrated_gradients", {"n_steps": 12, "layer": "2"}),
    "internal influence": ("internal_influence", {"n_steps": 12, "layer": "2"}),
    "conductance of inputs": ("conductance", {"n_steps": 12}),
    "conductance": ("conductance", {"n_steps": 12, "layer": "2"}),
    "ablation": ("feature_ablation", {}),
    "gradient shap": ("gradient_shap", {"baselines": ROWS, "n_samples": 4}),
    "expected gradients": ("expected_gradients", {"baselines": ROWS, "n_samples": 4}),
    "nt of saliency": ("noise_tunnel(saliency)", {"nt_samples": 4}),
}


@pytest.mark.parametrize("case", SHARED)
@pytest.mark.parametrize("rows", [None, 3])
def test_four_targets_take_the_forward_passes_of_one(case, rows):
    method, given = SHARED[case]
    given = {**given, "internal_batch_size": rows}
    one = rows_at("first", lambda: attrkit.explain(counting(), X, method, target=1, **given))
    four = rows_at("first", lambda: attrkit.explain_each(counting(), X, method, targets=[0, 1, 2, [0, 1, 2]], **given))
    assert one <= four <= one + len(X)


@pytest.mark.parametrize("case", ["saliency", "ig", "ablation", "nt of saliency", "conductance"])
def test_the_passes_that_are_said_are_of_all_targets(each, case):
    method, given = SHARED[case]
    passes = [e.passes for e in each(built(smooth_mlp), X, method, targets=[0, 1], **given)]
    single = attrkit.explain(built(smooth_mlp), X, method, target=0, **given).passes
    assert passes == [single, single]


class Unbatched(torch.autograd.Function):
    """Its backward pass looks at values, so that several cannot share it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient if gradient.abs().max().item() < 1e9 else gradient


@pytest.mark.parametrize("before", [False, True])
def test_a_backward_pass_that_several_targets_cannot_share(explain, each, before):
    class Stepped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.c(torch.tanh(self.b(Unbatched.apply(self.a(x)))))

    model = built(Stepped)
    if before:
        each(model, X, "saliency", layer="b", targets=range(3))
    for _ in range(2):
        for k, found in enumerate(each(model, X, "saliency", layer="a", targets=range(3))):
            alike(found, explain(model, X, "saliency", layer="a", target=k))


# Several neurons.


@pytest.mark.parametrize(
    "method",
    [
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "noise_tunnel(saliency)",
        "lrp",
    ],
)
def test_each_neuron_is_explained_as_it_is_alone(explain, each, method):
    model = built(lambda: mlp(5))
    neurons = [0, (3,), (slice(1, 4),), lambda v: v[:, 0] + v[:, 5], -1]
    for neuron, found in zip(neurons, each(model, X, method, neurons=neurons, layer="1"), strict=True):
        alike(found, explain(model, X, method, neuron=neuron, layer="1"), 1e-11)


def test_neurons_of_a_feature_map_and_of_what_goes_into_a_layer(explain, each):
    model, neurons = built(cnn), [(0, 1, 2), (3, 0, 0), (slice(None), 3, 3)]
    given = {"layer": "3", "attribute_to_layer_input": True}
    for neuron, found in zip(neurons, each(model, IMAGES, "saliency", neurons=neurons, **given), strict=True):
        alike(found, explain(model, IMAGES, "saliency", neuron=neuron, **given))


def test_conductances_through_neurons_of_one_target(explain, each):
    model = built(smooth_mlp)
    found = each(model, X, "conductance", neurons=[0, 4], layer="1", target=[0, 1, 2], n_steps=6)
    for neuron, one in zip([0, 4], found, strict=True):
        alike(one, explain(model, X, "conductance", neuron=neuron, layer="1", target=[0, 1, 2], n_steps=6))


def test_neurons_take_the_forward_passes_of_one_and_nothing_above_them_once_that_is_known():
    model = counting()
    one = rows_at("first", lambda: attrkit.explain(counting(), X, "saliency", layer="2", neuron=1))
    assert rows_at("first", lambda: attrkit.explain_each(model, X, "saliency", layer="2", neurons=[0, 1, 2])) == one
    assert rows_at("last", lambda: attrkit.explain_each(model, X, "saliency", layer="2", neurons=[0, 1, 2])) == 0


# What is no list of targets.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "explain_each needs either targets= or neurons=, a list with one entry for each explanation"),
        ({"targets": [0], "neurons": [0], "layer": "1"}, UsageError, "explain_each needs either targets= or neurons="),
        ({"targets": [0], "neuron": 3, "layer": "1"}, UsageError, "explain_each takes neurons=, a list with one entry"),
        ({"targets": []}, UsageError, "targets is empty; give at least one"),
        ({"neurons": [], "layer": "1"}, UsageError, "neurons is empty; give at least one"),
        ({"neurons": [0]}, UsageError, "neuron needs layer=, the one layer that it is in; got 0 layers"),
        ({"neurons": [0], "layer": ["0", "1"]}, UsageError, "neuron needs layer=, the one layer that it is in; got 2 layers"),
        ({"neurons": [0, 9], "layer": "1"}, UsageError, "neuron 9 is out of range"),
        ({"targets": [0, 3]}, UsageError, "target 3 is out of range"),
        ({"targets": [0, [0, 1]]}, UsageError, "target has 2 entries for a batch of 3 examples"),
        ({"targets": [0, "cat"]}, UsageTypeError, "target must be an int, .* got 'cat'"),
        ({"targets": [0, None]}, UsageError, "target is missing: the model returns"),
        ({"targets": [0], "n_steps": 3}, UnknownName, "saliency has no option 'n_steps'"),
        ({"targets": 2}, UsageTypeError, "targets"),
        ({"targets": [0, 1], "target": 2}, UsageError, "target"),
        ({"targets": "predicted"}, UsageTypeError, "targets must be"),
    ],
)
def test_what_is_no_list_of_targets(each, given, error, message):
    with pytest.raises(error, match=message):
        each(built(smooth_mlp), X, "saliency", **given)


@pytest.mark.parametrize("targets", [torch.arange(3), np.arange(3)], ids=["tensor", "array"])
def test_targets_may_come_in_a_tensor_or_an_array(explain, each, targets):
    for k, found in enumerate(each(built(smooth_mlp), X, "saliency", targets=targets)):
        same(only(found), only(explain(built(smooth_mlp), X, "saliency", target=k)))


@pytest.mark.parametrize("method", ["integrated_gradients", "noise_tunnel(integrated_gradients)"])
def test_baselines_in_a_list_are_those_in_a_tuple(explain, each, method):
    model, inputs, start = built(TwoInputs), (draw(3, 4), draw(3, 2, 3)), (draw(3, 4, seed=9), draw(3, 2, 3, seed=8))
    found = each(model, inputs, method, targets=[0, 1], baselines=list(start), n_steps=3)
    for k, one in enumerate(found):
        alike(one, explain(model, inputs, method, target=k, baselines=start, n_steps=3))


def test_a_mask_of_one_example_s_shape_is_no_mask_for_each_example(explain, each):
    model = built(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
    inputs, mask = draw(3, 3, 4), torch.arange(12).reshape(3, 4) // 2
    for k, found in enumerate(each(model, inputs, "feature_ablation", targets=[0, 1], feature_mask=mask)):
        alike(found, explain(model, inputs, "feature_ablation", target=k, feature_mask=mask))


def test_a_function_that_makes_baselines_makes_them_once(each):
    made = []
    each(built(smooth_mlp), X, "gradient_shap", targets=[0, 1, 2], baselines=lambda: made.append(1) or ROWS)
    assert len(made) == 1


# Layers by their paths.


class Nested(nn.Module):
    """Layers within layers; one that never runs, one that passes on integers, one that passes on two tensors."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.act = nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, v):
            return v + self.act(self.inner(v))

    class Largest(nn.Module):
        def forward(self, v):
            return v.argmax(1)

    class Halves(nn.Module):
        def forward(self, v):
            return v[:, :3], v[:, 3:]

    def __init__(self):
        super().__init__()
        self.lower, self.act = nn.Linear(5, 6), nn.Tanh()
        self.block = nn.Sequential(self.Block(), self.Block())
        self.largest, self.halves, self.idle = self.Largest(), self.Halves(), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        v = self.block(self.act(self.lower(x)))
        self.largest(v)
        first, second = self.halves(v)
        return self.head(torch.cat([first, second * first], 1))


RUNNING = [
    "lower", "act", "block", "block.0", "block.0.inner", "block.0.act", "block.1", "block.1.inner", "block.1.act", "halves",
    "head",
]  # fmt: skip
PATTERNS = {
    "*": ["lower", "act", "block", "halves", "head"],
    "**": RUNNING,
    "block.*": ["block.0", "block.1"],
    "block.**": RUNNING[3:9],
    "*.?": ["block.0", "block.1"],
    "**.inner": ["block.0.inner", "block.1.inner"],
    "head": ["head"],
    "block.0.*": ["block.0.inner", "block.0.act"],
    ("head", "block.*.act"): ["head", "block.0.act", "block.1.act"],
    ("*", "l*"): ["lower", "act", "block", "halves", "head"],
}


@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
def test_a_pattern_names_the_layers_that_run_and_pass_on_real_numbers(explain, patterns):
    given = patterns if isinstance(patterns, str) else list(patterns)
    found = explain(built(Nested), X, "saliency", target=0, layers=given)
    assert list(dict.fromkeys(name.partition("[")[0] for name in found.values)) == PATTERNS[patterns]


FAMILIES = {
    "saliency": {"abs": False},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 6, "baselines": B},
    "conductance": {"n_steps": 6, "baselines": B},
    "internal_influence": {"n_steps": 6},
    "activation": {},
    "lrp": {"rules": {
        "schema": "attrkit/ruleset@1", "name": "plain", "fallback": {"unknown": "gradient", "nonlinear": "gradient"},
        "rules": [
            {"id": "l", "match": {"op": "linear_like"}, "rule": "epsilon"},
            {"id": "a", "match": {"op": "activation"}, "rule": "pass"},
        ],
    }},
    "feature_ablation": {},
    "gradient_shap": {"baselines": ROWS, "n_samples": 3, "stdevs": 0.1, "seed": 3},
    "expected_gradients": {"baselines": ROWS, "n_samples": 3, "seed": 3},
    "noise_tunnel(saliency)": {"nt_samples": 3, "stdevs": 0.1, "seed": 3},
    "noise_tunnel(integrated_gradients)": {"nt_samples": 3, "n_steps": 3, "stdevs": 0.1, "seed": 3},
}  # fmt: skip
families = pytest.mark.parametrize("method", FAMILIES)


def of(explanation, layer):
    return {name: v for name, v in explanation.values.items() if name.partition("[")[0] == layer}


@families
def test_all_layers_together_have_the_attributions_of_each_alone(explain, method):
    model, given = built(Nested), {"target": [0, 2, 1], **FAMILIES[method]}
    together = explain(model, X, method, layers="**", **given)
    assert list(dict.fromkeys(name.partition("[")[0] for name in together.values)) == RUNNING
    for position, layer in enumerate(RUNNING):
        alone = explain(model, X, method, layer=layer, **given)
        found = of(together, layer)
        assert found.keys() == alone.values.keys()
        for name, values in alone.values.items():
            same(found[name], values, 1e-11)
        if alone.delta is not None:
            same(together.delta[position], alone.delta, 1e-11)
    if alone.output is not None:
        same(together.output, alone.output)


@families
def test_a_list_of_layers_is_as_its_entries_one_by_one(explain, method):
    model, given = built(Nested), {"target": 1, **FAMILIES[method]}
    layers = ["block.1", "lower", "halves"]
    together = explain(model, X, method, layer=layers, **given)
    assert list(together.values) == ["block.1", "lower", "halves[0]", "halves[1]"]
    for layer in layers:
        alone = explain(model, X, method, layer=layer, **given)
        for name, values in of(together, layer).items():
            same(values, alone.values[name], 1e-11)


@pytest.mark.parametrize("method", ["saliency", "conductance", "integrated_gradients"])
def test_what_goes_into_the_layers(explain, method):
    model, given = built(Nested), {"target": 1, "attribute_to_layer_input": True}
    together = explain(model, X, method, layers="block.*", **given)
    for layer in ("block.0", "block.1"):
        same(together.values[layer], only(explain(model, X, method, layer=layer, **given)))


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "eigen_cam", "saliency", "integrated_gradients"])
def test_feature_maps_of_a_pattern(explain, method):
    model = built(Residual)
    images = draw(2, 3, 8, 8)
    together = explain(model, images, method, layers=["block?", "block?.conv?"], target=[0, 2])
    assert list(together.values) == [
        "block1", "block2", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2"
    ]  # fmt: skip
    for layer, values in together.values.items():
        same(values, only(explain(model, images, method, layer=layer, target=[0, 2])), 1e-11)


def test_a_layer_and_a_pattern(explain):
    found = explain(built(Nested), X, "saliency", target=0, layer="head", layers="block.*")
    assert list(found.values) == ["head", "block.0", "block.1"]
    found = explain(built(Nested), X, "saliency", target=0, layer="block.1", layers="block.*")
    assert list(found.values) == ["block.1", "block.0"]
    found = explain(built(Nested), X, "integrated_gradients", target=0, n_steps=5, layer="block.1", layers="block.*")
    assert found.delta.shape == (2, len(X))


def test_layers_of_several_targets(explain, each):
    model = built(Nested)
    for method, given in (("saliency", {}), ("integrated_gradients", {"n_steps": 4})):
        for k, found in enumerate(each(model, X, method, targets=range(3), layers="**", **given)):
            single = explain(model, X, method, target=k, layers="**", **given)
            for name, values in single.values.items():
                same(found.values[name], values, 1e-11)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_the_deltas_of_layers_of_several_targets(explain, each, method):
    if method == "saliency":
        assert each(built(Nested), X, method, targets=[0, 1], layers="*")[0].delta is None
        return
    for k, found in enumerate(each(built(Nested), X, method, targets=range(3), layers="*", n_steps=4)):
        same(found.delta, explain(built(Nested), X, method, target=k, layers="*", n_steps=4).delta, 1e-11)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ("bloc", UnknownName, "layers: no layer of the model matches 'bloc'. Layers: lower, act, block, block.0"),
        (["head", "nothing.*"], UnknownName, r"layers: no layer of the model matches 'nothing.\*'"),
        ("idle", UsageError, "layers: of 'idle' none runs in the model's forward pass and passes on real numbers"),
        (["idle", "largest"], UsageError, "layers: of 'idle', 'largest' none runs"),
        (3, UsageTypeError, "layers"),
        ([3], UsageTypeError, "layers must be a pattern of paths, like 'encoder.\\*', or a list of them, got int"),
    ],
)
def test_what_is_no_pattern(explain, layers, error, message):
    with pytest.raises(error, match=message):
        explain(built(Nested), X, "saliency", target=0, layers=layers)


def test_a_function_has_no_paths_and_a_neuron_is_in_one_layer(explain):
    model = built(Nested)
    with pytest.raises(UsageTypeError, match="got a model that is a plain function; pass layer= with its modules"):
        explain(lambda x: model(x), X, "saliency", target=0, layers="*")
    with pytest.raises(UsageError, match="neuron needs layer="):
        explain(model, X, "saliency", layers="block.*", neuron=1)
    with pytest.raises(UsageError, match="neuron needs layer="):
        explain(model, X, "saliency", layer="head", layers="block.*", neuron=1)


def test_layers_that_share_a_module_are_one(explain):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, 5)
            self.second = self.first

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    assert list(explain(built(Tied), X, "saliency", target=0, layers="*").values) == ["first[0]", "first[1]"]


def test_activations_and_eigen_maps_need_no_target(explain):
    model = built(cnn)
    with torch.no_grad():
        same(only(explain(model, IMAGES, "activation", layer="3")), model[:4](IMAGES))
    found = explain(model, IMAGES, "eigen_cam", layer="3")
    same(only(found), only(explain(model, IMAGES, "eigen_cam", layer="3", target=1)))
    assert (found.output, found.delta, found.target) == (None, None, None)
    assert list(explain(model, IMAGES, "activation", layers=["0", "1"]).values) == ["0", "1"]


# One call of a layer that runs several times.


class Steps(nn.Module):
    """A cell that runs as often as there are steps, and adds up what it has seen."""

    def __init__(self):
        super().__init__()
        self.enter, self.cell, self.head = nn.Linear(2, 4), nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, x):
        state = torch.zeros(len(x), 4, dtype=x.dtype)
        for step in x.unbind(1):
            state = torch.tanh(self.cell(torch.cat([state, self.enter(step)], 1)))
        return self.head(state)


SERIES = draw(3, 4, 2, seed=6)


def call_by_hand(model, path, number, inputs, function, into=False):
    """What ``function`` makes of one call's value; it returns the value to go on with."""
    count = -1

    def hook(module, args, *output):
        nonlocal count
        count += 1
        value = args[0] if into else output[0]
        return None if count != number else (function(value),) if into else function(value)

    module = model.get_submodule(path)
    handle = module.register_forward_pre_hook(hook) if into else module.register_forward_hook(hook)
    try:
        return model(inputs)
    finally:
        handle.remove()


def value_of_call(model, path, number, inputs, into=False):
    seen = []
    with torch.no_grad():
        call_by_hand(model, path, number, inputs, lambda v: seen.append(v.clone()) or v, into)
    return seen[0]


def slope_of_call(model, path, number, inputs, value, target, into=False):
    leaf = value.clone().requires_grad_()
    output = call_by_hand(model, path, number, inputs, lambda _: leaf.clone(), into)
    return torch.autograd.grad(output[:, target].sum(), leaf)[0]


RECURRENT = {
    "reused": (Reused, draw(3, 4, seed=5), "mix", 2),
    "reused, input": (Reused, draw(3, 4, seed=5), "relu", 2),
    "steps": (Steps, SERIES, "cell", 4),
    "steps, entering": (Steps, SERIES, "enter", 4),
}
recurrent = pytest.mark.parametrize("case", RECURRENT)


@recurrent
def test_the_gradient_at_one_call_is_that_entry_of_all_calls(explain, case):
    factory, inputs, path, count = RECURRENT[case]
    model, into = built(factory), case.endswith("input")
    given = {"target": 1, "abs": False, "attribute_to_layer_input": into}
    every = explain(model, inputs, "saliency", layer=path, **given).values
    assert len(every) == count
    for call in range(count):
        value = value_of_call(model, path, call, inputs, into)
        expected = slope_of_call(model, path, call, inputs, value, 1, into)
        found = explain(model, inputs, "saliency", layer=f"{path}@{call}", **given)
        assert list(found.values) == [f"{path}@{call}"]
        same(only(found), expected)
        same(every[f"{path}[{call}]"], expected)
        same(only(explain(model, inputs, "saliency", layer=attrkit.Call(path, call), **given)), expected)
        same(only(explain(model, inputs, "saliency", layer=attrkit.Call(model.get_submodule(path), call), **given)), expected)


@recurrent
def test_only_that_call_is_moved(explain, case):
    factory, inputs, path, count = RECURRENT[case]
    model, into = built(factory), case.endswith("input")
    for call in range(count):
        value, start = (value_of_call(model, path, call, x, into) for x in (inputs, torch.zeros_like(inputs)))
        expected = torch.zeros_like(value)
        for place, weight in zip(*gauss(5), strict=True):
            at = start + place * (value - start)
            expected += weight * slope_of_call(model, path, call, inputs, at, 0, into) * (value - start)
        given = {"layer": f"{path}@{call}", "target": 0, "n_steps": 5, "attribute_to_layer_input": into}
        for _ in range(2):
            same(only(explain(model, inputs, "integrated_gradients", **given)), expected)


def gauss(n):
    places, weights = np.polynomial.legendre.leggauss(n)
    return ((places + 1) / 2).tolist(), (weights / 2).tolist()


@pytest.mark.parametrize(
    ("case", "method"),
    [
        (case, method)
        for case in RECURRENT
        for method in ("activation", "feature_ablation", "conductance", "lrp", "internal_influence")
    ],
)
def test_other_methods_at_one_call(explain, case, method):
    factory, inputs, path, count = RECURRENT[case]
    model, into = built(factory), case.endswith("input")
    given = {"target": 1, "attribute_to_layer_input": into}
    for call in range(count):
        found = only(explain(model, inputs, method, layer=f"{path}@{call}", **given))
        if method == "activation":
            same(found, value_of_call(model, path, call, inputs, into))
        elif method == "feature_ablation":
            value = value_of_call(model, path, call, inputs, into)
            with torch.no_grad():
                whole = model(inputs)[:, 1]
                for position in range(value.shape[1]):
                    without = value.clone()
                    without[:, position] = 0
                    output = call_by_hand(model, path, call, inputs, lambda _, v=without: v, into)[:, 1]
                    same(found[:, position], whole - output)
        else:
            every = explain(model, inputs, method, layer=path, **given).values
            same(found, every[f"{path}[{call}]"])


def test_several_calls_and_other_layers_together(explain):
    model = built(Steps)
    for method in ("saliency", "integrated_gradients"):
        together = explain(model, SERIES, method, layer=["cell@2", "head", attrkit.Call("cell", 0)], target=0).values
        assert list(together) == ["cell@2", "head", "cell@0"]
        for layer, values in together.items():
            same(values, only(explain(model, SERIES, method, layer=layer, target=0)))


def test_a_neuron_of_one_call_and_nothing_after_it():
    model = built(Steps)
    for call in (0, 3):
        point = SERIES.clone().requires_grad_()
        seen = []
        call_by_hand(model, "cell", call, point, lambda v, seen=seen: seen.append(v) or v)
        (expected,) = torch.autograd.grad(seen[0][:, 2].sum(), point)
        found = attrkit.explain(model, SERIES, "saliency", layer=f"cell@{call}", neuron=2, abs=False)
        same(only(found), expected)

    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.count = nn.Linear(2, 2), Counted("cell")

        def forward(self, x):
            for _ in range(5):
                x = torch.tanh(self.count(self.cell(x)))
            return x

    model = built(Ends)
    for layer, rows in (("cell@0", 0), ("cell@3", 3 * 3)):
        assert rows_at("cell", lambda layer=layer: attrkit.explain(model, draw(3, 2), "activation", layer=layer)) == rows


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "activation", "feature_ablation", "conductance", "lrp"])
def test_a_call_that_there_is_not(explain, method):
    model = built(Reused)
    for _ in range(2):
        with pytest.raises(UsageError, match="layer mix@2: the module ran 2 times; count its calls from 0"):
            explain(model, draw(3, 4), method, layer="mix@2", target=0)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (attrkit.Call("mix", -1), UsageTypeError, "layer: the number of a call must be an integer of at least 0, got -1"),
        (attrkit.Call("mix", 1.0), UsageTypeError, "layer: the number of a call must be an integer of at least 0, got 1.0"),
        (attrkit.Call("mix", True), UsageTypeError, "layer: the number of a call must be an integer"),
        (attrkit.Call("mox", 1), UnknownName, "the model has no layer 'mox'. Did you mean 'mix'"),
        (attrkit.Call(3, 1), UsageTypeError, "layer must be a module or the path of one"),
        (attrkit.Call(nn.Linear(4, 4), 1), UnknownName, "layer Linear is not a module of the model"),
        ("mix@", UnknownName, "the model has no layer 'mix@'"),
        ("mix@-1", UnknownName, "the model has no layer 'mix@-1'"),
        ("mix@one", UnknownName, "the model has no layer 'mix@one'"),
        ("@1", UnknownName, "the model has no layer '@1'"),
        ("mox@1", UnknownName, "the model has no layer 'mox@1'"),
    ],
)
def test_what_is_no_call(explain, layer, error, message):
    with pytest.raises(error, match=message):
        explain(built(Reused), draw(3, 4), "saliency", layer=layer, target=0)


def test_calls_of_a_function_s_module(explain):
    model, inputs = built(Reused), draw(3, 4)
    for method in ("saliency", "integrated_gradients"):
        expected = explain(model, inputs, method, layer="mix@1", target=0)
        found = explain(lambda x: model(x), inputs, method, layer=attrkit.Call(model.mix, 1), target=0)
        same(only(found), only(expected))


# Nothing above a layer runs without need.


@pytest.mark.parametrize("plain", [False, True], ids=["module", "function"])
def test_nothing_above_a_layer_runs_the_second_time(plain):
    model = counting()

    def function(x):
        return model(x)

    made = attrkit.attr.LayerActivation(function if plain else model, model[2])
    with torch.no_grad():
        expected = model[:3](X)
    for allowed in (3, 0, 0):
        assert rows_at("last", lambda: same(made.attribute(X), expected)) <= allowed
        assert rows_at("first", lambda: made.attribute(X)) == 3
    assert rows_at("last", lambda: attrkit.explain(function if plain else model, X, "activation", layer=model[2])) == 0
    larger = torch.cat([X, X])
    assert rows_at("last", lambda: made.attribute(larger)) == 0


@pytest.mark.parametrize("plain", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("name", ["NeuronGradient", "NeuronIntegratedGradients", "NeuronFeatureAblation", "NeuronGradientShap"])
def test_nothing_above_a_neuron_runs_the_second_time(plain, name):
    model = counting()

    def function(x):
        return model(x)

    made = getattr(attrkit.attr, name)(function if plain else model, model[2])
    given = {"baselines": ROWS, "seed": 1} if name == "NeuronGradientShap" else {}
    first = made.attribute(X, 3, **given)
    assert rows_at("last", lambda: same(made.attribute(X, 3, **given), first)) == 0
    same(first, getattr(attrkit.attr, name)(built(lambda: nn.Sequential(*smooth_mlp())), "1").attribute(X, 3, **given))


def test_what_is_above_runs_where_the_objective_is_above():
    model = counting()
    for _ in range(3):
        assert rows_at("last", lambda: attrkit.explain(model, X, "saliency", layer="2", target=0)) == 3


def test_a_model_that_notes_its_end_is_none_the_worse(untouched):
    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.busy = nn.Linear(5, 4), nn.Linear(4, 2), False
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            if self.busy:
                message = "called before it was done"
                raise RuntimeError(message)
            self.busy = True
            self.calls += 1
            v = self.body(x)
            found = self.head(v)
            self.busy = False
            return found

    model = built(Noting)
    for _ in range(3):
        with untouched(model, X):
            same(attrkit.attr.LayerActivation(model, "body").attribute(X), model.body(X).detach())
        with untouched(model, X):
            same(attrkit.attr.NeuronGradient(model, "body").attribute(X, 1), model.body.weight[1].detach().expand(3, 5))


def test_a_model_that_catches_everything_is_none_the_worse():
    class Catching(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x):
            try:
                v = self.body(x)
            except BaseException:  # noqa: BLE001 - as some models do
                v = torch.zeros(len(x), 4, dtype=x.dtype)
            return self.head(v)

    model = built(Catching)
    for _ in range(3):
        same(attrkit.attr.LayerActivation(model, "body").attribute(X), model.body(X).detach())
        same(attrkit.attr.NeuronGradient(model, "body").attribute(X, 1), model.body.weight[1].detach().expand(3, 5))


class Again(nn.Module):
    """Runs its layer once more for each example that is not empty."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 5)

    def forward(self, x):
        for _ in range(1 + int((x != 0).any(1).sum())):
            x = self.mix(x)
        return x


def test_a_layer_that_ran_once_for_other_inputs_is_seen_at_each_call(explain):
    model = built(Again)
    explain(model, torch.zeros(2, 5).double(), "activation", layer="mix")
    assert len(explain(model, X[:2], "activation", layer="mix").values) == 3


def test_calls_are_told_apart_whatever_other_inputs_have_shown(explain):
    model = built(Again)
    explain(model, torch.zeros(2, 5).double(), "activation", layer="mix")
    value = X[:2]
    for call in range(3):
        value = model.mix(value).detach()
        same(only(explain(model, X[:2], "activation", layer=f"mix@{call}")), value)


def test_under_a_function_layers_of_one_class_are_kept_apart(explain):
    one, twice = (built(lambda: nn.Linear(5, 5), seed=k) for k in range(2))

    def model(x):
        return twice(torch.tanh(twice(one(x))))

    explain(model, X, "saliency", layer=one, target=0)
    assert len(explain(model, X, "activation", layer=twice).values) == 2


# What is below a layer runs once for many values of it.


class Head(nn.Module):
    """A counted layer below the one whose value is moved."""

    def __init__(self):
        super().__init__()
        self.count, self.a, self.b, self.o = Counted("first"), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def below(self, x):
        return torch.tanh(self.a(self.count(x)))


class Plain(Head):
    def forward(self, x):
        return self.o(torch.tanh(self.b(self.below(x))))


class Residue(Head):
    def forward(self, x):
        h = self.below(x)
        return self.o(torch.tanh(h + self.b(h)))


class Joined(Head):
    def forward(self, x):
        h = self.below(x)
        return self.o(torch.cat([torch.tanh(self.b(h)), h], 1)[:, 3:9])


class Captured(Head):
    def forward(self, x):
        n = x.shape[0]
        return self.o(torch.tanh(self.b(self.below(x)).view(n, 2, 3)).reshape(n, -1))


class Merged(Head):
    """Views with the batch size that it saw first: more rows silently become places."""

    def forward(self, x):
        n = len(x)
        return self.o(torch.tanh(self.b(self.below(x))).view(n, -1, 6).mean(1))


class First(Head):
    """Keeps as many rows as came in, whatever there are now."""

    def forward(self, x):
        return self.o(torch.tanh(self.b(self.below(x)))[: len(x)])


class Picked(Head):
    def forward(self, x):
        v = torch.tanh(self.b(self.below(x)))
        return self.o(v[torch.arange(len(x))])


class Masked(Head):
    def forward(self, x):
        return self.o(torch.tanh(self.b(self.below(x))) * (x.abs() > 0.3))


class Stretched(Head):
    """Fits a mask to whatever batch there is, in the order that is not that of copies."""

    def forward(self, x):
        v = torch.tanh(self.b(self.below(x)))
        return self.o(v * (x.abs() > 0.3).repeat_interleave(max(1, len(v) // len(x)), 0))


class Written(Head):
    def forward(self, x):
        h = self.below(x)
        y = h.clone()
        y += self.b(h)
        return self.o(y)


class InPlace(Head):
    def forward(self, x):
        v = self.b(self.below(x))
        v.mul_(2)
        v[:, 0] = 0
        v.tanh_()
        return self.o(v)


class Branching(Head):
    def forward(self, x):
        v = self.b(self.below(x))
        if v.sum().item() > 1e9:
            v = v * 2
        return self.o(torch.tanh(v))


class Coupled(Head):
    def forward(self, x):
        v = torch.tanh(self.b(self.below(x)))
        return self.o(torch.tanh(2 * v * (v - v.mean(0, keepdim=True))))


class Ranked(Head):
    """Divides by the largest of the batch."""

    def forward(self, x):
        v = self.b(self.below(x))
        return self.o(torch.tanh(v / (1 + v.abs().amax(0, keepdim=True).detach())))


class Softened(Head):
    def forward(self, x):
        v = torch.tanh(self.b(self.below(x)))
        return self.o(v) * torch.softmax(v.sum(1), 0)[:, None]


class Counting(Head):
    def forward(self, x):
        v = torch.tanh(self.b(self.below(x)))
        return self.o(v) * len(v)


class Summed(Head):
    """The batch's size enters above as what it was below."""

    def forward(self, x):
        n = len(x)
        v = torch.tanh(self.b(self.below(x)))
        return self.o(v) * n


class Compared(Head):
    """Each example beside those of the batch that came in."""

    def forward(self, x):
        h = self.below(x)
        v = torch.tanh(self.b(h))
        return self.o(torch.tanh(v @ h.T) @ h)


class Shared(Head):
    """What is below goes on around the layer as one number for all."""

    def forward(self, x):
        h = self.below(x)
        return self.o(torch.tanh(self.b(h) + h.mean()))


class Whole(Head):
    """One number for the whole batch."""

    def forward(self, x):
        return torch.tanh(self.o(torch.tanh(self.b(self.below(x)))).sum(0)).reshape(1, 3)


class Caught(Head):
    """Does something else where it cannot go on as it is."""

    def forward(self, x):
        h = self.below(x)
        v = torch.tanh(self.b(h))
        try:
            v = v + h
        except RuntimeError:
            v = 3 * v
        return self.o(v)


ODD = {kind.__name__.lower(): kind for kind in Head.__subclasses__()}


def by_hand(model, inputs, start, target, n):
    """Integrated gradients of layer b, one place of the path at a time."""
    seen, handles = [], []

    def run(x, values=None):
        seen.clear()
        rest = None if values is None else iter(values)

        def hook(module, args, output):
            seen.append(output.detach().clone())
            return None if rest is None else next(rest).clone()

        handles.append(model.b.register_forward_hook(hook))
        try:
            return model(x)
        finally:
            handles.pop().remove()

    with torch.no_grad():
        run(start)
        low = list(seen)
        run(inputs)
        high = list(seen)
    total = [torch.zeros_like(v) for v in high]
    for place, weight in zip(*gauss(n), strict=True):
        values = [(a + place * (b - a)).requires_grad_() for a, b in zip(low, high, strict=True)]
        found = torch.autograd.grad(run(inputs, values)[:, target].sum(), values)
        total = [t + weight * g for t, g in zip(total, found, strict=True)]
    return [t * (b - a) for t, a, b in zip(total, low, high, strict=True)]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ODD)
def test_a_layer_s_value_is_moved_as_by_hand(explain, kind, count):
    inputs, start = draw(count, 6, seed=7), draw(count, 6, seed=8)
    expected = by_hand(built(ODD[kind]), inputs, start, 1, 20)
    model = built(ODD[kind])
    given = {"layer": "b", "target": 1, "n_steps": 20, "baselines": start}
    for _ in range(2):
        found = explain(model, inputs, "integrated_gradients", **given)
        for values, one in zip(found.values.values(), expected, strict=True):
            same(values, one, 1e-10)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ODD)
def test_a_layer_is_ablated_as_by_hand(explain, kind, count):
    inputs, model = draw(count, 6, seed=7), built(ODD[kind])
    with torch.no_grad():
        values = []
        handle = model.b.register_forward_hook(lambda _, __, v: values.append(v.clone()))
        whole = model(inputs)[:, 1]
        handle.remove()
        expected = torch.zeros(count, 6).double()
        for position in range(6):
            without = values[0].clone()
            without[:, position] = 0
            handle = model.b.register_forward_hook(lambda _, __, v, without=without: without.clone())
            expected[:, position] = whole - model(inputs)[:, 1]
            handle.remove()
    for _ in range(2):
        found = only(explain(model, inputs, "feature_ablation", layer="b", target=1))
        same(found.expand(count, 6), expected, 1e-10)  # one row where there is one output for the batch


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("kind", ["plain", "residue", "masked", "captured", "inplace"])
def test_a_layer_s_value_is_moved_in_passes_of_any_size(explain, kind, rows):
    inputs, start = draw(3, 6, seed=7), draw(3, 6, seed=8)
    given = {"layer": "b", "target": 1, "n_steps": 9, "baselines": start, "internal_batch_size": rows}
    (expected,) = by_hand(built(ODD[kind]), inputs, start, 1, 9)
    model = built(ODD[kind])
    for _ in range(2):
        same(only(explain(model, inputs, "integrated_gradients", **given)), expected, 1e-10)


@pytest.mark.parametrize("kind", ["plain", "inplace"])
def test_what_is_below_runs_less_often_than_there_are_steps(kind):
    model, inputs = built(ODD[kind]), draw(3, 6, seed=7)
    made = attrkit.attr.LayerIntegratedGradients(model, model.b)
    counts = [rows_at("first", lambda: made.attribute(inputs, target=0, n_steps=60)) for _ in range(5)]
    assert max(counts) < 3 * 60 / 2
    assert counts[-1] <= 3 * 20
    attrkit.explain(model, inputs, "feature_ablation", layer="b", target=0)
    assert rows_at("first", lambda: attrkit.explain(model, inputs, "feature_ablation", layer="b", target=0)) < 3 * 7


def test_what_is_below_runs_less_often_around_a_layer_too():
    class Slow(Residue):
        def below(self, x):
            time.sleep(0.001 * len(x))
            return super().below(x)

    model, inputs = built(Slow), draw(3, 6, seed=7)
    made = attrkit.attr.LayerIntegratedGradients(model, model.b)
    made.attribute(inputs, target=0, n_steps=12)
    assert rows_at("first", lambda: made.attribute(inputs, target=0, n_steps=60)) < 3 * 60 / 2


# What was learnt of a model holds for what it was learnt of.


class Halfway(nn.Module):
    """Its first output knows each example alone; its second, and the layer above, the batch."""

    def __init__(self):
        super().__init__()
        self.lower, self.upper = nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, x):
        v = torch.tanh(self.lower(x))
        mixed = self.upper(torch.tanh(3 * v * (v - v.mean(0))))
        return torch.stack([v.square().sum(1), mixed.square().sum(1)], 1)


def test_one_target_may_be_of_each_example_and_another_of_the_batch(explain):
    expected = only(explain(built(Halfway), X, "integrated_gradients", target=1, n_steps=12))
    model = built(Halfway)
    explain(model, X, "integrated_gradients", target=0, n_steps=12)
    same(only(explain(model, X, "integrated_gradients", target=1, n_steps=12)), expected, 1e-10)


def test_a_neuron_may_be_of_each_example_and_the_output_of_the_batch(explain):
    expected = only(explain(built(Halfway), X, "integrated_gradients", target=1, n_steps=12))
    model = built(Halfway)
    explain(model, X, "integrated_gradients", layer="lower", neuron=0, n_steps=12)
    same(only(explain(model, X, "integrated_gradients", target=1, n_steps=12)), expected, 1e-10)


def test_a_further_argument_may_make_examples_of_a_batch_influence_one_another(explain):
    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(5, 3)

        def forward(self, x, centre):
            v = torch.tanh(self.body(x))
            return (v - v.mean(0)) ** 3 if centre else v

    given = {"target": 1, "n_steps": 12}
    expected = only(explain(built(Switched), X, "integrated_gradients", additional_forward_args=True, **given))
    model = built(Switched)
    explain(model, X, "integrated_gradients", additional_forward_args=False, **given)
    same(only(explain(model, X, "integrated_gradients", additional_forward_args=True, **given)), expected, 1e-10)


def moved(x):
    """How many numbers of the input are large."""
    y = torch.zeros_like(x)
    y[:] = x
    return int((y > 0.5).sum())


def written(x):
    y = torch.empty(x.shape, dtype=x.dtype)
    torch.mul(x.detach(), 1, out=y)
    return int((y > 0.5).sum())


#: Ways to ask for a number of the input that decides what the model does.
ASKED = {
    "item": lambda x: int(x.abs().max().item() > 0.5),
    "bool": lambda x: 1 if x.max() > 0.5 else 0,
    "int": lambda x: int((x > 0.5).sum()),
    "float": lambda x: float(x.detach().max()) > 0.5,
    "list": lambda x: sum(v > 0.5 for v in x.flatten().tolist()),
    "numpy": lambda x: int((x.detach().numpy() > 0.5).sum()),
    "array": lambda x: int((np.asarray(x.detach()) > 0.5).sum()),
    "data": lambda x: int((x.data > 0.5).sum()),
    "in place": moved,
    "out": written,
    "nonzero": lambda x: len((x > 0.5).nonzero()),
    "mask": lambda x: len(x[x > 0.5]),
    "masked_select": lambda x: len(x.masked_select(x > 0.5)),
    "where": lambda x: len(torch.where(x > 0.5)[0]),
    "argwhere": lambda x: len(torch.argwhere(x > 0.5)),
    "unique": lambda x: len((x > 0.5).unique()) - 1,
    "bincount": lambda x: len(torch.bincount((x > 0.5).long().flatten())) - 1,
    "repeat": lambda x: len(torch.repeat_interleave((x > 0.5).long().flatten())),
    "contains": lambda x: int(True in (x > 0.5)),
    "equal": lambda x: int(not torch.equal(x, x.clamp(max=0.5))),
    "text": lambda x: float(f"{x.max()}") > 0.5,
}  # fmt: skip


class Branch(nn.Module):
    """A power of the input that hangs on how large its numbers are."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def forward(self, x):
        return (x ** (2 + int(self.asked(x)))).sum(1)


@pytest.mark.parametrize("before", [False, True], ids=["further on", "other inputs"])
@pytest.mark.parametrize("way", ASKED)
def test_values_may_decide_what_is_computed(explain, way, before):
    inputs, model = torch.tensor([[1.0, 0.2]]).double(), Branch(ASKED[way])
    expected = only(explain(Branch(ASKED[way]), inputs, "integrated_gradients", n_steps=40, internal_batch_size=1))
    if before:
        explain(model, inputs / 4, "integrated_gradients", n_steps=40)
    same(only(explain(model, inputs, "integrated_gradients", n_steps=40)), expected, 1e-10)


class Told(nn.Module):
    """Runs its layer as often as a further argument says, and looks at the other examples where that is odd."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 5)

    def forward(self, x, times):
        times = times["times"] if isinstance(times, dict) else times
        for _ in range(int(times)):
            x = torch.tanh(self.mix(x))
        return (x - x.mean(0)) ** 3 if int(times) % 2 else x


@pytest.mark.parametrize("kind", ["number", "tensor", "dictionary"])
def test_values_of_further_arguments_may_decide_what_is_computed(explain, kind):
    def argument(times):
        return {"number": times, "tensor": torch.tensor([times]), "dictionary": {"times": times}}[kind]

    once, thrice = ({"additional_forward_args": (argument(times),)} for times in (2, 3))
    given = {"target": 1, "n_steps": 12}
    expected = only(explain(built(Told), X, "integrated_gradients", **given, **thrice))
    model = built(Told)
    explain(model, X, "integrated_gradients", **given, **once)
    same(only(explain(model, X, "integrated_gradients", **given, **thrice)), expected, 1e-10)


@pytest.mark.parametrize("kind", ["number", "tensor", "dictionary"])
def test_how_often_a_layer_runs_may_hang_on_further_arguments(explain, kind):
    model = built(Told)
    for times in (1, 3, 1):
        argument = {"number": times, "tensor": torch.tensor([times]), "dictionary": {"times": times}}[kind]
        found = explain(model, X, "activation", layer="mix", additional_forward_args=(argument,))
        assert len(found.values) == times


def test_under_a_function_each_layer_is_moved_in_its_own_way(explain):
    lower, inner, top = (built(lambda: nn.Linear(5, 5), seed=k) for k in range(3))

    def made():
        def model(x):
            v = torch.tanh(lower(x))
            return top(torch.tanh(v + inner(v)))

        return model

    expected = only(explain(made(), X, "integrated_gradients", layer=inner, target=0, n_steps=12))
    model = made()
    explain(model, X, "integrated_gradients", layer=top, target=0, n_steps=12)
    same(only(explain(model, X, "integrated_gradients", layer=inner, target=0, n_steps=12)), expected, 1e-10)
