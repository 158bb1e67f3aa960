"""Layers and neurons: how they are named, what they pass on, and what is attributed to them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.autograd import grad

from attrkit.errors import AttrkitWarning, UnknownName, UsageError, UsageTypeError
from tests.plugins.models import PACKERS, Residual, Reused, Several, Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp

#: Classes that attribute to a layer, and what every call of theirs is given.
LAYERED = {
    "LayerSaliency": {"abs": False},
    "LayerGradientXActivation": {},
    "LayerIntegratedGradients": {"n_steps": 6},
    "LayerConductance": {"n_steps": 6},
}
NEURAL = {
    "NeuronGradient": {},
    "NeuronInputXGradient": {},
    "NeuronIntegratedGradients": {"n_steps": 6},
    "NeuronConductance": {"n_steps": 6, "target": 0},
}
layered = pytest.mark.parametrize("name", LAYERED)
neural = pytest.mark.parametrize("name", NEURAL)

x = draw(3, 3, seed=1)


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# Naming a layer.


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "conductance"])
def test_a_layer_is_a_module_or_its_path(explain, method):
    model, images = built(Residual), draw(2, 3, 8, 8)
    by_path = explain(model, images, method, layer="block1.bn2", target=0)
    by_module = explain(model, images, method, layer=model.block1.bn2, target=0)
    assert list(by_path.values) == list(by_module.values) == ["block1.bn2"]
    same(by_path.values["block1.bn2"], by_module.values["block1.bn2"])


@layered
def test_a_module_is_found_under_a_function(attribute, name):
    model = built(lambda: smooth_mlp(3))
    expected = attribute(name, model, model[2])(x, target=0, **LAYERED[name])
    same(attribute(name, lambda x: model(x), model[2])(x, target=0, **LAYERED[name]), expected)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("5", UnknownName, "the model has no layer '5'. .*0, 1, 2, 3, 4"),
        ("11", UnknownName, "Did you mean '1'"),
        (nn.Linear(3, 3), UnknownName, "layer Linear is not a module of the model Sequential"),
        (3, UsageTypeError, "layer must be a module or the path of one, like 'encoder.3', got int"),
    ],
)
def test_what_is_no_layer(explain, layer, error, message):
    with pytest.raises(error, match=message):
        explain(built(lambda: smooth_mlp(3)), x, "saliency", layer=layer, target=0)


def test_a_path_needs_a_module(explain):
    with pytest.raises(UsageError, match="layer '0' is a path, but the model is a plain function; pass the module"):
        explain(lambda x: x, x, "saliency", layer="0", target=0)


@layered
def test_a_layer_that_never_runs(attribute, name):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(UsageError, match="layer 'idle' never ran in the model's forward pass"):
        attribute(name, built(Idle), "idle")(x, target=0, **LAYERED[name])


@layered
def test_a_layer_on_which_the_output_does_not_depend_gets_zeros(attribute, name):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.aside = nn.Linear(3, 2), nn.Linear(3, 4)

        def forward(self, x):
            self.aside(x)
            return self.used(x)

    with pytest.warns(AttrkitWarning, match="does not depend on layer 'aside' in a way .* its attributions are 0"):
        found = attribute(name, built(Aside), "aside")(x, target=0, **LAYERED[name])
    assert torch.equal(found, torch.zeros(3, 4, dtype=torch.float64))


@layered
def test_a_module_under_two_paths_answers_to_both(attribute, name):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
            self.same = self.body

        def forward(self, x):
            return self.head(self.same(x).tanh())

    model, x = built(Twice), draw(3, 3, seed=5)
    torch.testing.assert_close(*(attribute(name, model, path)(x, target=0, **LAYERED[name]) for path in ("body", "same")))


# What goes in, and what comes out.


@layered
def test_the_input_of_a_layer_is_the_output_of_the_one_before(attribute, name):
    model = built(lambda: smooth_mlp(3))
    into = attribute(name, model, model[2])(x, target=1, attribute_to_layer_input=True, **LAYERED[name])
    same(into, attribute(name, model, model[1])(x, target=1, **LAYERED[name]))


@neural
def test_a_neuron_of_a_layer_s_input(attribute, name):
    model = built(lambda: smooth_mlp(3))
    into = attribute(name, model, model[2])(x, 4, attribute_to_neuron_input=True, **NEURAL[name])
    same(into, attribute(name, model, model[1])(x, 4, **NEURAL[name]))


@layered
def test_an_operation_in_place_after_a_layer_does_not_reach_its_value(attribute, name):
    linear = nn.Linear(3, 4)
    plain, in_place = (nn.Sequential(linear, nn.ReLU(inplace), nn.Linear(4, 2)) for inplace in (False, True))
    in_place[2] = plain[2]
    expected = attribute(name, plain.double(), linear)(x, target=0, **LAYERED[name])
    same(attribute(name, in_place, linear)(x, target=0, **LAYERED[name]), expected)
    assert (plain[0](x) < 0).any()


@pytest.mark.parametrize("kind", PACKERS)
def test_a_layer_may_pass_on_several_tensors(attribute, kind):
    model = built(lambda: Several(kind))
    v, b = (tuple(t.detach() for t in built(Several).pack(model.mix(points))) for points in (x, torch.zeros_like(x)))
    leaves = tuple(t.clone().requires_grad_() for t in v)
    gradient = grad(model.head(model.unpack(leaves))[:, 0].sum(), leaves)
    same(attribute("LayerSaliency", model, model.pack)(x, target=0, abs=False), gradient)
    same(attribute("LayerGradientXActivation", model, model.pack)(x, 0), tuple(t * g for t, g in zip(v, gradient, strict=True)))
    # What is above is bilinear in the two, so that the average gradient is the one half way.
    middle = tuple(((t + u) / 2).requires_grad_() for t, u in zip(v, b, strict=True))
    average = grad(model.head(model.unpack(middle))[:, 0].sum(), middle)
    expected = tuple(a * (t - u) for a, t, u in zip(average, v, b, strict=True))
    same(attribute("LayerIntegratedGradients", model, model.pack)(x, target=0, n_steps=3), expected)
    found, delta = attribute("LayerConductance", model, model.pack)(
        x, target=0, n_steps=9, method="riemann_trapezoid", return_convergence_delta=True
    )
    assert [t.shape for t in found] == [(3, 2), (3, 2)]
    same(delta, torch.zeros_like(delta))


@pytest.mark.parametrize("kind", PACKERS)
def test_the_input_of_a_layer_may_be_several_tensors_too(attribute, kind):
    model = built(lambda: Several(kind))
    found = attribute("LayerIntegratedGradients", model, model.unpack)(x, target=0, attribute_to_layer_input=True)
    same(found, attribute("LayerIntegratedGradients", model, model.pack)(x, target=0))


def test_several_tensors_of_a_layer_have_numbered_names(explain):
    model = built(Several)
    found = explain(model, x, "conductance", layer="pack", target=0)
    assert list(found.values) == ["pack[0]", "pack[1]"]
    assert found.delta.abs().max() < 1e-3


@layered
def test_a_layer_that_runs_twice_has_attributions_for_each_run(attribute, name):
    model, x = built(Reused), draw(3, 4, seed=1)
    moved = name == "LayerIntegratedGradients"  # the second run's value is given then, whatever the first one's
    with pytest.warns(AttrkitWarning, match=r"does not depend on layer 'mix\[0\]'") if moved else nullcontext():
        first, second = attribute(name, model, model.mix)(x, target=0, **LAYERED[name])
    with torch.enable_grad():
        v = model.mix(x)
        w = model.mix(model.relu(v))
        y = model.head(model.relu(w))[:, 0]
    if name == "LayerSaliency":
        same((first, second), grad(y.sum(), (v, w)))
    if name == "LayerGradientXActivation":
        same((first, second), tuple(t.detach() * g for t, g in zip((v, w), grad(y.sum(), (v, w)), strict=True)))
    if name == "LayerIntegratedGradients":  # the second run's value is given, so the first one's has no effect
        assert torch.equal(first, torch.zeros_like(first))
    if name in ("LayerIntegratedGradients", "LayerConductance"):
        change = y.detach() - model(torch.zeros_like(x))[:, 0].detach()
        same(second.sum(1), change, 1e-1)


def test_each_run_of_a_layer_carries_all_of_a_linear_chain(attribute):
    mix = built(lambda: nn.Linear(4, 4))
    model, x = nn.Sequential(mix, mix, mix), draw(3, 4, seed=1)
    found, delta = attribute("LayerConductance", model, mix)(x, target=0, n_steps=1, return_convergence_delta=True)
    change = (model(x) - model(torch.zeros_like(x)))[:, 0].detach()
    for part in found:
        same(part.sum(1), change)
    same(delta, 2 * change)


class Rows(nn.Module):
    """A layer that sees each example as two rows, so that its first dimension is not the batch."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Linear(3, 3)

    def forward(self, x):
        return self.rows(x.reshape(-1, 3)).reshape(len(x), -1)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "conductance"])
