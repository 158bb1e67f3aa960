"""DeepLIFT, guided backpropagation, deconvolution and LRP with rules on modules, against Captum's, in float64.

Captum is called, and nothing of it is copied. Nets are such that Captum is right: every non-linearity a module of its own, no
max-pool next to a ReLU, no softmax. What it cannot do, or gets wrong, is tested on its own at the end.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrkit
from tests.parity.nets import Meeting, ModularResidual, Pipeline
from tests.plugins.models import Reused, TwoInputs, built, draw, mlp, smooth_mlp

pytestmark = pytest.mark.filterwarnings("ignore")  # of Captum's


def same(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


class Acts(nn.Module):
    """Every activation that Captum's DeepLift has a rule for, each of a map of its own; ``scale`` is no tensor."""

    def __init__(self):
        super().__init__()
        self.acts = nn.ModuleList([nn.ReLU(), nn.ELU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.Softplus()])
        self.maps = nn.ModuleList(nn.Linear(6, 3) for _ in self.acts)
        self.head = nn.Linear(18, 3)

    def forward(self, x, shift=0.0, scale=1.0):
        every = [act(linear(x) + shift) for act, linear in zip(self.acts, self.maps, strict=True)]
        return scale * self.head(torch.cat(every, 1))


def images(*, batch_norm=False):
    """Convolutions and average pools, in place too, and max-pools whose neighbours are linear."""
    norm = nn.BatchNorm2d if batch_norm else lambda _: nn.Dropout()
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), norm(4), nn.ReLU(inplace=True), nn.AvgPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(5, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def series():
    """The same over time."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), nn.MaxPool1d(2), nn.Conv1d(4, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    )


#: A model, its inputs, baselines, a distribution of them, a layer, and a neuron in that layer.
CASES = {
    "mlp": (mlp, (draw(4, 6),), (draw(4, 6, seed=9),), (draw(5, 6, seed=7),), "2", 3),
    "smooth": (smooth_mlp, (draw(4, 5),), (draw(1, 5, seed=9),), (draw(3, 5, seed=7),), "1", 2),
    "activations": (Acts, (draw(3, 6),), (0.5,), (draw(2, 6, seed=7),), "head", 1),
    "images": (images, (draw(3, 2, 8, 8),), (0.25,), (draw(3, 2, 8, 8, seed=7),), "4", (1, 2, 0)),
    "batch norm": (
        lambda: images(batch_norm=True),
        (draw(3, 2, 8, 8),),
        (draw(1, 2, 8, 8, seed=9),),
        (draw(2, 2, 8, 8, seed=7),),
        "4",
        (3, 1, 1),
    ),
    "series": (series, (draw(4, 2, 8),), (None,), (draw(6, 2, 8, seed=7),), "2", (3, 1)),
    "two inputs": (
        TwoInputs,
        (draw(4, 4), draw(4, 2, 3)),
        (draw(4, 4, seed=9), 0),
        (draw(3, 4, seed=7), draw(3, 2, 3, seed=8)),
        "act",
        4,
    ),
}
TARGETS = [1, 0, 2, 1]
#: At the input of a non-linearity Captum's is not complete: there the layer after it is compared.
SMOOTH = {nn.Tanh: lambda model: model.head if isinstance(model, TwoInputs) else model[2]}


@pytest.fixture(params=CASES)
def case(request):
    """The model, inputs, baselines, their distribution (tensors where there is one input), layer and neuron."""
    factory, *tensors, layer, neuron = CASES[request.param]
    model = built(factory)
    given = tensors if len(tensors[0]) > 1 else [parts[0] for parts in tensors]
    return model, *given, model.get_submodule(layer), neuron


def targets(inputs):
    return TARGETS[: len(inputs[0] if isinstance(inputs, tuple) else inputs)]


def both(attribute, captum, name, model, *args, **kwargs):
    """The same call of a class of attrkit and of Captum's class of that name."""
    theirs = getattr(captum, name)(model, *args, **kwargs)
    return attribute(name, model, *args, **kwargs), theirs.attribute


# DeepLIFT.


@pytest.mark.parametrize("multiply", [True, False])
def test_deeplift(attribute, captum, case, multiply):
    model, x, b, *_ = case
    ours, theirs = both(attribute, captum, "DeepLift", model, multiply)
    same(ours(x, b, targets(x), None, True), theirs(x, b, targets(x), None, True))


def test_deeplift_is_complete(attribute, case):
    model, x, b, *_ = case
    _, delta = attribute("DeepLift", model)(x, b, 1, return_convergence_delta=True)
    assert float(delta.abs().max()) < 1e-12


@pytest.mark.parametrize(
    "target", [None, 1, (1,), torch.tensor(2), torch.tensor([0, 1, 2, 1]), [0, 1, 2, 1], [(0,), (1,), (2,), (1,)]]
)
def test_deeplift_of_targets(attribute, captum, target):
    model, x = built(mlp), draw(4, 6)
    model = nn.Sequential(model, nn.Linear(3, 1).double(), nn.Flatten(0)) if target is None else model
    for name, given in (("DeepLift", {}), ("DeepLiftShap", {"baselines": draw(3, 6, seed=3)})):
        ours, theirs = both(attribute, captum, name, model)
        same(ours(x, target=target, **given), theirs(x, target=target, **given))


def test_deeplift_of_targets_with_more_dimensions(attribute, captum):
    model, x = built(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.Unflatten(1, (3, 2)))), draw(2, 6)
    for target in ((1, 0), [(2, 1), (0, 0)]):
        ours, theirs = both(attribute, captum, "DeepLift", model)
        same(ours(x, target=target), theirs(x, target=target))


