"""What becomes of a bias's share, in every rule for linear maps, against the matrices of ``oracles.linear``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.plugins.models import built, draw
from tests.plugins.propagation.oracle import entry, ruleset
from tests.plugins.propagation.oracles import linear
from tests.plugins.propagation.oracles.linear import map_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own, of even kernels

MAPS = {
    "dense": (lambda: nn.Linear(5, 4), (5,)),
    "dense over time": (lambda: nn.Linear(3, 4), (2, 3)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2), (2, 9)),
    "conv1d, same": (lambda: nn.Conv1d(2, 3, 4, padding="same"), (2, 5)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 5, 4)),
    "conv2d of many channels": (lambda: nn.Conv2d(6, 3, 3, padding=1), (6, 4, 3)),
    "conv2d in groups": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 4, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, stride=(1, 2, 1), padding=(1, 0, 0)), (2, 3, 3, 3)),
    "transposed conv2d": (lambda: nn.ConvTranspose2d(4, 2, 3, (2, 1), dilation=(1, 2)), (4, 3, 2)),
    "transposed conv2d in groups": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2, output_padding=1), (4, 3, 2)),
}
ABSOLUTE, RELATIVE = 0.03, {"epsilon": 0.02, "relative": True}
MARGINS = {"absolute": ABSOLUTE, "relative": RELATIVE}
RULES = {
    "epsilon": {},
    "gamma": {"gamma": 0.7},
    "gamma_positive": {"gamma": 0.7},
    "weights_plus": {},
    "zplus": {},
    "alphabeta": {"alpha": 1.5, "beta": 0.5},
    "zbox": {"low": -1.5, "high": 2.0},
    "wsquare": {},
}
BEFORE = {"at the input": nn.Identity, "above tanh": nn.Tanh, "above relu": nn.ReLU}
rules = pytest.mark.parametrize("rule", RULES)
policies = pytest.mark.parametrize("bias", ["absorb", "zero", "distribute"])


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def margin_of(rule):
    return "epsilon" if rule == "epsilon" else "stabilizer"


class Read(nn.Module):
    """A function, a linear map above it, and a readout of known weights."""

    def __init__(self, module, shape, before):
        super().__init__()
        self.before, self.module = before(), module
        self.readout = nn.Linear(map_of(module.double(), shape).bias.numel(), 1, bias=False)

    def forward(self, x):
        return self.readout(self.module(self.before(x)).flatten(1))


def governed(rule, canonize=(), **options):
    return ruleset(
        entry({"path": "module**"}, rule, **options),
        entry({"path": "readout"}, "gradient"),
        entry({"op": "activation"}, "pass", optional=True),
        canonize=list(canonize),
    )


def expected(rule, model, known, x, bias, **options):
    below = model.before(x).detach()
    relevance = known.outputs(below) * model.readout.weight.detach()[0]
    return linear.RULES[rule][0](known, below, relevance, bias=bias, **options)


@rules
@policies
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("before", BEFORE)
def test_every_rule_on_every_map(explain, rule, bias, name, before):
    factory, shape = MAPS[name]
    model, x = built(lambda: Read(factory(), shape, BEFORE[before])), draw(3, *shape, seed=1)
    options = {**RULES[rule], margin_of(rule): ABSOLUTE}
    found = explain(model, x, "lrp", rules=governed(rule, bias=bias, **options)).values["x"]
    same(found, expected(rule, model, map_of(model.module, shape), x, bias, **options))


@rules
@policies
@pytest.mark.parametrize("margin", MARGINS)
def test_stabilisers(explain, rule, bias, margin):
    factory, shape = MAPS["conv2d"]
    model, x = built(lambda: Read(factory(), shape, nn.ReLU)), draw(3, *shape, seed=1)
    options = {**RULES[rule], margin_of(rule): MARGINS[margin]}
    found = explain(model, x, "lrp", rules=governed(rule, bias=bias, **options)).values["x"]
    same(found, expected(rule, model, map_of(model.module, shape), x, bias, **options))


@rules
@policies
@pytest.mark.parametrize("name", ["conv1d", "conv2d", "transposed conv2d in groups"])
def test_of_a_batch_norm_that_is_merged(explain, rule, bias, name):
    factory, shape = MAPS[name]
    norms = {2: nn.BatchNorm1d, 3: nn.BatchNorm2d}
    width = built(factory)(draw(1, *shape)).shape[1]
    model = built(lambda: Read(nn.Sequential(factory(), norms[len(shape)](width)), shape, nn.ReLU))
    x, options = draw(3, *shape, seed=1), {**RULES[rule], margin_of(rule): ABSOLUTE}
    one, norm = model.module
    zero = torch.zeros_like(one(x[:1]))
    shift = norm(zero).flatten().detach()
    known = map_of(one, shape).scaled(norm(zero + 1).flatten().detach() - shift, shift)
    given = governed(rule, ["merge_batch_norm"], bias=bias, **options)
    found = explain(model, x, "lrp", rules=given).values["x"]
    same(found, expected(rule, model, known, x, bias, **options))


CONSTANTS = {
    "x @ W + b": lambda x, w, b: x @ w + b,
    "W @ x": lambda x, w, b: (w.T @ x.unsqueeze(-1)).squeeze(-1),
    "addmm": lambda x, w, b: torch.addmm(b, x, w),
    "einsum": lambda x, w, b: torch.einsum("bi,ij->bj", x, w),
}


@pytest.mark.parametrize("rule", [*RULES, "flat"])
@pytest.mark.parametrize("form", CONSTANTS)
def test_products_with_constants(explain, rule, form):
    weight, bias, readout = draw(5, 4, seed=2), draw(4, seed=3), draw(4, seed=4)

    class Functional(nn.Module):
        def forward(self, x):
            return CONSTANTS[form](x, weight, bias) @ readout

    x, options = draw(3, 5, seed=1), {**RULES.get(rule, {}), margin_of(rule): ABSOLUTE}
    own = bias if form == "addmm" else torch.zeros(4).double()
    entries = (
        entry({"op": "linear_like", "position": "first"}, rule, **options),
        entry({"op": "linear_like"}, "gradient"),
    )
    found = explain(Functional(), x, "lrp", rules=ruleset(*entries)).values["x"]
    known = linear.Map(weight.T, torch.ones(4, 5).double(), own)
    upper = CONSTANTS[form](x, weight, bias) * readout
    if form == "x @ W + b":  # the sum keeps the bias's share by contribution
        upper = upper * (x @ weight) / CONSTANTS[form](x, weight, bias)
    same(found, linear.RULES[rule][0](known, x, upper, **options))


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "gamma_positive", "zplus", "wsquare"])
def test_nothing_is_lost_where_the_bias_is_spread(explain, rule):
    factory, shape = MAPS["conv2d"]
    model, x = built(lambda: Read(factory(), shape, nn.ReLU)), draw(3, *shape, seed=1)
    model.module.weight.data.abs_()
    model.module.bias.data.abs_()
    tiny = {margin_of(rule): {"epsilon": 1e-13, "relative": True}}
    found = explain(model, x, "lrp", rules=governed(rule, bias="distribute", **tiny))
    torch.testing.assert_close(found.values["x"].flatten(1).sum(1), found.output, rtol=1e-6, atol=1e-9)


def test_excitation_has_neither_bias_nor_margin(explain):
    factory, shape = MAPS["conv2d"]
    model, x = built(lambda: Read(factory(), shape, nn.Tanh)), draw(3, *shape, seed=1)
    found = explain(model, x, "lrp", rules=governed("excitation")).values["x"]
    below, known = model.before(x).detach(), map_of(model.module, shape)
    same(found, linear.excitation(known, below, known.outputs(below) * model.readout.weight.detach()[0]))


def test_favoured_biases(explain):
    factory, shape = MAPS["conv2d"]
    model, x = built(lambda: Read(factory(), shape, nn.ReLU)), draw(3, *shape, seed=1)
    for bias in ("absorb", "zero", "distribute"):
        options = {"gamma": 0.5, "favour_bias": True, "stabilizer": ABSOLUTE}
        found = explain(model, x, "lrp", rules=governed("gamma_positive", bias=bias, **options)).values["x"]
        same(found, expected("gamma_positive", model, map_of(model.module, shape), x, bias, **options))


def test_an_output_that_a_relu_and_something_else_use_is_looked_at_whole(explain):
    """What a ReLU leaves of an output may stand for it only where nothing else uses the output."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.readout = nn.Linear(5, 6), nn.Linear(12, 1, bias=False)

        def forward(self, x):
            y = self.module(x)
            return self.readout(torch.cat([y * 1, torch.relu(y)], 1))

    model, x = built(Twice), draw(3, 5, seed=1)
    known, weight = map_of(model.module, (5,)), model.readout.weight.detach()[0]
    y = known.outputs(x)
    upper = y * weight[:6] + y.clamp(min=0) * weight[6:]
    for rule in ("epsilon", "gamma", "zplus"):
        options = {**RULES[rule], margin_of(rule): ABSOLUTE}
        found = explain(model, x, "lrp", rules=governed(rule, **options)).values["x"]
        same(found, linear.RULES[rule][0](known, x, upper, **options))