def test_a_layer_whose_first_dimension_is_not_the_batch(explain, method):
    model, x = built(Rows), draw(4, 6)
    values = explain(model, x, method, layer="rows", target=0).values["rows"]
    assert values.shape == (8, 3)
    assert (values[1::2] == 0).all()  # the target is in the first row of each example
    if method in ("integrated_gradients", "conductance"):
        same(values[::2, 0], (model(x) - model(torch.zeros_like(x)))[:, 0].detach())


# Several layers at once.


@pytest.mark.parametrize("name", ["LayerSaliency", "LayerGradientXActivation", "LayerConductance"])
def test_layers_are_explained_together_as_alone(attribute, name):
    model, images = built(lambda: cnn(batch_norm=True)), draw(2, 2, 8, 8)
    layers = [model[0], model[5], model[1]]
    together = attribute(name, model, layers)(images, target=1, **LAYERED[name])
    assert isinstance(together, list)
    same(together, [attribute(name, model, layer)(images, target=1, **LAYERED[name]) for layer in layers])


def test_integrated_gradients_of_layers_side_by_side(attribute):
    model, inputs = built(TwoInputs), (draw(3, 4, seed=1), draw(3, 2, 3, seed=2))
    left, right = attribute("LayerIntegratedGradients", model, [model.left, model.right])(inputs, target=0, n_steps=40)
    whole = attribute("LayerIntegratedGradients", model, model.act)(inputs, target=0, n_steps=40, attribute_to_layer_input=True)
    same(left + right, whole, 1e-8)
    change = (model(*inputs) - model(*map(torch.zeros_like, inputs)))[:, 0].detach()
    same((left + right).sum(1), change, 1e-8)


