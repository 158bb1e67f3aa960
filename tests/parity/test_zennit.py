"""LRP against zennit's composites, in float64. zennit is called, and nothing of it is copied.

zennit needs a module for every operation, sums included; attrkit explains the unmodified net of the same weights. Batch norms
have an eps of 0: the merged ones of zennit's release still divide by one plus theirs.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.parity.nets import ModularResidual, Pipeline
from tests.plugins.models import Residual, built, draw

pytestmark = pytest.mark.filterwarnings("ignore")  # of zennit's; what attrkit warns about has tests of its own

IMAGES = draw(3, 3, 8, 8, seed=1)
LOW, HIGH = -3.0, 4.0
BOX = {"low": torch.full_like(IMAGES, LOW), "high": torch.full_like(IMAGES, HIGH)}
#: Of each of zennit's composites: the ruleset, its parameters, and what zennit is given.
COMPOSITES = {
    "EpsilonPlus": ("epsilon_plus", {}, {}),
    "EpsilonPlusFlat": ("epsilon_plus_flat", {}, {}),
    "EpsilonAlpha2Beta1": ("epsilon_alpha2_beta1", {}, {}),
    "EpsilonAlpha2Beta1Flat": ("epsilon_alpha2_beta1_flat", {}, {}),
    "EpsilonGammaBox": ("epsilon_gamma_box", {"low": LOW, "high": HIGH}, BOX),
}
composites = pytest.mark.parametrize("composite", COMPOSITES)


@pytest.fixture
def summing(zennit):
    """The sum of zennit as a module that takes two tensors."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.sum = zennit.layer.Sum()

        def forward(self, a, b):
            return self.sum(torch.stack([a, b], dim=-1))

    return Sum


@pytest.fixture(params=["vgg", "vgg with batch norm", "resnet"])
def nets(request, summing):
    """The net that zennit explains and the one that attrkit does, of the same weights."""
    if request.param == "resnet":
        theirs, ours = built(lambda: ModularResidual(summing)), built(Residual)
        ours.load_state_dict(theirs.state_dict())
    else:
        theirs, ours = (built(lambda: Pipeline(batch_norm="norm" in request.param)) for _ in range(2))
    for model in (theirs, ours):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    return theirs, ours


def relevance(zennit, model, composite, **given):
    """What zennit attributes for the output at target 1."""
    made = getattr(zennit.composites, composite)(canonizers=[zennit.canonizers.SequentialMergeBatchNorm()], **given)

    def at_target(output):
        return output * torch.eye(3, dtype=torch.float64)[1]

    with zennit.attribution.Gradient(model=model, composite=made) as attributor:
        return attributor(IMAGES, at_target)[1]


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@composites
def test_composites(explain, zennit, nets, composite):
    theirs, ours = nets
    ruleset, parameters, given = COMPOSITES[composite]
    found = explain(ours, IMAGES, "lrp", rules=ruleset, parameters=parameters, target=1)
    same(found.values["x"], relevance(zennit, theirs, composite, **given))


@composites
def test_composites_without_biases(explain, zennit, nets, composite):
    theirs, ours = nets
    ruleset, parameters, given = COMPOSITES[composite]
    found = explain(ours, IMAGES, "lrp", rules=ruleset, parameters={**parameters, "bias": "zero"}, target=1)
    same(found.values["x"], relevance(zennit, theirs, composite, zero_params=["bias"], **given))


@composites
def test_composites_with_other_margins(explain, zennit, nets, composite):
    theirs, ours = nets
    ruleset, parameters, given = COMPOSITES[composite]
    margins = {"epsilon": 0.02, "stabilizer": 0.05, **({"gamma": 0.7} if composite == "EpsilonGammaBox" else {})}
    found = explain(ours, IMAGES, "lrp", rules=ruleset, parameters={**parameters, **margins}, target=1)
    same(found.values["x"], relevance(zennit, theirs, composite, **margins, **given))


def excited(zennit, model, **given):
    made = zennit.composites.ExcitationBackprop(canonizers=[zennit.canonizers.SequentialMergeBatchNorm()], **given)
    with zennit.attribution.Gradient(model=model, composite=made) as attributor:
        return attributor(IMAGES, lambda output: output * torch.eye(3, dtype=torch.float64)[1])[1]


@pytest.mark.parametrize("bias", ["absorb", "zero"])
def test_excitation_backprop(explain, zennit, nets, bias):
    theirs, ours = nets
    parameters = {"stabilizer": 1e-6, "bias": bias}
    found = explain(ours, IMAGES, "lrp", rules="excitation_backprop", parameters=parameters, target=1)
    same(found.values["x"], excited(zennit, theirs, **({} if bias == "absorb" else {"zero_params": ["bias"]})))


@pytest.mark.parametrize(
    ("composite", "rules", "parameters", "given"),
    [
        ("GuidedBackprop", "guided_backprop", {}, {}),
        ("DeconvNet", "deconvnet", {}, {}),
        ("BetaSmooth", "beta_smooth", {}, {}),
        ("BetaSmooth", "beta_smooth", {"beta": 2.0}, {"beta_smooth": 2.0}),
    ],
)
def test_gradients(explain, zennit, nets, composite, rules, parameters, given):
    theirs, ours = nets
    made = getattr(zennit.composites, composite)(**given)
    with zennit.attribution.Gradient(model=theirs, composite=made) as attributor:
        expected = attributor(IMAGES, lambda output: torch.eye(3, dtype=torch.float64)[1].expand_as(output))[1]
    same(explain(ours, IMAGES, "lrp", rules=rules, parameters=parameters, target=1).values["x"], expected)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_epsilon_everywhere(explain, zennit, nets, epsilon):
    theirs, ours = nets
    rules, types = zennit.rules, zennit.types
    layers = [
        *((kind, rules.Pass()) for kind in (types.Activation, types.BatchNorm)),
        *((kind, rules.Norm(epsilon)) for kind in (types.AvgPool, zennit.layer.Sum)),
        (types.Linear, rules.Epsilon(epsilon)),
    ]
    made = zennit.composites.LayerMapComposite(layers, canonizers=[zennit.canonizers.SequentialMergeBatchNorm()])
    with zennit.attribution.Gradient(model=theirs, composite=made) as attributor:
        expected = attributor(IMAGES, lambda output: output * torch.eye(3, dtype=torch.float64)[1])[1]
    found = explain(ours, IMAGES, "lrp", rules="epsilon", parameters={"epsilon": epsilon}, target=1)
    same(found.values["x"], expected)
