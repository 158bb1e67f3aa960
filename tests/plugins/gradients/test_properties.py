"""What holds for every model: the axioms, and that batching and chunking change nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from attrkit.registry import registry
from tests.plugins.models import Residual, Reused, TwoInputs, built, cnn, draw, mlp, smooth_mlp

#: What to ask for: a class of ``attrkit.attr``, and what its ``attribute`` is given besides inputs, target and neuron.
METHODS = {
    "Saliency": {"abs": False},
    "InputXGradient": {},
    "IntegratedGradients": {"n_steps": 5},
    "Conductance": {"n_steps": 5},
    "LayerSaliency": {"abs": False},
    "LayerGradientXActivation": {},
    "LayerIntegratedGradients": {"n_steps": 5},
    "LayerConductance": {"n_steps": 5},
    "NeuronGradient": {},
    "NeuronInputXGradient": {},
    "NeuronIntegratedGradients": {"n_steps": 5},
    "NeuronConductance": {"n_steps": 5},
}
COMPARING = [name for name in METHODS if name.endswith(("IntegratedGradients", "Conductance"))]

methods = pytest.mark.parametrize("name", METHODS)
fewer = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
seeds = st.integers(0, 2**20)


@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients", "conductance", "internal_influence", "hires_cam"])
def test_linearity_is_promised(name):
    """Conformance holds a method to what it promises, and to no more."""
    assert registry.method(name).linear


def asked(attribute, name, model, layer, inputs, target=0, neuron=1, **given):
    """Attributions of one of the methods; layer and neuron where it takes them."""
    place = () if name in ("Saliency", "InputXGradient", "IntegratedGradients", "Conductance") else (layer,)
    of_neuron = {"neuron_selector": neuron} if name.startswith("Neuron") else {}
    of_target = {} if of_neuron and name != "NeuronConductance" else {"target": target}
    return attribute(name, model, *place)(inputs, **of_neuron, **of_target, **METHODS[name], **given)


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


class Mixture(nn.Module):
    """``a f + b g`` on top of one layer."""

    def __init__(self, lower, f, g, a, b):
        super().__init__()
        self.lower, self.f, self.g, self.a, self.b = lower, f, g, a, b

    def forward(self, x):
        v = self.lower(x)
        return self.a * self.f(v) + self.b * self.g(v)


@pytest.mark.parametrize("name", [n for n in METHODS if not n.startswith("Neuron") or n == "NeuronConductance"])
@given(seed=seeds, a=st.floats(-3, 3), b=st.floats(-3, 3))
@fewer
def test_attributions_are_linear_in_the_model(attribute, name, seed, a, b):
    lower = built(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh()), seed)
    f, g = (built(lambda: smooth_mlp(5), seed + i) for i in (1, 2))
    x = draw(2, 4, seed=seed)

    def of(a, b):
        model = Mixture(lower, f, g, a, b).eval()
        return asked(attribute, name, model, model.lower, x)

    same(of(a, b), a * of(1.0, 0.0) + b * of(0.0, 1.0), 1e-11)


@methods
@given(seed=seeds)
@fewer
def test_models_that_compute_the_same_are_explained_the_same(attribute, name, seed):
    first, layer, last = (built(lambda n=n: nn.Linear(*n), seed + i) for i, n in enumerate([(4, 6), (6, 5), (5, 3)]))
    merged = built(lambda: nn.Linear(4, 5))
    merged.weight.data = layer.weight.data @ first.weight.data
    merged.bias.data = layer.weight.data @ first.bias.data + layer.bias.data

    class Sigmoids(nn.Module):
        def forward(self, v):
            return 1 - 2 * torch.sigmoid(-2 * v)

    one = nn.Sequential(first, layer, nn.Tanh(), last)
    other = nn.Sequential(merged, Sigmoids(), last)
    x = draw(3, 4, seed=seed)
    same(asked(attribute, name, one, layer, x), asked(attribute, name, other, merged, x), 1e-10)


@methods
@given(seed=seeds, ignored=st.integers(0, 4))
@fewer
def test_what_the_model_ignores_gets_zero(attribute, name, seed, ignored):
    model = built(smooth_mlp, seed)
    read = model[2] if name.startswith("Layer") else model[0]  # what reads the place that attributions land at
    read.weight.data[:, ignored] = 0
    given = {"baselines": draw(3, 5, seed=seed + 1)} if name in COMPARING else {}
    found = asked(attribute, name, model, model[1] if name.startswith("Layer") else model[2], draw(3, 5, seed=seed), **given)
    assert (found[:, ignored] == 0).all()
    assert (found[:, ignored - 1] != 0).any()


@pytest.mark.parametrize("name", COMPARING)
@given(seed=seeds)
@fewer
def test_features_that_are_as_in_the_baseline_get_zero(attribute, name, seed):
    model, x, baseline = built(smooth_mlp, seed), draw(3, 5, seed=seed), draw(3, 5, seed=seed + 1)
    baseline[:, 2:] = x[:, 2:]
    layer = nn.Identity() if name.startswith("Layer") else model[0]  # the layer's value is the input
    model = nn.Sequential(*([layer] if name.startswith("Layer") else []), *model)
    found = asked(attribute, name, model, layer, x, baselines=baseline)
    assert (found[:, 2:] == 0).all()
    assert (found[:, :2] != 0).all()


@pytest.mark.parametrize("name", [n for n in COMPARING if not n.startswith("Neuron")])
@given(seed=seeds)
@fewer
def test_attributions_sum_to_the_change_of_the_output(attribute, name, seed):
    model, x, baseline = built(smooth_mlp, seed), draw(3, 5, seed=seed), draw(1, 5, seed=seed + 1)
    # Where conductance is not exact it converges with the square of the number of points.
    steps, tolerance = (200, 2e-3) if name.endswith("Conductance") else (40, 1e-9)
    extra = {**METHODS[name], "n_steps": steps, "target": 0, "baselines": baseline, "return_convergence_delta": True}
    found, delta = attribute(name, model, *([model[0]] if name.startswith("Layer") else []))(x, **extra)
    with torch.no_grad():
        change = (model(x) - model(baseline))[:, 0]
    same(delta, found.sum(1) - change)
    assert delta.abs().max() < tolerance


#: Layers to attribute to, and a neuron of each; the tensors of one example.
MODELS = {
    "mlp": (mlp, "2", 1, [(6,)]),
    "cnn": (lambda: cnn(batch_norm=True), "2", (1, 2, 3), [(2, 8, 8)]),
    "residual": (Residual, "block1", (1, 2, slice(None)), [(3, 8, 8)]),
    "reused": (Reused, "head", 1, [(4,)]),
    "two_inputs": (TwoInputs, "act", 1, [(4,), (2, 3)]),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """A model, the path of a layer, a neuron in it, seven examples, and a baseline for each."""
    factory, layer, neuron, shapes = MODELS[request.param]
    x, b = (tuple(draw(7, *shape, seed=seed + i) for i, shape in enumerate(shapes)) for seed in (10, 20))
    return built(factory), layer, neuron, x, b


def tensors(found):
    return found if isinstance(found, tuple) else (found,)


@methods
def test_an_example_is_explained_alone_as_in_a_batch(attribute, case, name):
    model, layer, neuron, x, b = case
    given = {"baselines": b} if name in COMPARING else {}
    together = asked(attribute, name, model, layer, x, [0, 1, 0, 1, 0, 1, 0], neuron, **given)
    for i in range(7):
        given = {"baselines": tuple(t[i : i + 1] for t in b)} if name in COMPARING else {}
        alone = asked(attribute, name, model, layer, tuple(t[i : i + 1] for t in x), i % 2, neuron, **given)
        same(tensors(alone), tuple(t[i : i + 1] for t in tensors(together)))


@pytest.mark.parametrize("name", COMPARING)
def test_the_chunk_size_changes_nothing(attribute, case, name):
    model, layer, neuron, x, b = case
    found = [
        asked(attribute, name, model, layer, x, [0, 1, 0, 1, 0, 1, 0], neuron, baselines=b, internal_batch_size=rows)
        for rows in (None, 1, 3, 7, 64)
    ]
    for other in found[1:]:
        same(tensors(other), tensors(found[0]))


@pytest.mark.parametrize("rows", [1, 3, 7, 8, 20, 64])
@pytest.mark.parametrize("name", ["IntegratedGradients", "Conductance"])
def test_no_forward_pass_has_more_rows_than_internal_batch_size(attribute, name, rows):
    model, seen = built(smooth_mlp), []

    def forward(x):
        seen.append(len(x))
        return model(x)

    attribute(name, forward)(draw(7, 5), target=0, n_steps=6, internal_batch_size=rows)
    assert max(seen) <= rows
    once = 5 * (rows >= 14)  # where points share a pass, one is seen alone and beside two batches too, the first time
    assert sum(seen) == 7 * (6 + once)