def test_explain_names_layers_and_their_tensors(explain):
    model = built(Several)
    found = explain(model, x, "input_x_gradient", layer=["mix", model.pack, "head"], target=0)
    assert list(found.values) == ["mix", "pack[0]", "pack[1]", "head"]
    assert {k: tuple(v.shape) for k, v in found.values.items()} == {
        "mix": (3, 4), "pack[0]": (3, 2), "pack[1]": (3, 2), "head": (3, 2),
    }  # fmt: skip


# Embeddings: integers go in, the site is a layer.


def test_an_embedding_is_a_site_for_integers(attribute):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 10]])
    v = model.embedding(ids).detach().requires_grad_()
    gradient = grad(model.head(model.relu(model.conv(v.transpose(1, 2))).mean(2))[:, 0].sum(), v)[0]
    same(attribute("LayerSaliency", model, model.embedding)(ids, target=0, abs=False), gradient)
    same(attribute("LayerGradientXActivation", model, model.embedding)(ids, target=0), v.detach() * gradient)
    path = attribute("LayerIntegratedGradients", model, model.embedding)
    _, delta = path(ids, target=0, n_steps=500, return_convergence_delta=True)
    assert delta.abs().max() < 1e-3


def test_a_baseline_of_tokens(attribute):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 10]])
    reference = torch.tensor([[9, 2, 9, 9]])
    found = attribute("LayerIntegratedGradients", model, model.embedding)(ids, reference, 0)
    assert (found[0, 1] == 0).all()  # the same token as in the baseline
    assert (found[1] != 0).all()
    same(found, attribute("LayerIntegratedGradients", model, model.embedding)(ids, reference.expand(2, 4), 0))