@pytest.mark.parametrize("further", [(draw(3, 1, seed=4), 2.0), (draw(3, 1, seed=4),), (0.5, 1.5)])
def test_further_arguments(attribute, captum, further):
    model, x, given = built(Acts), draw(3, 6), {"target": 1, "additional_forward_args": further}
    for name in ("DeepLift", "GuidedBackprop", "Deconvolution"):
        ours, theirs = both(attribute, captum, name, model)
        same(ours(x, **given), theirs(x, **given))
    rows = draw(2, 6, seed=3)
    ours, theirs = both(attribute, captum, "DeepLiftShap", model)
    same(ours(x, rows, **given), theirs(x, rows, **given))


def squares(multipliers, inputs, baselines):
    return tuple(m * (x - b) ** 2 for m, x, b in zip(multipliers, inputs, baselines, strict=True))


def products(multipliers, inputs):
    return tuple(m * x for m, x in zip(multipliers, inputs, strict=True))


def doubles(multipliers):
    return tuple(2 * m for m in multipliers)


@pytest.mark.parametrize("function", [squares, products, doubles])
def test_custom_attributions(attribute, captum, case, function):
    model, x, b, rows, layer, neuron = case
    given = {"target": 1, "custom_attribution_func": function}
    for name, compared in (("DeepLift", b), ("DeepLiftShap", rows)):
        ours, theirs = both(attribute, captum, name, model, multiply_by_inputs=False)
        same(ours(x, compared, **given), theirs(x, compared, **given))
        ours, theirs = both(attribute, captum, f"Layer{name}", model, layer)
        same(ours(x, compared, **given), theirs(x, compared, **given))
        ours, theirs = both(attribute, captum, f"Neuron{name}", model, layer)
        same(
            ours(x, neuron, compared, custom_attribution_func=function),
            theirs(x, neuron, compared, custom_attribution_func=function),
        )


def test_eps_is_below_which_change_the_derivative_is_taken(attribute, captum):
    model, x = built(smooth_mlp), draw(4, 5)
    for eps in (1e-10, 0.2, 1e3):
        ours, theirs = both(attribute, captum, "DeepLift", model, eps=eps)
        same(ours(x, target=1), theirs(x, target=1))


