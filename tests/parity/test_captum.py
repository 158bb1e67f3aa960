"""Values against Captum's, in float64. Captum is called, and nothing of it is copied.

Captum has the weights of quadrature, and most of its points, in float32: rules are compared where that changes nothing.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.parity.nets import Meeting, ModularResidual, Pipeline, Tagger
from tests.plugins.models import Residual, Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp

pytestmark = pytest.mark.filterwarnings("ignore")  # of Captum's; what attrkit warns about has tests of its own

#: A model, its inputs, baselines for them, a layer, and a neuron in that layer.
CASES = {
    "mlp": (mlp, (draw(4, 6),), (draw(4, 6, seed=9),), "2", 3),
    "smooth": (smooth_mlp, (draw(4, 5),), (draw(1, 5, seed=9),), "1", 2),
    "cnn": (cnn, (draw(3, 2, 8, 8),), (0.25,), "3", (1, 2, 0)),
    "batch norm": (lambda: cnn(batch_norm=True), (draw(3, 2, 8, 8),), (draw(1, 2, 8, 8, seed=9),), "5", (4, 1, 1)),
    "residual": (Residual, (draw(3, 3, 8, 8),), (0,), "block1", (2, 1, 3)),
    "two inputs": (TwoInputs, (draw(4, 4), draw(4, 2, 3)), (draw(4, 4, seed=9), 0), "act", 4),
}
TARGETS = [1, 0, 2, 1]
TOKENS = torch.tensor([[1, 2, 3, 4, 5], [7, 7, 0, 9, 10]])


@pytest.fixture(params=CASES)
def case(request):
    """The model, inputs and baselines as they are given (a tensor where there is one), layer and neuron."""
    factory, inputs, baselines, layer, neuron = CASES[request.param]
    given = (inputs, baselines) if len(inputs) > 1 else (inputs[0], baselines[0])
    model = built(factory)
    return model, *given, model.get_submodule(layer), neuron


def targets(inputs):
    return TARGETS[: len(inputs[0] if isinstance(inputs, tuple) else inputs)]


def same(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def pairs(found, expected):
    """The tensors of two results, one by one."""
    return [(found, expected)] if isinstance(found, torch.Tensor) else list(zip(found, expected, strict=True))


def both(attribute, captum, name, model, *args, **kwargs):
    """The same call of a class of attrkit and of Captum's class of that name."""
    theirs = getattr(captum, name)(model, *args, **kwargs)
    return attribute(name, model, *args, **kwargs), theirs.attribute


# At the inputs.


@pytest.mark.parametrize("absolute", [True, False])
def test_saliency(attribute, captum, case, absolute):
    model, x, *_ = case
    ours, theirs = both(attribute, captum, "Saliency", model)
    same(ours(x, targets(x), absolute), theirs(x, targets(x), absolute))


def test_input_x_gradient(attribute, captum, case):
    model, x, *_ = case
    ours, theirs = both(attribute, captum, "InputXGradient", model)
    same(ours(x, targets(x)), theirs(x, targets(x)))


RULES = [("gausslegendre", 2), ("riemann_middle", 16), ("riemann_left", 8), ("riemann_right", 32)]


@pytest.mark.parametrize(("rule", "n_steps"), RULES)
@pytest.mark.parametrize("multiply", [True, False])
def test_integrated_gradients(attribute, captum, case, rule, n_steps, multiply):
    model, x, b, *_ = case
    ours, theirs = both(attribute, captum, "IntegratedGradients", model, multiply_by_inputs=multiply)
    given = {"n_steps": n_steps, "method": rule, "return_convergence_delta": True}
    same(ours(x, b, targets(x), **given), theirs(x, b, targets(x), **given))


def test_integrated_gradients_by_default(attribute, captum, case):
    model, x, *_ = case
    ours, theirs = both(attribute, captum, "IntegratedGradients", model)
    same(ours(x, target=1), theirs(x, target=1), 1e-7)


def test_the_trapezoid_rule_is_captum_s_but_for_its_weights_that_do_not_sum_to_one(attribute, captum, case):
    model, x, b, *_ = case
    ours, theirs = both(attribute, captum, "IntegratedGradients", model)
    for n, tolerance in ((2, 1e-9), (16, 1e-6)):
        given = {"n_steps": n, "method": "riemann_trapezoid"}
        for found, expected in pairs(ours(x, b, 1, **given), theirs(x, b, 1, **given)):
            same(found, expected * n / (n - 1), tolerance)


# At a layer.


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
def test_layer_gradient_x_activation(attribute, captum, case, multiply, into):
    model, x, _, layer, _ = case
    ours, theirs = both(attribute, captum, "LayerGradientXActivation", model, layer, multiply_by_inputs=multiply)
    same(ours(x, targets(x), attribute_to_layer_input=into), theirs(x, targets(x), attribute_to_layer_input=into))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
