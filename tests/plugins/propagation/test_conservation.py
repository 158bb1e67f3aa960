"""Relevance is neither made nor lost: at every layer of a net that nobody rewrote, its sum is the output."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.plugins.models import Block, Residual, Reused, Tokens, TwoInputs, built, cnn, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset

TINY = {"epsilon": 1e-12, "relative": True}
IMAGES = draw(3, 3, 8, 8, seed=1)

#: The shipped rulesets with their biases left out, where they have biases of their own.
RULESETS = {
    "epsilon_plus": {"epsilon": TINY, "stabilizer": TINY, "bias": "zero"},
    "epsilon_plus_flat": {"epsilon": TINY, "stabilizer": TINY, "bias": "zero"},
    "epsilon_gamma_box": {"epsilon": TINY, "stabilizer": TINY, "bias": "zero", "low": -4.0, "high": 4.0},
    "captum_default": {"epsilon": TINY},
}
shipped = pytest.mark.parametrize("name", RULESETS)

#: Layers that all relevance passes through, and the layers of each branch, whose sums are equal.
WHOLE = ["conv", "bn", "relu", "block1", "block2", "fc"]
BRANCHES = {"block1": ["conv1", "bn1", "conv2", "bn2"], "block2": ["conv1", "bn1", "conv2", "bn2"]}


def unbiased(model):
    """The model without anything that is added: biases, and what batch norms subtract."""
    for module in model.modules():
        for name in ("bias", "running_mean"):
            if getattr(module, name, None) is not None:
                getattr(module, name).data.zero_()
    return model


@pytest.fixture(scope="module")
def models():
    """The net with and without biases; captum_default treats a batch norm as a layer with a bias of its own."""
    return {name: unbiased(built(Residual)) if name == "captum_default" else built(Residual) for name in RULESETS}


@pytest.fixture
def total(explain, models):
    """The sum of relevance for each example at a layer, relative to the output, under a ruleset."""

    def summed(name, **place):
        found = explain(models[name], IMAGES, "lrp", rules=name, parameters=RULESETS[name], target=1, **place)
        return sum(v.flatten(1).sum(1) for v in found.values.values()) / found.output

    return summed


def ones(found):
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-6)


@shipped
def test_the_input_has_all_of_it(total, name):
    ones(total(name))


@shipped
@pytest.mark.parametrize("layer", WHOLE)
def test_every_layer_in_the_trunk_has_all_of_it(total, name, layer):
    ones(total(name, layer=layer))
    ones(total(name, layer=layer, attribute_to_layer_input=True))


@shipped
@pytest.mark.parametrize("block", BRANCHES)
def test_the_layers_of_a_branch_have_the_same(total, name, block):
    sums = [total(name, layer=f"{block}.{part}") for part in BRANCHES[block]]
    assert (sums[0] - 1).abs().min() > 1e-3  # a branch has a part of it
    for other in sums[1:]:
        torch.testing.assert_close(other, sums[0], rtol=0, atol=1e-6)


@shipped
def test_the_two_branches_of_a_sum_have_all_of_it_together(total, name):
    ones(total(name, layer="block2.bn2") + total(name, layer="block2.shortcut"))


@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_gamma_box"])
def test_batch_norms_are_merged_by_where_data_flows_not_by_where_modules_stand(explain, name):
    class Shuffled(nn.Module):
        """Registers its layers in another order than it runs them, and uses a convolution's output beside its batch norm's."""

        def __init__(self):
            super().__init__()
            self.second = nn.Conv2d(4, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.first = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            y = self.first(x)
            y = torch.relu(self.norm(y) + y)
            return self.head(self.norm(self.second(y)).relu().mean((2, 3)))

    given = {"rules": name, "parameters": RULESETS[name], "target": 0}
    found = explain(built(Shuffled), IMAGES, "lrp", **given)
    assert [(r["path"], r["rule"]) for r in found.rules if r["operation"] == "batch_norm"] == [
        ("norm", "merged into first"),
        ("norm", "merged into second"),
    ]
    ones(found.values["x"].flatten(1).sum(1) / found.output)


class Stages(nn.Module):
    """Linear maps and poolings in functional forms, with views, slices and concatenations between them."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(0.3 * torch.randn(4, 3, 3, 3))
        self.b = nn.Parameter(0.3 * torch.randn(8, 10))
        self.c = nn.Parameter(0.3 * torch.randn(2, 10))

    def forward(self, x):
        y = nn.functional.conv2d(x, self.a, stride=2, padding=1).relu_()
        y = torch.cat([y[:, ::2], nn.functional.avg_pool2d(y[:, 1::2], 3, 1, 1)], dim=1)
        y = nn.functional.interpolate(y, scale_factor=2).permute(0, 2, 3, 1).reshape(len(x), 8, -1)
        y = y.amax(2) @ self.b
        return nn.functional.linear(torch.relu(y), self.c)


#: Nets without biases, and an input.
NETS = {
    "stages": (Stages, IMAGES),
    "cnn": (lambda: cnn(batch_norm=True), draw(2, 2, 8, 8)),
    "mlp": (lambda: mlp(bias=False), draw(3, 6)),
    "reused": (lambda: Reused(bias=False), draw(3, 4)),
    "two inputs": (TwoInputs, (draw(3, 4), draw(3, 2, 3))),
    "blocks": (lambda: nn.Sequential(Block(3, 3), Block(3, 2, 2), nn.AdaptiveMaxPool2d(1), nn.Flatten()), IMAGES),
}
EVERYWHERE = {
    rule: ruleset(
        entry({"op": "linear_like"}, rule, **{"epsilon" if rule == "epsilon" else "stabilizer": TINY}),
        entry({"op": "add"}, "epsilon", epsilon=TINY, optional=True),
        entry({"op": ["activation", "batch_norm"]}, "pass", optional=True),
        canonize=["merge_batch_norm"],
    )
    for rule in ("epsilon", "gamma")
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("rule", EVERYWHERE)
def test_one_rule_everywhere(explain, net, rule):
    factory, inputs = NETS[net]
    found = explain(unbiased(built(factory)), inputs, "lrp", rules=EVERYWHERE[rule], target=1)
    assert found.output.abs().max() > 1e-3
    total = sum(v.flatten(1).sum(1) for v in found.values.values())
    torch.testing.assert_close(total, found.output, rtol=1e-6, atol=1e-9)


def test_tokens_have_their_relevance_at_the_embedding(explain):
    found = explain(
        unbiased(built(Tokens)), torch.tensor([[1, 2, 3, 4], [9, 9, 0, 10]]), "lrp", layer="embedding", target=2,
        rules="epsilon_plus", parameters=RULESETS["epsilon_plus"],
    )  # fmt: skip
    ones(found.values["embedding"].sum((1, 2)) / found.output)


@shipped
def test_the_delta_says_what_biases_took(attribute, name):
    given = {"rules": name, "target": 1, "return_convergence_delta": True}
    given["parameters"] = {"low": -4.0, "high": 4.0} if name == "epsilon_gamma_box" else {}
    model = built(Residual)
    found, delta = attribute("LRP", model)(IMAGES, **given)
    output = model(IMAGES)[:, 1].detach()
    torch.testing.assert_close(delta, output - found.sum((1, 2, 3)), rtol=1e-12, atol=1e-12)
    assert delta.abs().min() > 1e-6