def test_deeplift_shap(attribute, captum, case):
    model, x, _, rows, *_ = case
    ours, theirs = both(attribute, captum, "DeepLiftShap", model)
    found, expected = (f(x, rows, targets(x), return_convergence_delta=True) for f in (ours, theirs))
    same(found, expected)
    count = len(rows[0] if isinstance(rows, tuple) else rows)
    assert found[1].shape == (len(targets(x)) * count,)


def test_deltas_of_deeplift_shap_are_those_of_each_pair_an_example_s_together(attribute, captum):
    """Whatever else is made of the multipliers, so that they are not 0."""
    model, x, rows = built(mlp), draw(4, 6), draw(5, 6, seed=3)
    for name, place in (("DeepLiftShap", ()), ("LayerDeepLiftShap", (model[1],))):
        given = {"target": 1, "custom_attribution_func": squares, "return_convergence_delta": True}
        ours, theirs = both(attribute, captum, name, model, *place)
        same(ours(x, rows, **given), theirs(x, rows, **given))


def test_a_function_that_returns_the_distribution(attribute, captum):
    model, x = built(mlp), draw(4, 6)
    for function in (lambda: draw(3, 6, seed=3), lambda inputs: inputs.flip(0)[:2]):
        ours, theirs = both(attribute, captum, "DeepLiftShap", model)
        same(ours(x, function, 1), theirs(x, function, 1))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("name", ["LayerDeepLift", "LayerDeepLiftShap"])
def test_layers(attribute, captum, case, into, name):
    model, x, b, rows, layer, _ = case
    layer = SMOOTH.get(type(layer), lambda _: layer)(model) if into else layer
    ours, theirs = both(attribute, captum, name, model, layer)
    given = {"target": targets(x), "attribute_to_layer_input": into, "return_convergence_delta": True}
    compared = rows if "Shap" in name else b
    same(ours(x, compared, **given), theirs(x, compared, **given))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("name", ["NeuronDeepLift", "NeuronDeepLiftShap"])
def test_neurons(attribute, captum, case, into, name):
    model, x, b, rows, layer, neuron = case
    ours, theirs = both(attribute, captum, name, model, layer)
    compared = rows if "Shap" in name else b
    given = {"attribute_to_neuron_input": into}
    same(ours(x, neuron, compared, **given), theirs(x, neuron, compared, **given))


def test_neurons_by_functions_and_slices(attribute, captum):
    model, x = built(images), draw(2, 2, 8, 8)
    for selector in ((slice(0, 2), 1, slice(None)), lambda value: value[:, 1].mean((1, 2))):
        for name in ("NeuronDeepLift", "NeuronGuidedBackprop", "NeuronDeconvolution"):
            ours, theirs = both(attribute, captum, name, model, model[3])
            same(ours(x, selector), theirs(x, selector))


# Gradients.


@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution"])
def test_gradients(attribute, captum, case, name):
    model, x, *_ = case
    ours, theirs = both(attribute, captum, name, model)
    same(ours(x, targets(x)), theirs(x, targets(x)))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("name", ["NeuronGuidedBackprop", "NeuronDeconvolution"])
def test_gradients_of_neurons(attribute, captum, case, name, into):
    model, x, *_, layer, neuron = case
    ours, theirs = both(attribute, captum, name, model, layer)
    same(ours(x, neuron, None, into), theirs(x, neuron, None, into))


# LRP with rules on modules.


@pytest.fixture(scope="session")
def addition(captum):
    """Captum's module that adds."""
    from captum.attr._utils.custom_modules import Addition_Module

    return Addition_Module


@pytest.fixture(scope="session")
def rules(captum):
    """Captum's rules."""
    from captum.attr._utils import lrp_rules

    return lrp_rules