def test_layer_activation(attribute, captum, case, into):
    model, x, _, layer, _ = case
    ours, theirs = both(attribute, captum, "LayerActivation", model, layer)
    same(ours(x, attribute_to_layer_input=into), theirs(x, attribute_to_layer_input=into))


@pytest.mark.parametrize(("rule", "n_steps"), RULES)
def test_internal_influence(attribute, captum, case, rule, n_steps):
    model, x, b, layer, _ = case
    ours, theirs = both(attribute, captum, "InternalInfluence", model, layer)
    given = {"n_steps": n_steps, "method": rule}
    same(ours(x, b, targets(x), **given), theirs(x, b, targets(x), **given))


@pytest.mark.parametrize("relu", [False, True], ids=["signed", "relu"])
@pytest.mark.parametrize("summed", [False, True], ids=["channels", "sum"])
def test_layer_grad_cam(attribute, captum, case, relu, summed):
    model, x, _, layer, _ = case
    ours, theirs = both(attribute, captum, "LayerGradCam", model, layer)
    given = {"relu_attributions": relu, "attr_dim_summation": summed}
    same(ours(x, targets(x), **given), theirs(x, targets(x), **given))


@pytest.mark.parametrize(("rule", "n_steps"), RULES)
@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
def test_layer_integrated_gradients(attribute, captum, case, rule, n_steps, into):
    model, x, b, layer, _ = case
    ours, theirs = both(attribute, captum, "LayerIntegratedGradients", model, layer)
    given = {"n_steps": n_steps, "method": rule, "attribute_to_layer_input": into, "return_convergence_delta": True}
    same(ours(x, b, targets(x), **given), theirs(x, b, targets(x), **given))


@pytest.mark.parametrize("name", ["LayerGradientXActivation", "LayerIntegratedGradients"])
def test_layers_together(attribute, captum, name):
    model, inputs = built(TwoInputs), (draw(4, 4), draw(4, 2, 3))
    ours, theirs = both(attribute, captum, name, model, [model.left, model.right])
    given = {} if name == "LayerGradientXActivation" else {"n_steps": 8, "method": "riemann_middle"}
    same(ours(inputs, target=1, **given), theirs(inputs, target=1, **given))


def test_embeddings(attribute, captum):
    model = built(Tokens)
    ours, theirs = both(attribute, captum, "LayerGradientXActivation", model, model.embedding)
    same(ours(TOKENS, [0, 2]), theirs(TOKENS, [0, 2]))
    ours, theirs = both(attribute, captum, "LayerIntegratedGradients", model, model.embedding)
    given = {"n_steps": 16, "method": "riemann_middle", "return_convergence_delta": True}
    same(ours(TOKENS, torch.ones_like(TOKENS), [0, 2], **given), theirs(TOKENS, torch.ones_like(TOKENS), [0, 2], **given))


def convergence(ours, theirs, x, *args, steps=(64, 256, 1024), **given):
    """How far the two are apart, relative to the largest value, at more and more steps."""
    for n in steps:
        results = pairs(*(f(x, *args, n_steps=n, **given) for f in (ours, theirs)))
        yield max(float((found - expected).abs().max() / expected.abs().max()) for found, expected in results)


@pytest.mark.parametrize(("name", "layer"), [("smooth", "1"), ("batch norm", "5"), ("two inputs", "left")])
def test_layer_conductance_in_the_limit(attribute, captum, name, layer):
    factory, inputs, baselines, *_ = CASES[name]
    model, (x, b) = built(factory), (inputs, baselines) if len(inputs) > 1 else (inputs[0], baselines[0])
    ours, theirs = both(attribute, captum, "LayerConductance", model, model.get_submodule(layer))
    given = {"baselines": b, "target": 1, "method": "riemann_trapezoid"}
    apart = list(convergence(ours, theirs, x, **given))
    assert apart[1] < apart[0] / 2
    assert apart[2] < apart[1] / 2
    assert apart[2] < 5e-3


# Of a neuron.


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
def test_neuron_gradient(attribute, captum, case, into):
    model, x, _, layer, neuron = case
    ours, theirs = both(attribute, captum, "NeuronGradient", model, layer)
    same(ours(x, neuron, attribute_to_neuron_input=into), theirs(x, neuron, attribute_to_neuron_input=into))


@pytest.mark.parametrize(
    "selector",
    [(1, slice(0, 2), 2), (slice(None), 0, slice(1, 3)), lambda v: v[:, 1].amax((1, 2)), lambda v: (v**2).sum((1, 2, 3))],
    ids=["slice", "slices", "maximum", "energy"],
)
def test_selectors(attribute, captum, selector):
    model, x = built(cnn), draw(3, 2, 8, 8)
    ours, theirs = both(attribute, captum, "NeuronGradient", model, model[3])
    same(ours(x, selector), theirs(x, selector))
    ours, theirs = both(attribute, captum, "NeuronIntegratedGradients", model, model[3])
    same(ours(x, selector, n_steps=8, method="riemann_middle"), theirs(x, selector, n_steps=8, method="riemann_middle"))


