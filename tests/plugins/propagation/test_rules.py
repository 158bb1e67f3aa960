"""Every rule against its formula, on every kind of linear map, where it reads the input and further up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from attrkit.errors import UsageError
from tests.plugins.models import built, draw
from tests.plugins.propagation import oracle
from tests.plugins.propagation.oracle import bias_of, entry, matrix, ruleset

#: Linear maps, as what makes one with or without a bias, and the shape of an input.
OPERATIONS = {
    "dense": (lambda bias: nn.Linear(5, 4, bias), (5,)),
    "dense over time": (lambda bias: nn.Linear(3, 4, bias), (2, 3)),
    "conv1d": (lambda bias: nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, bias=bias), (2, 9)),
    "conv1d same": (lambda bias: nn.Conv1d(2, 3, 3, padding="same", bias=bias), (2, 5)),
    "conv2d": (lambda bias: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), bias=bias), (2, 5, 4)),
    "conv2d in groups": (lambda bias: nn.Conv2d(4, 4, 3, padding=1, dilation=(1, 2), groups=2, bias=bias), (4, 4, 5)),
    "conv2d of each channel": (lambda bias: nn.Conv2d(3, 6, 2, padding="valid", groups=3, bias=bias), (3, 3, 3)),
    "conv3d": (lambda bias: nn.Conv3d(2, 2, 2, stride=(1, 2, 1), padding=(1, 0, 0), bias=bias), (2, 3, 3, 3)),
    "transposed conv1d": (lambda bias: nn.ConvTranspose1d(2, 3, 3, 2, padding=1, output_padding=1, bias=bias), (2, 4)),
    "transposed conv2d": (lambda bias: nn.ConvTranspose2d(4, 2, 3, (2, 1), groups=2, dilation=(1, 2), bias=bias), (4, 3, 2)),
    "transposed conv3d": (lambda bias: nn.ConvTranspose3d(2, 2, 2, stride=2, bias=bias), (2, 2, 1, 2)),
}
ABSOLUTE, RELATIVE = 0.03, {"epsilon": 0.02, "relative": True}
RULES = {
    "epsilon": {"epsilon": ABSOLUTE},
    "epsilon, relative": {"epsilon": RELATIVE},
    "zplus": {"stabilizer": ABSOLUTE},
    "zplus, relative": {"stabilizer": RELATIVE},
    "alphabeta": {"alpha": 2.0, "beta": 1.0, "stabilizer": ABSOLUTE},
    "alphabeta, relative": {"alpha": 1.5, "beta": 0.5, "stabilizer": RELATIVE},
    "gamma": {"gamma": 0.25, "stabilizer": ABSOLUTE},
    "gamma, relative": {"gamma": 3.0, "stabilizer": RELATIVE},
    "flat": {"stabilizer": ABSOLUTE},
    "flat, relative": {"stabilizer": RELATIVE},
    "wsquare": {"stabilizer": ABSOLUTE},
    "wsquare, relative": {"stabilizer": RELATIVE},
    "zbox": {"low": -1.5, "high": 2.0, "stabilizer": ABSOLUTE},
    "zbox, relative": {"low": -3.0, "high": 3.0, "stabilizer": RELATIVE},
}
DEFAULT = {"epsilon": 1e-6, "relative": True}
BY_DEFAULT = {
    "epsilon": {"epsilon": DEFAULT},
    "zplus": {"stabilizer": DEFAULT},
    "alphabeta": {"alpha": 2.0, "beta": 1.0, "stabilizer": DEFAULT},
    "gamma": {"gamma": 0.25, "stabilizer": DEFAULT},
    "flat": {"stabilizer": DEFAULT},
    "wsquare": {"stabilizer": DEFAULT},
}
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}  # by the dimensions of what they take
FIRST = {"tanh": torch.tanh, "relu": torch.relu, "nothing": lambda x: x}


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def expected(rule, module, x, readout, bias="absorb", norm=None, **options):
    """Relevance at the input of a module, from the formula, example by example; at its output it is output times readout."""
    shape = x.shape[1:]
    W, reads, b = matrix(module, shape), matrix(module, shape, torch.ones_like), bias_of(module, shape)
    if norm is not None:
        zero = torch.zeros_like(module(x[:1]))
        shift = norm(zero).flatten().detach()
        scale = norm(zero + 1).flatten().detach() - shift
        W, b = scale[:, None] * W, scale * b + shift
    known = {"full_bias": b} if rule == "gamma" else {}
    if (output := module(x[:1])).dim() == 3:  # of which a relative stabiliser looks at each vector
        length = output.shape[-1]
        options = {k: {**v, "length": length} if isinstance(v, dict) else v for k, v in options.items()}
    found = []
    for example in x.flatten(1):
        relevance = (W @ example + b) * readout
        given = torch.zeros_like(b) if bias == "zero" else b
        found.append(getattr(oracle, rule)(W, reads, given, example, relevance, **known, **options))
    return torch.stack(found).reshape(x.shape)


class Read(nn.Module):
    """An operation before, one to be governed, and a readout that gives each of its outputs a known relevance."""

    def __init__(self, module, shape, before):
        super().__init__()
        self.before, self.module = before, module
        self.readout = nn.Linear(matrix(module, shape).shape[0], 1, bias=False).double()

    def forward(self, x):
        return self.readout(self.module(self.before(x)).flatten(1))


def read(factory, shape, bias, before="nothing"):
    return built(
        lambda: Read(factory(bias).double(), shape, {"tanh": nn.Tanh(), "relu": nn.ReLU(), "nothing": nn.Identity()}[before])
    )


def governed(rule, options):
    """A ruleset that has one rule for the operation, and shares by contribution at the readout."""
    return ruleset(
        entry({"path": "module"}, rule, **options),
        entry({"path": "readout"}, "epsilon", epsilon=0),
        entry({"op": "activation"}, "pass", optional=True),
    )


def relevance_of(explain, model, x, rules, **given):
    return explain(model, x, "lrp", rules=rules, **given).values["x"]


@pytest.mark.parametrize(
    ("before", "bias"),
    [("nothing", True), ("nothing", False), ("tanh", True)],
    ids=["at the input", "without bias", "further up"],
)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", RULES)
def test_rule(explain, name, operation, before, bias):
    (factory, shape), rule = OPERATIONS[operation], name.partition(",")[0]
    model, x = read(factory, shape, bias, before), draw(3, *shape)
    for more in ({}, {"bias": "zero"}) if bias and rule != "flat" else ({},):
        options = {**RULES[name], **more}
        found = relevance_of(explain, model, x, governed(rule, options))
        same(found, expected(rule, model.module, FIRST[before](x), model.readout.weight.detach()[0], **options))


@pytest.mark.parametrize("rule", ["epsilon", "zplus", "alphabeta", "gamma", "flat", "wsquare", "zbox"])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "dense over time"])
def test_a_batch_norm_is_merged_into_the_map_before_it(explain, rule, operation):
    factory, shape = OPERATIONS[operation]
    x, linear = draw(3, *shape), built(lambda: factory(bias=True))
    output = linear(x)
    norm = built(lambda: NORMS[output.dim()](output.shape[1]))
    norm.weight.data[0] *= -1
    readout = built(lambda: nn.Linear(output[0].numel(), 1, bias=False))
    rules = ruleset(
        entry({"path": "0"}, rule, **RULES[rule]), entry({"path": "3"}, "epsilon", epsilon=0), canonize=["merge_batch_norm"]
    )
    found = explain(nn.Sequential(linear, norm, nn.Flatten(), readout), x, "lrp", rules=rules).values["input"]
    same(found, expected(rule, linear, x, readout.weight.detach()[0], norm=norm, **RULES[rule]))


def test_a_sum_of_zero_is_moved_upwards(explain):
    model, x = read(lambda bias: nn.Linear(2, 1), (2,), bias=True), torch.tensor([[1.5, -1.5]]).double()
    model.module.weight.data[:] = 1
    model.module.bias.data[:] = 2
    model.readout.weight.data[:] = 1
    found = relevance_of(explain, model, x, governed("epsilon", {"epsilon": 0.5, "bias": "zero"}))
    same(found, x * 2 / 0.5)


@pytest.mark.parametrize("rule", ["epsilon", "zplus", "alphabeta", "gamma", "flat", "wsquare", "zbox"])
@pytest.mark.parametrize("operation", ["dense", "conv2d"])
def test_an_input_that_is_zero_gets_what_the_formula_gives_it(explain, rule, operation):
    factory, shape = OPERATIONS[operation]
    model, x, options = read(factory, shape, bias=True), torch.relu(draw(3, *shape)), RULES[rule]
    assert (x == 0).any()
    found = relevance_of(explain, model, x, governed(rule, options))
    same(found, expected(rule, model.module, x, model.readout.weight.detach()[0], **options))
    assert (found[x == 0] != 0).any() == (rule in ("flat", "wsquare", "zbox"))


@pytest.mark.parametrize("rule", ["epsilon", "zplus", "alphabeta", "gamma"])
def test_a_rectified_input_further_up(explain, rule):
    factory, shape = OPERATIONS["conv2d"]
    model, x, options = read(factory, shape, True, "relu"), draw(3, *shape), RULES[rule]
    found = relevance_of(explain, model, x, governed(rule, options))
    same(found, expected(rule, model.module, torch.relu(x), model.readout.weight.detach()[0], **options))


@pytest.mark.parametrize("rule", ["flat", "wsquare", "zbox"])
def test_relevance_at_an_activation_of_zero_is_carried_on(explain, rule):
    factory, shape = OPERATIONS["dense"]
    model, x, options = read(factory, shape, True, "relu"), draw(3, *shape), RULES[rule]
    assert (x < 0).any()
    found = relevance_of(explain, model, x, governed(rule, options))
    same(found, expected(rule, model.module, torch.relu(x), model.readout.weight.detach()[0], **options))


@pytest.mark.parametrize("rule", BY_DEFAULT)
@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_the_defaults_do_not_depend_on_the_scale_of_activations(explain, rule, scale):
    factory, shape = OPERATIONS["conv2d"]
    model, x = read(factory, shape, bias=False), scale * draw(3, *shape)
    found = relevance_of(explain, model, x, governed(rule, {}))
    same(found / scale, expected(rule, model.module, x, model.readout.weight.detach()[0], **BY_DEFAULT[rule]) / scale)
    if rule not in ("zplus", "alphabeta"):  # which lose the relevance of an output without a positive contribution
        same(found.flatten(1).sum(1) / scale, model(x)[:, 0].detach() / scale, 1e-3)


@pytest.mark.parametrize("rule", BY_DEFAULT)
@pytest.mark.parametrize("kind", ["mixed weights", "positive weights", "negative weights"])
def test_single_precision_is_enough_for_inputs_of_one_sign(explain, rule, kind):
    """Many outputs have contributions of one sign alone: the sum of the others is rounding noise, which must not be shared."""
    factory, shape = OPERATIONS["conv2d in groups"]
    model, x = read(factory, shape, bias=True), torch.relu(draw(4, *shape))
    if kind != "mixed weights":
        model.module.weight.data.abs_().mul_(1 if kind == "positive weights" else -1)
    formula = expected(rule, model.module, x, model.readout.weight.detach()[0], **BY_DEFAULT[rule])
    found = relevance_of(explain, model.float(), x.float(), governed(rule, {}))
    assert (found - formula).abs().max() <= 1e-5 * formula.abs().max()


@pytest.mark.parametrize("rule", RULES)
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_convolutions_of_any_geometry(explain, rule, data):
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = data.draw(pair), data.draw(pair), data.draw(pair)
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    groups = data.draw(st.sampled_from([1, 2]))
    transposed = data.draw(st.booleans())
    shape = (2, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)))
    ends = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    for size, end, p, s in zip(shape[1:], ends, padding, stride, strict=True):
        assume((size - 1) * s + end - 2 * p >= 1 if transposed else size + 2 * p >= end)

    def factory(bias):
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        return kind(2, 4, kernel, stride, padding, groups=groups, dilation=dilation, bias=bias)

    model, x = read(factory, shape, bias=True), draw(2, *shape)
    rule, options = rule.partition(",")[0], RULES[rule]
    found = relevance_of(explain, model, x, governed(rule, options))
    same(found, expected(rule, model.module, x, model.readout.weight.detach()[0], **options))


def test_pass_hands_relevance_through_functions_of_each_entry(explain):
    for name in (
        "ReLU",
        "Tanh",
        "Sigmoid",
        "GELU",
        "SiLU",
        "ELU",
        "LeakyReLU",
        "PReLU",
        "Softplus",
        "Hardtanh",
        "Hardswish",
        "Mish",
    ):
        activation = getattr(nn, name)().double()
        model, x = nn.Sequential(activation, built(lambda: nn.Linear(4, 1, bias=False))), 0.3 + draw(2, 4).abs()
        rules = ruleset(entry({"op": "linear"}, "epsilon", epsilon=0), entry({"op": "activation"}, "pass"))
        found = explain(model, x, "lrp", rules=rules).values["input"]
        same(found, (activation(x) * model[1].weight).detach())


def test_epsilon_at_sums_and_averages_shares_by_contribution(explain):
    class Sum(nn.Module):
        def forward(self, a, b):
            return (a + b).sum(1)

    rules = ruleset(entry({"op": "add"}, "epsilon", epsilon=0.5))
    a, b = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[2.0, 0.5]]).double()
    found = explain(Sum(), (a, b), "lrp", rules=rules).values
    kept = (a + b) / oracle.stabilized(a + b, 0.5)
    same(found["a"], a * kept)
    same(found["b"], b * kept)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("alphabeta", {"alpha": 2.0, "beta": 2.0}, "with alpha - beta = 1, got alpha=2.0, beta=2.0"),
        ("alphabeta", {"alpha": 0.5, "beta": -0.5}, "alphabeta needs alpha and beta of at least 0"),
        ("zbox", {"high": 1.0}, "zbox needs low, the smallest value an input can have"),
        ("zbox", {"low": 1.0}, "zbox needs high, the largest value an input can have"),
        ("zbox", {"low": [0.0] * 4, "high": 1.0}, r"low has shape \(4,\), which does not fit an input of shape \(3, 5\)"),
        ("epsilon", {"bias": "none"}, "option 'bias' of rule 'epsilon': expected absorb.* got 'none'"),
        ("zplus", {"stabilizer": {"epsilon": 0.1, "relativ": True}}, "stabilizer has no key 'relativ'"),
    ],
)  # fmt: skip
def test_what_a_rule_cannot_work_with(explain, rule, options, message):
    factory, shape = OPERATIONS["dense"]
    with pytest.raises(UsageError, match=message):
        relevance_of(explain, read(factory, shape, bias=True), draw(3, 5), governed(rule, options))


@pytest.mark.parametrize(
    "bounds", [(-1.0, 2.0), ([-1.0, -2.0], [1.0, 3.0]), (draw(2, 5, 4).abs() * -2, draw(2, 5, 4, seed=1).abs() * 2)]
)
def test_the_box_is_a_number_one_per_channel_or_a_tensor(explain, bounds):
    factory, shape = OPERATIONS["conv2d"]
    model, x = read(factory, shape, bias=True), draw(3, *shape)
    low, high = (torch.as_tensor(b).double() for b in bounds)
    low, high = (b.reshape(-1, 1, 1) if b.dim() == 1 else b for b in (low, high))
    found = relevance_of(explain, model, x, governed("zbox", {"low": bounds[0], "high": bounds[1], "stabilizer": ABSOLUTE}))
    flat = {"low": low.expand(shape).flatten(), "high": high.expand(shape).flatten(), "stabilizer": ABSOLUTE}
    same(found, expected("zbox", model.module, x, model.readout.weight.detach()[0], **flat))


def test_alpha_may_be_one_and_beta_zero(explain):
    model, x = read(OPERATIONS["dense"][0], (5,), True, "tanh"), draw(3, 5)
    options = {"alpha": 1.0, "beta": 0.0, "stabilizer": ABSOLUTE}
    found = relevance_of(explain, model, x, governed("alphabeta", options))
    same(found, expected("alphabeta", model.module, torch.tanh(x), model.readout.weight.detach()[0], **options))


@pytest.mark.parametrize("epsilon", [-0.5, {"epsilon": -0.5, "relative": True}])
def test_a_stabilizer_that_is_a_little_negative(explain, epsilon):
    model, x = read(OPERATIONS["dense"][0], (5,), True), draw(3, 5)
    with pytest.raises(UsageError, match=r"must be a number of at least 0, got -0\.5"):
        relevance_of(explain, model, x, governed("epsilon", {"epsilon": epsilon}))


def test_beta_smooth_is_the_slope_of_softplus_with_beta_ten(explain):
    model, x = nn.Sequential(nn.ReLU()).double(), 0.2 * draw(3, 4)
    for options, beta in (({}, 10.0), ({"beta": 3.0}, 3.0)):
        rules = ruleset(entry({"op": "relu"}, "beta_smooth", **options))
        found = explain(model, x, "lrp", target=2, rules=rules).values["input"]
        same(found[:, 2], torch.sigmoid(beta * x[:, 2]))