class Flat(nn.Module):
    """A module without a rule of its own: a linear map that flattens, because Captum takes every module for one."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, x):
        return self.map(x).flatten(1)


NETS = {
    "mlp": (lambda add: mlp(), (draw(4, 6),)),
    "cnn": (lambda add: Pipeline(), (draw(3, 3, 8, 8),)),
    "batch norm": (lambda add: Pipeline(batch_norm=True), (draw(3, 3, 8, 8),)),
    "residual": (ModularResidual, (draw(3, 3, 8, 8),)),
    "two inputs": (Meeting, (draw(4, 4), draw(4, 6))),
    "without defaults": (
        lambda add: nn.Sequential(nn.Conv1d(2, 4, 3), nn.Sigmoid(), Flat(), nn.Linear(24, 3), nn.LayerNorm(3), nn.Softmax(1)),
        (draw(3, 2, 8),),
    ),
}
RULES = {
    "epsilon": ("EpsilonRule", {}),
    "large epsilon": ("EpsilonRule", {"epsilon": 0.05}),
    "gamma": ("GammaRule", {}),
    "gamma without bias": ("GammaRule", {"gamma": 0.6, "set_bias_to_zero": True}),
    "alpha beta": ("Alpha1_Beta0_Rule", {}),
    "alpha beta without bias": ("Alpha1_Beta0_Rule", {"set_bias_to_zero": True}),
}
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


@pytest.fixture(params=NETS)
def net(request, addition):
    """What makes a net that both explain, and inputs."""
    factory, inputs = NETS[request.param]
    return lambda: built(lambda: factory(addition)), inputs if len(inputs) > 1 else inputs[0]


def with_rules(model, rule, kinds=(nn.Module,), but=()):
    """The model with a rule on every module without children that is of one of the kinds."""
    for module in model.modules():
        if not list(module.children()) and isinstance(module, kinds) and not isinstance(module, but):
            module.rule = rule()
    return model


@pytest.mark.parametrize("name", RULES)
def test_rules_on_every_module(attribute, captum, rules, net, name):
    build, x = net
    kind, options = RULES[name]
    expected = captum.LRP(with_rules(build(), lambda: getattr(rules, kind)(**options))).attribute(x, 1, None, True)
    for made in (getattr(attrkit.attr, kind), getattr(rules, kind)):
        model = with_rules(build(), lambda: made(**options))  # noqa: B023 - called at once
        for _ in range(2):  # no rule is gone after the first time
            same(attribute("LRP", model)(x, 1, None, True, rules="epsilon_plus"), expected)


@pytest.mark.parametrize("name", RULES)
def test_rules_on_some_modules(attribute, captum, rules, name):
    kind, options = RULES[name]
    x = draw(3, 3, 8, 8)

    def build(package):
        model = built(lambda: Pipeline(batch_norm=True))
        model.features[3].rule, model.head[0].rule = (getattr(package, kind)(**options) for _ in range(2))
        return model

    same(attribute("LRP", build(attrkit.attr))(x, 1, rules="captum_default"), captum.LRP(build(rules)).attribute(x, 1))
    theirs, ours = build(rules), build(attrkit.attr)
    expected, _ = captum.LayerLRP(theirs, [theirs.features[0], theirs.features[3]]).attribute(
        x, 1, return_convergence_delta=True
    )
    found = attribute("LayerLRP", ours, [ours.features[0], ours.features[3]])(x, 1, rules="captum_default")
    same(found, list(expected))


def test_none_is_no_rule(attribute):
    model, x = built(mlp), draw(4, 6)
    expected = attribute("LRP", model)(x, 1)
    same(attribute("LRP", with_rules(model, lambda: None))(x, 1), expected)


def test_identity(attribute, captum, rules):
    """Where no activation comes before: behind one, Captum goes on with its plain gradient."""

    def build(package):
        model = built(
            lambda: nn.Sequential(
                nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
            )
        )
        for i in (0, 1, 2, 4):
            model[i].rule = package.IdentityRule()
        return model

    x = draw(3, 4)
    same(attribute("LRP", build(attrkit.attr))(x, 1), captum.LRP(build(rules)).attribute(x, 1))


def test_rules_of_one_s_own(attribute, captum, rules):
    def made(base):
        class Squared(base):
            """Shares by squared weights that depend on the data."""

            def _manipulate_weights(self, module, inputs, outputs):
                if hasattr(module, "weight"):
                    assert isinstance(module, nn.Linear | nn.Conv2d)
                    module.weight.data = module.weight.data**2 * (1 + float(outputs.abs().mean())) + float(inputs[0].mean())
                    module.bias.data = torch.zeros_like(module.bias.data)

        return Squared

    for kinds, factory, x in ((nn.Linear, mlp, draw(4, 6)), (nn.Conv2d, lambda: Pipeline(), draw(3, 3, 8, 8))):
        expected = captum.LRP(with_rules(built(factory), made(rules.PropagationRule), kinds)).attribute(x, 1, None, True)
        for base in (attrkit.attr.PropagationRule, attrkit.attr.EpsilonRule, rules.PropagationRule):
            found = attribute("LRP", with_rules(built(factory), made(base), kinds))(x, 1, None, True, rules="captum_default")
            same(found, expected)


def test_subclasses_that_preset_options(attribute, captum, rules):
    def made(package):
        class Mine(package.GammaRule):
            def __init__(self):
                super().__init__(gamma=0.7)

        return with_rules(built(mlp), Mine, nn.Linear)

    x = draw(4, 6)
    same(attribute("LRP", made(attrkit.attr))(x, 1), captum.LRP(made(rules)).attribute(x, 1))


def test_layers_of_lrp_at_their_inputs(attribute, captum):
    theirs, ours, x = built(mlp), built(mlp), draw(3, 6)
    for i in (0, 2, 4):
        expected = captum.LayerLRP(theirs, theirs[i]).attribute(x, 1, attribute_to_layer_input=True)
        same(attribute("LayerLRP", ours, ours[i])(x, 1, attribute_to_layer_input=True, rules="captum_default"), expected)


# Where Captum is not right.


def adjacent():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))


def probabilities():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax(1))


def functional():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return torch.sigmoid(self.other(self.one(x).relu())) * x[:, :3]

    return Functional()


@pytest.mark.parametrize(
    ("factory", "x"),
    [(adjacent, draw(3, 2, 8, 8)), (probabilities, draw(3, 6)), (functional, draw(3, 6)), (Reused, draw(3, 4))],
)
def test_deeplift_is_complete_where_captum_s_is_not(attribute, captum, factory, x):
    model, baseline = built(factory), draw(*x.shape, seed=5)
    given = {"target": 1, "return_convergence_delta": True}
    assert float(attribute("DeepLift", model)(x, baseline, **given)[1].abs().max()) < 1e-12
    assert float(attribute("DeepLiftShap", model)(x, baseline, **given)[1].abs().max()) < 1e-12
    try:
        _, delta = captum.DeepLift(built(factory)).attribute(x, baseline, **given)
    except RuntimeError:
        return
    assert float(delta.abs().max()) > 1e-4


def test_an_example_s_deeplift_does_not_depend_on_others(attribute):
    model, x = built(probabilities), draw(3, 6)
    whole = attribute("DeepLift", model)(x, target=1)
    for i in range(3):
        same(attribute("DeepLift", model)(x[i : i + 1], target=1), whole[i : i + 1])


@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution"])
def test_functional_rectifiers_are_governed_as_modules_are(attribute, captum, name):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            for layer in self.net:
                x = torch.relu_(x) if isinstance(layer, nn.ReLU) else layer(x)
            return x

    model, x = built(Functional), draw(4, 6)
    same(attribute(name, model)(x, 1), getattr(captum, name)(model.net).attribute(x, 1))
