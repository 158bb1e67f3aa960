"""The shipped rulesets, each against what its paper says, step by step; and what all of them have to hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attrkit.registry import registry
from attrkit.rulesets.reader import read_ruleset
from tests.plugins.models import built, cnn, draw, mlp
from tests.plugins.propagation.nets import FAMILIES, NETS
from tests.plugins.propagation.oracles import chains, linear
from tests.plugins.propagation.oracles.chains import WEIGHTED, by
from tests.plugins.propagation.oracles.linear import stabilized
from tests.plugins.propagation.test_conservation import unbiased

IMAGES = draw(2, 2, 8, 8, seed=1)
BOX = {"low": -4.0, "high": 4.0}
TINY = {"epsilon": 1e-13, "relative": True}
ABSOLUTE = 0.02


def same(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.fixture
def relevance(explain):
    """Relevance of the output at target 1 under a ruleset, for one input."""

    def of(model, x, rules, **parameters):
        return explain(model, x, "lrp", rules=rules, parameters=parameters, target=1).values["input"]

    return of


def chain(model, x, rule, average=None):
    return chains.relevance(model, x, 1, rule, average=average)


def vgg():
    """Seven linear maps: by depth, convolutions at 0, 1/6, 2/6, 3/6 and 4/6, dense layers at 5/6 and 1."""
    layers = []
    for into, out in ((2, 4), (4, 4), (4, 5), (5, 5), (5, 6)):
        layers += [nn.Conv2d(into, out, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(4), nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3))


# One rule everywhere.


def test_lrp_0_is_sharing_by_contribution_without_a_margin(relevance):
    model = built(cnn)
    x = IMAGES.clone()
    same(relevance(model, x, "lrp_0"), chain(model, x, by(linear.epsilon)))
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    same(relevance(model, x, "lrp_0"), x * gradient)


@pytest.mark.parametrize("margin", [ABSOLUTE, {"epsilon": 0.05, "relative": True}])
@pytest.mark.parametrize("bias", ["absorb", "zero", "distribute"])
def test_epsilon(relevance, margin, bias):
    model = built(vgg if bias == "distribute" else cnn)
    rule, average = by(linear.epsilon, epsilon=margin, bias=bias), by(linear.epsilon, epsilon=margin)
    expected = chain(model, IMAGES, rule, average)
    same(relevance(model, IMAGES, "epsilon", epsilon=margin, bias=bias), expected)


def test_excitation_backprop_is_winning_probabilities_times_the_output(relevance):
    model = built(cnn)
    with torch.no_grad():
        output = model(IMAGES)[:, 1]
    found = relevance(model, IMAGES, "excitation_backprop") / output[:, None, None, None]
    same(found, chains.excitation(model, IMAGES, 1))


@pytest.mark.parametrize("bias", ["absorb", "zero", "distribute"])
@pytest.mark.parametrize("name", ["epsilon_plus", "epsilon_alpha2_beta1"])
def test_composites(relevance, name, bias):
    model = built(vgg if bias == "distribute" else cnn)
    rule = linear.zplus if name == "epsilon_plus" else linear.alphabeta
    convolutions, dense = by(rule, stabilizer=ABSOLUTE, bias=bias), by(linear.epsilon, epsilon=0.05, bias=bias)

    def back(module, *given):
        return (dense if isinstance(module, nn.Linear) else convolutions)(module, *given)

    expected = chain(model, IMAGES, back, by(linear.epsilon, epsilon=ABSOLUTE))
    same(relevance(model, IMAGES, name, epsilon=0.05, stabilizer=ABSOLUTE, bias=bias), expected)


def test_montavon_vgg(relevance):
    model, default = built(vgg), {"epsilon": 1e-6, "relative": True}
    maps = [module for module in model if isinstance(module, WEIGHTED)]
    lower = by(linear.gamma_positive, gamma=0.4, favour_bias=True, stabilizer=default)
    middle = by(linear.epsilon, epsilon={"epsilon": 0.25, "relative": True})
    rules = [by(linear.zbox, **BOX, stabilizer=default), lower, lower, middle, middle, by(linear.epsilon), by(linear.epsilon)]

    def back(module, *given):
        return rules[next(i for i, one in enumerate(maps) if one is module)](module, *given)

    same(relevance(model, IMAGES, "montavon_vgg", gamma=0.4, **BOX), chain(model, IMAGES, back))


@pytest.mark.parametrize(
    ("name", "relu"),
    [("guided_backprop", chains.guided), ("deconvnet", chains.deconvnet), ("beta_smooth", chains.beta_smooth())],
)
def test_gradients_with_another_relu(relevance, name, relu):
    model = built(vgg)
    same(relevance(model, IMAGES, name), chains.gradient(model, IMAGES, 1, relu))


def test_beta_of_beta_smooth(relevance):
    model = built(vgg)
    same(relevance(model, IMAGES, "beta_smooth", beta=3), chains.gradient(model, IMAGES, 1, chains.beta_smooth(3.0)))


def test_the_gradient_of_a_relu_in_place(relevance):
    there, here = built(vgg), built(vgg)
    for module in here:
        if isinstance(module, nn.ReLU):
            module.inplace = True
    for name in ("deconvnet", "beta_smooth", "guided_backprop"):
        same(relevance(here, IMAGES, name), relevance(there, IMAGES, name))


# Recurrent nets.


def lstm_all(cell, head, x, target, epsilon):
    """Relevance of an output of the last step's hidden state, by LRP-all (arXiv:1706.07206), backwards step by step.

    A product of gate and signal gives everything to the signal; a weighted sum, that of cell states among them, shares by
    contribution with a margin.
    """
    W, U = cell.weight_ih_l0.detach(), cell.weight_hh_l0.detach()
    added = (cell.bias_ih_l0 + cell.bias_hh_l0).detach()
    size = U.shape[1]
    h, c = [torch.zeros(len(x), size).double()], [torch.zeros(len(x), size).double()]
    kept = []
    for t in range(x.shape[1]):
        z = x[:, t] @ W.T + h[-1] @ U.T + added
        i, f, g, o = z.chunk(4, -1)
        signal, memory = torch.sigmoid(i) * torch.tanh(g), torch.sigmoid(f) * c[-1]
        kept.append((g, signal, memory))
        c.append(signal + memory)
        h.append(torch.sigmoid(o) * torch.tanh(c[-1]))

    def shared(parts, total, upper):
        return parts * (upper / by_example(total))

    def by_example(total):
        return torch.stack([stabilized(one, epsilon) for one in total])

    output = h[-1] @ head.weight.detach().T + head.bias.detach()
    upper = output[:, target] / by_example(output)[:, target]
    of_h = h[-1] * head.weight.detach()[target] * upper[:, None]
    of_c = torch.zeros_like(of_h)
    found = torch.zeros_like(x)
    for t in reversed(range(x.shape[1])):
        g, signal, memory = kept[t]
        of_c = of_c + of_h
        of_g, of_c = shared(signal, c[t + 1], of_c), shared(memory, c[t + 1], of_c)
        share = of_g / by_example(g)
        rows = slice(2 * size, 3 * size)
        found[:, t], of_h = x[:, t] * (share @ W[rows]), h[t] * (share @ U[rows])
    return found


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.05])
def test_lstm_all(explain, epsilon):
    model, (x,) = NETS["lstm"].built(), NETS["lstm"].inputs()
    found = explain(model, x, "lrp", rules="lstm_all", parameters={"epsilon": epsilon}, target=1).values["x"]
    after = 1 if epsilon else 0  # a first step adds to a state of zeros, which is no sum of two things that are explained
    same(found[:, after:], lstm_all(model.cells, model.head, x, 1, epsilon)[:, after:])


def test_lstm_all_of_cells(explain):
    class Cells(nn.Module):
        """The LSTM of the other test, step by step."""

        def __init__(self, model):
            super().__init__()
            self.cell, self.head = nn.LSTMCell(4, 5).double(), model.head
            for name, values in model.cells.named_parameters():
                getattr(self.cell, name.removesuffix("_l0")).data.copy_(values)

        def forward(self, x):
            state = (x.new_zeros(len(x), 5), x.new_zeros(len(x), 5))
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return self.head(state[0])

    model, (x,) = NETS["lstm"].built(), NETS["lstm"].inputs()
    found = explain(Cells(model), x, "lrp", rules="lstm_all", parameters={"epsilon": 0.01}, target=1).values["x"]
    same(found[:, 1:], lstm_all(model.cells, model.head, x, 1, 0.01)[:, 1:])


def test_lstm_all_loses_nothing_without_biases(explain):
    model, (x,) = NETS["lstm"].built(), NETS["lstm"].inputs()
    for name, values in model.named_parameters():
        if "bias" in name:
            values.data.zero_()
    found = explain(model, x, "lrp", rules="lstm_all", parameters={"epsilon": 0.0}, target=1)
    torch.testing.assert_close(found.values["x"].flatten(1).sum(1), found.output, rtol=1e-9, atol=1e-12)


# The one for every model.

IGNORED = pytest.mark.filterwarnings("ignore")  # it says of what no rule is for that its own gradient is kept


@IGNORED
@pytest.mark.parametrize("name", NETS)
def test_default_refuses_no_model(explain, name):
    if name == "tokens":
        pytest.skip("tokens have no relevance; their embedding has")
    model, inputs = NETS[name].built(), NETS[name].inputs()
    found = explain(model, inputs if len(inputs) > 1 else inputs[0], "lrp", rules="default", target=1)
    for values in found.values.values():
        assert values.isfinite().all()
        assert all(one.any() for one in values)


@pytest.mark.parametrize("model", [cnn, mlp, lambda: cnn(batch_norm=True)])
def test_default_is_captums_where_captum_has_rules(explain, model):
    x = draw(3, 6) if model is mlp else IMAGES
    found, expected = (
        explain(built(model), x, "lrp", rules=rules, target=1).values["input"] for rules in ("default", "captum_default")
    )
    same(found, expected, 1e-15)


@IGNORED
@pytest.mark.parametrize("name", [*FAMILIES["attention"], "gated silu"])
def test_default_is_attnlrp_where_captum_has_no_rules(explain, name):
    model, inputs = NETS[name].built(), NETS[name].inputs()
    given = inputs if len(inputs) > 1 else inputs[0]
    found = explain(model, given, "lrp", rules="default", parameters={"epsilon": 0.0}, target=1).values
    expected = explain(model, given, "lrp", rules="attnlrp", target=1).values
    for key in expected:
        same(found[key], expected[key], 1e-9)


# Nothing is lost.

CONSERVING = {
    "lrp_0": {},
    "epsilon": {"epsilon": TINY},
    "epsilon_plus": {"epsilon": TINY, "stabilizer": TINY},
    "epsilon_alpha2_beta1": {"epsilon": TINY, "stabilizer": TINY},
    "epsilon_gamma_box": {"epsilon": TINY, "stabilizer": TINY, **BOX},
    "default": {"epsilon": TINY},
}
#: Nets in which nothing is added but biases.
SUMS = ("cnn", "cnn with batch norm", "residual", "inception", "conv1d", "conv3d", "weight norm")
#: Where some outputs have no positive contribution, or, for alphabeta, none of one sign, their part is lost by definition.
ONE_SIGN = {
    "epsilon_plus": ("separable", "dense block", "upsampling", "transposed"),
    "epsilon_alpha2_beta1": (
        "cnn", "cnn with batch norm", "residual", "inception", "separable", "dense block", "upsampling", "transposed",
    ),
}  # fmt: skip


def total(explain, name, ruleset, **place):
    model, (x,) = unbiased(NETS[name].built()), NETS[name].inputs()
    found = explain(model, x, "lrp", rules=ruleset, parameters=CONSERVING[ruleset], target=1, **place)
    return sum(values.flatten(1).sum(1) for values in found.values.values()) / found.output


@pytest.mark.parametrize("ruleset", CONSERVING)
@pytest.mark.parametrize("name", [*SUMS, "separable", "dense block", "upsampling", "transposed"])
def test_the_input_has_all_of_it(explain, ruleset, name):
    if name in ONE_SIGN.get(ruleset, ()):
        pytest.skip("contributions of one sign alone")
    torch.testing.assert_close(total(explain, name, ruleset), torch.ones(2).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ruleset", ["lrp_0", "epsilon", "epsilon_plus", "default"])
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("cnn", ["0", "4", "6", "10"]),
        ("cnn with batch norm", ["0", "1", "5", "6", "14"]),
        ("residual", ["conv", "bn", "block1", "block2"]),
    ],
)
def test_every_layer_has_all_of_it(explain, ruleset, name, layers):
    for layer in layers:
        found = total(explain, name, ruleset, layer=layer)
        torch.testing.assert_close(found, torch.ones(2).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["squeeze and excite", "group norm", "instance norm", "local response norm"])
def test_default_loses_nothing_at_products_and_norms(explain, name):
    torch.testing.assert_close(total(explain, name, "default"), torch.ones(2).double(), rtol=0, atol=1e-6)


# What they say of themselves.

SHIPPED = sorted(registry.rulesets())


def test_what_is_shipped():
    assert {
        "lrp_0", "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_alpha2_beta1_flat",
        "epsilon_gamma_box", "montavon_vgg", "excitation_backprop", "captum_default", "attnlrp", "attnlrp_vit", "cp_lrp",
        "default", "lstm_all", "deeplift_rescale", "deeplift_reveal_cancel", "deeplift_transformer", "guided_backprop",
        "deconvnet", "beta_smooth",
    } <= set(SHIPPED)  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_each_says_what_it_is_for_and_what_its_parameters_mean(name):
    ruleset = read_ruleset(name, registry)
    assert ruleset.name == name
    assert ruleset.doc
    for parameter in ruleset.parameters.values():
        assert parameter.doc, parameter.name
