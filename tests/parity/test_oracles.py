"""The oracles of propagation against zennit and Captum, where those are right, in float64; nothing of them is copied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.plugins.models import built, cnn, draw, mlp
from tests.plugins.propagation.oracles import chains, deeplift, linear

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers'

NETS = {"mlp": (mlp, draw(3, 6, seed=1)), "cnn": (cnn, draw(3, 2, 8, 8, seed=1))}
nets = pytest.mark.parametrize("net", NETS)
TARGET, LOW, HIGH, MARGIN = 1, -3.5, 4.0, 0.01

#: Of zennit's rules: the oracle's, and its options.
RULES = {
    "Epsilon": (linear.epsilon, {"epsilon": MARGIN}),
    "Gamma": (linear.gamma, {"gamma": 0.4}),
    "ZPlus": (linear.zplus, {}),
    "AlphaBeta": (linear.alphabeta, {"alpha": 2.5, "beta": 1.5}),
    "WSquare": (linear.wsquare, {}),
    "Flat": (linear.flat, {}),
}


def same(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def made(net):
    factory, x = NETS[net]
    return built(factory), x


def by_zennit(zennit, model, x, rules, *, value=True):
    """What zennit attributes under a map from types to hooks, in a composite of its own."""
    composite = rules if isinstance(rules, zennit.core.Composite) else zennit.composites.LayerMapComposite(rules)
    start = chains.one_hot(model, x, TARGET, value=value)
    with zennit.attribution.Gradient(model=model, composite=composite) as attributor:
        return attributor(x, start)[1]


@nets
@pytest.mark.parametrize("bias", ["absorb", "zero"])
@pytest.mark.parametrize("name", RULES)
def test_zennit_s_rules(zennit, net, name, bias):
    model, x = made(net)
    rule, options = RULES[name]
    given = {"epsilon": MARGIN} if name == "Epsilon" else {"stabilizer": MARGIN}
    zeroed = {} if name == "Flat" else {"zero_params": ["bias"] if bias == "zero" else None}
    hook = getattr(zennit.rules, name)(**{**options, **given, **zeroed})
    rules = [
        (zennit.types.Activation, zennit.rules.Pass()),
        (zennit.types.AvgPool, zennit.rules.Norm(stabilizer=MARGIN)),
        (zennit.types.Linear, hook),
    ]
    ours = chains.by(rule, **{**options, **given}, bias=bias)
    found = chains.relevance(model, x, TARGET, ours, average=chains.by(linear.epsilon, epsilon=MARGIN))
    same(found, by_zennit(zennit, model, x, rules))


@pytest.mark.parametrize("bias", ["absorb", "zero"])
@pytest.mark.parametrize("layer", [lambda: nn.Linear(3, 4), lambda: nn.Conv1d(2, 3, 2, padding=1)], ids=["dense", "conv1d"])
def test_zennit_s_zbox(zennit, bias, layer):
    model, x = built(lambda: nn.Sequential(layer())), draw(4, 2, 3)
    x = x if isinstance(model[0], nn.Conv1d) else x[:, 0]
    box = {"low": torch.full_like(x, LOW), "high": torch.full_like(x, HIGH)}
    hook = zennit.rules.ZBox(**box, stabilizer=MARGIN, zero_params=["bias"] if bias == "zero" else None)
    ours = chains.by(linear.zbox, low=LOW, high=HIGH, stabilizer=MARGIN, bias=bias)
    same(chains.relevance(model, x, TARGET, ours), by_zennit(zennit, model, x, [(zennit.types.Linear, hook)]))


@nets
@pytest.mark.parametrize("name", ["guided", "deconvnet", "beta_smooth"])
def test_zennit_s_gradients(zennit, net, name):
    model, x = made(net)
    relu = chains.beta_smooth(7.0) if name == "beta_smooth" else getattr(chains, name)
    composite = {
        "guided": zennit.composites.GuidedBackprop,
        "deconvnet": zennit.composites.DeconvNet,
        "beta_smooth": lambda: zennit.composites.BetaSmooth(beta_smooth=7.0),
    }[name]()
    same(chains.gradient(model, x, TARGET, relu), by_zennit(zennit, model, x, composite, value=False))


@nets
def test_zennit_s_excitation(zennit, net):
    model, x = made(net)
    composite = zennit.composites.ExcitationBackprop(stabilizer=1e-15, zero_params=["bias"])
    same(chains.excitation(model, x, TARGET), by_zennit(zennit, model, x, composite, value=False))


CAPTUM = {
    "EpsilonRule": (linear.epsilon, {"epsilon": 1e-9}, {}),
    "GammaRule": (linear.gamma_positive, {"gamma": 0.25, "stabilizer": 1e-9}, {}),
    "GammaRule, no bias": (
        linear.gamma_positive,
        {"gamma": 0.25, "stabilizer": 1e-9, "bias": "zero"},
        {"set_bias_to_zero": True},
    ),
    "Alpha1_Beta0_Rule": (linear.weights_plus, {"stabilizer": 1e-9}, {}),
    "Alpha1_Beta0_Rule, no bias": (linear.weights_plus, {"stabilizer": 1e-9, "bias": "zero"}, {"set_bias_to_zero": True}),
}


@pytest.mark.parametrize("name", CAPTUM)
def test_captum_s_rules(captum, name):
    model, x = made("mlp")
    rule, options, given = CAPTUM[name]
    kind = getattr(pytest.importorskip("captum.attr._utils.lrp_rules"), name.partition(",")[0])
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.rule = kind(**given)
    expected = captum.LRP(model).attribute(x, target=TARGET)
    same(chains.relevance(model, x, TARGET, chains.by(rule, **options)), expected)


@nets
@pytest.mark.parametrize(("name", "relu"), [("GuidedBackprop", chains.guided), ("Deconvolution", chains.deconvnet)])
def test_captum_s_gradients(captum, net, name, relu):
    model, x = made(net)
    same(chains.gradient(model, x, TARGET, relu), getattr(captum, name)(model).attribute(x, target=TARGET))


def smooth():
    return nn.Sequential(*(
        layer for act in (nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.LeakyReLU(0.1), nn.Softplus(), nn.ReLU())
        for layer in (nn.Linear(6, 6), act)
    ), nn.Linear(6, 3))  # fmt: skip


def pools():
    """A max-pool whose neighbours are linear: next to a non-linearity, Captum's is not complete."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 5, 1), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("factory", "x"), [(mlp, NETS["mlp"][1]), (smooth, draw(3, 6)), (pools, draw(3, 2, 8, 8))], ids=["mlp", "smooth", "pools"]
)
def test_captum_s_deeplift(captum, factory, x):
    model, reference = built(factory), draw(*x[:1].shape, seed=5)
    expected = captum.DeepLift(model).attribute(x, reference, target=TARGET)
    same(deeplift.attributions(model, x, reference, TARGET), expected)