@pytest.mark.parametrize(("rule", "n_steps"), RULES)
def test_neuron_integrated_gradients(attribute, captum, case, rule, n_steps):
    model, x, b, layer, neuron = case
    ours, theirs = both(attribute, captum, "NeuronIntegratedGradients", model, layer)
    given = {"n_steps": n_steps, "method": rule}
    same(ours(x, neuron, b, **given), theirs(x, neuron, b, **given))


@pytest.mark.parametrize("multiply", [True, False])
def test_neuron_conductance_is_captum_s_but_for_its_weights_that_do_not_sum_to_one(attribute, captum, case, multiply):
    model, x, b, layer, neuron = case
    ours, theirs = both(attribute, captum, "NeuronConductance", model, layer, multiply_by_inputs=multiply)
    for n, tolerance in ((2, 1e-9), (32, 1e-6)):
        for found, expected in pairs(*(f(x, neuron, b, target=targets(x), n_steps=n) for f in (ours, theirs))):
            same(found, expected * n / (n - 1), tolerance)


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle"])
def test_neuron_conductance_by_other_rules(attribute, captum, method):
    model, x = built(smooth_mlp), draw(4, 5)
    ours, theirs = both(attribute, captum, "NeuronConductance", model, model[1])
    given = {"target": 1, "method": method, "n_steps": 7}
    same(ours(x, 2, **given), theirs(x, 2, **given), 1e-6)


# Ablation.


@pytest.mark.parametrize("per_eval", [1, 7])
def test_feature_ablation(attribute, captum, case, per_eval):
    model, x, b, *_ = case
    ours, theirs = both(attribute, captum, "FeatureAblation", model)
    given = {"perturbations_per_eval": per_eval}
    same(ours(x, b, targets(x), **given), theirs(x, b, targets(x), **given))