# Neurons.

IMAGES = draw(2, 2, 8, 8, seed=3)
SELECTORS = {
    "tuple": ((1, 2, 3), lambda v: v[:, 1, 2, 3]),
    "negative": ((-1, 0, -2), lambda v: v[:, -1, 0, -2]),
    "slice": ((1, slice(None), 3), lambda v: v[:, 1, :, 3].sum(1)),
    "slices": ((slice(0, 2), slice(1, 7, 2), slice(None)), lambda v: v[:, 0:2, 1:7:2].sum((1, 2, 3))),
    "function": (lambda v: v.amax((1, 2, 3)), lambda v: v.amax((1, 2, 3))),
}


@pytest.mark.parametrize("form", SELECTORS)
def test_neurons_of_a_feature_map(attribute, form):
    model = built(cnn)
    selector, picked = SELECTORS[form]
    point = IMAGES.clone().requires_grad_()
    expected = grad(picked(model[:2](point)).sum(), point)[0]
    assert (expected != 0).any()
    same(attribute("NeuronGradient", model, model[1])(IMAGES, selector), expected)
    same(attribute("NeuronInputXGradient", model, model[1])(IMAGES, selector), IMAGES * expected)


@pytest.mark.parametrize("form", SELECTORS)
def test_integrated_gradients_of_a_neuron_explain_its_value(attribute, form):
    model = built(lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(192, 2)))
    selector, picked = SELECTORS[form]
    found = attribute("NeuronIntegratedGradients", model, model[1])(IMAGES, selector, n_steps=400)
    with torch.no_grad():
        change = picked(model[:2](IMAGES)) - picked(model[:2](torch.zeros_like(IMAGES)))
    same(found.sum((1, 2, 3)), change, 2e-2 if form == "function" else 1e-9)


@neural
def test_a_whole_number_picks_from_a_vector_as_a_tuple_of_one_does(attribute, name):
    model = built(lambda: smooth_mlp(3))
    found = attribute(name, model, model[1])(x, 2, **NEURAL[name])
    assert torch.equal(found, attribute(name, model, model[1])(x, (2,), **NEURAL[name]))
    same(found, attribute(name, model, model[1])(x, lambda v: v[:, 2], **NEURAL[name]))
    assert not torch.allclose(found, attribute(name, model, model[1])(x, 3, **NEURAL[name]))


@pytest.mark.parametrize("kind", PACKERS)
def test_a_function_may_pick_from_several_tensors(attribute, kind):
    model = built(lambda: Several(kind))
    point = x.clone().requires_grad_()
    v = model.mix(point)
    expected = grad((torch.tanh(v[:, 1]) * v[:, 3] ** 2).sum(), point)[0]
    same(attribute("NeuronGradient", model, model.pack)(x, lambda pair: pair[0][:, 1] * pair[1][:, 1]), expected)