def grouped(t, rows=1, start=0):
    """A mask of groups of neighbours, another one for each row."""
    flat = torch.arange(t[0].numel())
    return torch.stack([start + 3 * ((flat + r) // 4) for r in range(rows)]).reshape(rows, *t.shape[1:])


@pytest.mark.parametrize("rows", ["shared", "per example"])
def test_feature_ablation_with_masks(attribute, captum, case, rows):
    model, x, b, *_ = case
    ours, theirs = both(attribute, captum, "FeatureAblation", model)
    parts = x if isinstance(x, tuple) else (x,)
    masks = tuple(grouped(t, len(t) if rows == "per example" else 1, start=3 * i) for i, t in enumerate(parts))
    given = {"feature_mask": masks if isinstance(x, tuple) else masks[0], "perturbations_per_eval": 3}
    same(ours(x, b, targets(x), **given), theirs(x, b, targets(x), **given))


def test_feature_ablation_of_integers(attribute, captum):
    model = built(Tokens)
    ours, theirs = both(attribute, captum, "FeatureAblation", model)
    same(ours(TOKENS, 8, [0, 2]), theirs(TOKENS, 8, [0, 2]))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_feature_ablation_of_one_answer_for_the_batch(attribute, captum, shape):
    x = draw(3, 4)
    ours, theirs = both(attribute, captum, "FeatureAblation", lambda x: (x**3).sum().reshape(shape))
    same(ours(x, 0.5), theirs(x, 0.5))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("masked", [False, True], ids=["each", "masked"])
def test_layer_feature_ablation(attribute, captum, case, into, masked):
    model, x, _, layer, _ = case
    seen = []
    handle = layer.register_forward_hook(lambda _, args, out: seen.append((args[0] if into else out).detach()))
    model(*(x if isinstance(x, tuple) else (x,)))
    handle.remove()
    ours, theirs = both(attribute, captum, "LayerFeatureAblation", model, layer)
    given = {"layer_mask": grouped(seen[0]) if masked else None, "attribute_to_layer_input": into, "perturbations_per_eval": 5}
    for baselines in (None, seen[0].flip(0)):
        same(ours(x, baselines, 1, **given), theirs(x, baselines, 1, **given))


@pytest.mark.parametrize("masked", [False, True], ids=["each", "masked"])
def test_neuron_feature_ablation(attribute, captum, case, masked):
    model, x, b, layer, neuron = case
    ours, theirs = both(attribute, captum, "NeuronFeatureAblation", model, layer)
    parts = x if isinstance(x, tuple) else (x,)
    masks = tuple(grouped(t, start=3 * i) for i, t in enumerate(parts))
    given = {"feature_mask": (masks if isinstance(x, tuple) else masks[0]) if masked else None, "perturbations_per_eval": 5}
    same(ours(x, neuron, b, **given), theirs(x, neuron, b, **given))


# LRP. Captum knows modules only, and no sum but one of its own.


@pytest.fixture(scope="session")
def addition(captum):
    """Captum's module that adds."""
    from captum.attr._utils.custom_modules import Addition_Module

    return Addition_Module


NETS = {
    "mlp": (lambda add: mlp(), lambda: mlp(), (draw(4, 6),), ["0", "2", "4"]),
    "mlp of tanh": (
        lambda add: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)),
        (draw(4, 5),),
        ["0", "2"],
    ),
    "cnn": (lambda add: Pipeline(), Pipeline, (draw(3, 3, 8, 8),), ["features.0", "features.2", "head.0"]),
    "batch norm": (
        lambda add: Pipeline(batch_norm=True),
        lambda: Pipeline(batch_norm=True),
        (draw(3, 3, 8, 8),),
        ["features.0", "features.1", "features.4", "head.3"],
    ),
    "residual": (
        ModularResidual,
        Residual,
        (draw(3, 3, 8, 8),),
        ["conv", "bn", "block1.conv2", "block2.bn1", "block2.shortcut.0", "fc"],
    ),
    "two inputs": (Meeting, Meeting, (draw(4, 4), draw(4, 6)), ["left", "right", "head"]),
}


@pytest.fixture(params=NETS)
def net(request, addition):
    """The net that Captum explains, the one that attrkit does with the same weights, inputs and layers."""
    modular, plain, inputs, layers = NETS[request.param]
    theirs, ours = built(lambda: modular(addition)), built(plain)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, inputs if len(inputs) > 1 else inputs[0], layers


def test_lrp(attribute, captum, net):
    theirs, ours, x, _ = net
    given = {"target": targets(x), "return_convergence_delta": True}
    same(attribute("LRP", ours)(x, **given), captum.LRP(theirs).attribute(x, **given))


def test_layer_lrp(attribute, captum, net):
    theirs, ours, x, layers = net
    for path in layers:
        expected = captum.LayerLRP(theirs, theirs.get_submodule(path)).attribute(x, targets(x))
        same(attribute("LayerLRP", ours, ours.get_submodule(path))(x, targets(x)), expected)


def test_layer_lrp_of_several_layers(attribute, captum):
    theirs, ours, x = built(mlp), built(mlp), draw(3, 6)
    given = {"target": 1, "return_convergence_delta": True}
    expected, deltas = captum.LayerLRP(theirs, [theirs[0], theirs[2]]).attribute(x, **given)
    found = attribute("LayerLRP", ours, [ours[0], ours[2]])(x, **given)
    same(found, (list(expected), list(deltas)))


def test_lrp_of_embeddings(attribute, captum):
    model, target = built(Tagger), [(0, 2), (4, 1)]
    expected = captum.LRP(model.net).attribute(model.embedding(TOKENS).detach(), target)
    same(attribute("LayerLRP", model, model.embedding)(TOKENS, target), expected)


# What else people call.


def test_compute_convergence_delta(attribute, captum, case):
    import attrkit

    model, x, b, *_ = case
    values = captum.InputXGradient(model).attribute(x, 1)
    found, expected = (k.IntegratedGradients(model).compute_convergence_delta(values, b, x, 1) for k in (attrkit.attr, captum))
    same(found, expected)
    relevance, output = captum.InputXGradient(built(mlp)).attribute(draw(4, 6), 1), draw(4)
    found, expected = (k.LRP(built(mlp)).compute_convergence_delta(relevance, output) for k in (attrkit.attr, captum))
    same(found, expected)


def test_interpolate(captum):
    import attrkit

    x = draw(2, 3, 4, 4)
    for given in ((8, 8), ((6, 9), "bilinear"), (2,)):
        dims = given if all(isinstance(g, int) for g in given) and len(given) > 1 else given[0]
        mode = given[1:] if isinstance(given[-1], str) else ()
        found, expected = (k.LayerAttribution.interpolate(x, dims, *mode) for k in (attrkit.attr, captum))
        assert torch.equal(found, expected)


def test_subclasses_of_the_bases_work_as_there(captum):
    import attrkit

    model, x = built(smooth_mlp), draw(3, 5)

    def made(package):
        class Doubled(package.GradientAttribution):
            def attribute(self, inputs, target=None):
                return 2 * self.gradient_func(self.forward_func, (inputs.requires_grad_(),), target)[0]

        return Doubled(model)

    same(made(attrkit.attr).attribute(x.clone(), 1), made(captum).attribute(x.clone(), 1))
    assert made(attrkit.attr).get_name() == made(captum).get_name() == "Doubled"