@pytest.mark.parametrize(
    ("layer", "selector", "error", "message"),
    [
        ("1", (0, 1), UsageError, r"neuron \(0, 1\) must index each of the dimensions \(6,\) of layer '1'"),
        ("1", 6, UsageError, r"neuron 6 is out of range: layer '1' has shape \(6,\) per example"),
        ("1", -7, UsageError, "neuron -7 is out of range"),
        ("1", True, UsageTypeError, "neuron must be an integer, a tuple of integers or slices, or a function, got True"),
        ("1", "first", UsageTypeError, "neuron must be an integer, .* got 'first'"),
        ("1", 0.5, UsageTypeError, "neuron must be an integer, .* got 0.5"),
        ("1", lambda v: v, UsageError, r"must return one number per example, .* got \(\d+, 6\)"),
        ("1", lambda v: v.sum(), UsageError, r"must return one number per example, .* got \(\)"),
        ("1", lambda v: 1.0, UsageError, "must return one number per example, .* got float"),
    ],
)  # fmt: skip
@neural
def test_what_picks_no_neuron(attribute, name, layer, selector, error, message):
    with pytest.raises(error, match=message):
        attribute(name, built(lambda: smooth_mlp(3)), layer)(x, selector, **NEURAL[name])


def test_an_index_does_not_pick_among_several_tensors(attribute):
    model = built(Several)
    with pytest.raises(UsageError, match="neuron 0: layer 'pack' passes on 2 tensors; use a function"):
        attribute("NeuronGradient", model, model.pack)(x, 0)


@neural
def test_a_neuron_that_does_not_depend_on_an_input(attribute, name):
    model, (a, b) = built(TwoInputs), (draw(3, 4, seed=1), draw(3, 2, 3, seed=2))
    with pytest.warns(AttrkitWarning, match="does not depend on input 'b'"):
        of_a, of_b = attribute(name, model, model.left)((a, b), 1, **NEURAL[name])
    assert (of_a != 0).any()
    assert torch.equal(of_b, torch.zeros_like(b))


# Conductance.


@pytest.mark.parametrize("kind", [slice(None), slice(1, 4)], ids=["all", "some"])
def test_conductances_of_neurons_over_inputs_sum_to_the_layer_s(attribute, kind):
    model, baseline = built(lambda: smooth_mlp(3)), draw(3, 3, seed=2)
    layer = attribute("LayerConductance", model, model[1])(x, baseline, 0, n_steps=300)
    neurons = attribute("NeuronConductance", model, model[1])
    for k in range(6):
        found = neurons(x, k, baseline, 0, n_steps=300)
        same(found.sum(1), layer[:, k], 1e-5)
    together = neurons(x, (kind,), baseline, 0, n_steps=300)
    same(together.sum(1), layer[:, kind].sum(1), 1e-5)


@pytest.mark.parametrize("rule", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"])
@pytest.mark.parametrize("n_steps", [2, 3, 11])
def test_conductance_is_complete_at_any_number_of_steps_under_a_linear_top(attribute, rule, n_steps):
    model, images = built(lambda: cnn(batch_norm=True)), draw(3, 2, 8, 8)
    given = {"target": 2, "n_steps": n_steps, "method": rule, "return_convergence_delta": True}
    found, delta = attribute("LayerConductance", model, model[13])(images, draw(3, 2, 8, 8, seed=5), **given)
    assert found.abs().max() > 1e-3
    same(delta, torch.zeros_like(delta))


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4"])
def test_conductance_is_complete_within_tolerance_at_every_layer_of_a_smooth_model(attribute, layer):
    model = built(lambda: smooth_mlp(3))
    _, delta = attribute("LayerConductance", model, layer)(x, target=0, n_steps=100, return_convergence_delta=True)
    assert delta.abs().max() < 1e-4


@layered
def test_at_the_output_itself_only_the_target_has_attributions(attribute, name):
    model = built(mlp)
    found = attribute(name, model, model[4])(draw(2, 6), target=1, **LAYERED[name])
    assert (found[:, [0, 2]] == 0).all()
    assert (found[:, 1] != 0).all()
