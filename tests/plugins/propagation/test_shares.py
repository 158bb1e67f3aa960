"""Rules that share an operation's own backward pass, against their definitions over every entry."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrkit.errors import UsageError
from tests.plugins.models import draw
from tests.plugins.propagation.oracle import entry, ruleset
from tests.plugins.propagation.oracles import products

pytestmark = pytest.mark.filterwarnings("ignore:the objective does not depend on input")  # of what is stopped

A, B, R = draw(3, 4), draw(3, 4, seed=1), draw(3, 4, seed=2)
REST = entry({"path": "**"}, "gradient")


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def read(function):
    """A model whose output at ``function`` has relevance R, with what shares R out by contribution."""

    def model(*tensors):
        y = function(*tensors)
        return (y * (R / y).detach()).sum(1)

    return model


def shared(explain, function, inputs, *entries):
    found = explain(read(function), inputs, "lrp", rules=ruleset(*entries, REST))
    return tuple(found.values.values())


def test_a_product_gives_each_factor_half(explain):
    found = shared(explain, lambda a, b: a * b, (A, B), entry({"op": "mul"}, "uniform"))
    same(found, products.product(A, B, R))
    same(sum(found), R)


def test_a_product_with_broadcasting(explain):
    row = draw(3, 1, seed=3)
    found = shared(explain, lambda a, b: a * b, (A, row), entry({"op": "mul"}, "uniform"))
    same(found, products.product(A, row, R))


def test_a_square_written_as_a_product_has_all_of_it(explain):
    (found,) = shared(explain, lambda a: a * a, (A,), entry({"op": "mul"}, "uniform"))
    same(found, R)


@pytest.mark.parametrize("exponent", [2, 3.0, 0.5, -1])
def test_a_power_has_as_many_factors_as_its_exponent_says(explain, exponent):
    a = A.abs() + 0.2
    (found,) = shared(explain, lambda a: a**exponent, (a,), entry({"op": "pow"}, "uniform"))
    same(found, R)


def test_a_power_of_nothing_has_nothing(explain):
    model = read(lambda a: a**0 + a)
    found = explain(model, A, "lrp", rules=ruleset(entry({"op": "pow"}, "uniform"), REST))
    (found,) = found.values.values()
    same(found, A * R / (A + 1))


SPELLINGS = {
    "matmul": lambda a, b: a @ b,
    "bmm": lambda a, b: torch.bmm(a, b),
    "einsum": lambda a, b: torch.einsum("bij,bjk->bik", a, b),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_matrix_product_shares_every_term_in_halves(explain, spelling):
    a, b, r = draw(2, 3, 4), draw(2, 4, 2, seed=1), draw(2, 3, 2, seed=2)

    def model(a, b):
        y = SPELLINGS[spelling](a, b)
        return (y * (r / y).detach()).sum((1, 2))

    found = explain(model, (a, b), "lrp", rules=ruleset(entry({"op": "bilinear"}, "uniform"), REST)).values
    expected = [products.matrix_product(*each) for each in zip(a, b, r, strict=True)]
    same(found["a"], torch.stack([e[0] for e in expected]))
    same(found["b"], torch.stack([e[1] for e in expected]))


def test_an_einsum_of_three_gives_each_a_third(explain):
    def model(a, b, c):
        return torch.einsum("bi,bi,bi->b", a, b, c)

    c = draw(3, 4, seed=7)
    found = explain(model, (A, B, c), "lrp", rules=ruleset(entry({"op": "einsum"}, "uniform"))).values
    for name in ("a", "b", "c"):
        same(found[name], A * B * c / 3)


GATES = {
    "sigmoid": (lambda a, b: a * torch.sigmoid(b), (1, 0)),
    "gate first": (lambda a, b: b.sigmoid() * a, (1, 0)),
    "softmax": (lambda a, b: a * F.softmax(b, 1), (1, 0)),
    "hard sigmoid": (lambda a, b: a.mul(F.hardsigmoid(b)), (1, 0)),
    "activation": (lambda a, b: a * F.silu(b), (1, 0)),
    "sigmoid before activation": (lambda a, b: torch.tanh(a) * torch.sigmoid(b), (1, 0)),
    "reshaped": (lambda a, b: a * torch.sigmoid(b).unsqueeze(0).squeeze(0), (1, 0)),
    "in place": (lambda a, b: (a + 0).mul_(b.sigmoid()), (1, 0)),
    "no gate": (lambda a, b: a * b, (0.5, 0.5)),
    "two gates": (lambda a, b: torch.sigmoid(a) * torch.sigmoid(b), (0.5, 0.5)),
    "two activations": (lambda a, b: torch.tanh(a) * F.gelu(b), (0.5, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_a_gate_has_nothing_and_the_signal_all(explain, name):
    function, shares = GATES[name]
    found = shared(explain, function, (A, B), entry({"op": "mul"}, "gated"), entry({"op": "activation"}, "pass", optional=True))
    for relevance, share in zip(found, shares, strict=True):
        if name == "softmax" and share == 0:
            assert not relevance.any()
        else:
            same(relevance, share * R)


@pytest.mark.parametrize("operand", [0, 1])
def test_one_operand_has_all_of_it(explain, operand):
    line = entry({"op": "mul"}, "one_operand", operand=operand)
    found = shared(explain, lambda a, b: a * b, (A, B), line)
    same(found[operand], R)
    assert not found[1 - operand].any()


def test_a_quotient_may_give_all_to_what_is_above(explain):
    found = shared(explain, lambda a, b: a / b, (A, B), entry({"op": "div"}, "one_operand"))
    same(found[0], R)
    assert not found[1].any()


def test_an_operand_that_is_not_there(explain):
    with pytest.raises(UsageError, match="one_operand needs an operand below 2 at mul, got 2"):
        shared(explain, lambda a, b: a * b, (A, B), entry({"op": "mul"}, "one_operand", operand=2))


def test_what_is_stopped_has_nothing(explain):
    found = shared(explain, lambda a, b: a + torch.exp(b), (A, B), entry({"op": "exp"}, "stop"))
    same(found[0], A * R / (A + B.exp()))
    assert not found[1].any()


@pytest.mark.parametrize("spelling", ["function", "method", "module"])
def test_softmax_is_expanded_at_its_input(explain, spelling):
    spelt = {"function": lambda a: F.softmax(a, -1), "method": lambda a: a.softmax(dim=1), "module": nn.Softmax(1)}[spelling]
    (found,) = shared(explain, spelt, (A,), entry({"op": "softmax"}, "softmax_taylor"))
    same(found, torch.stack([products.softmax_taylor(a, r) for a, r in zip(A, R, strict=True)]))


SEEN = torch.tensor([[True, False, True], [True, True, False]])
ATTENTIONS = {
    "plain": ({}, None),
    "scaled": ({"scale": 0.7}, None),
    "masked": ({"attn_mask": SEEN}, SEEN),
    "masked by numbers": ({"attn_mask": torch.zeros(2, 3).double().masked_fill(~SEEN, -torch.inf)}, SEEN),
    "causal": ({"is_causal": True}, torch.ones(2, 3).tril().bool()),
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("rule", ["attention", "attention_cp", "expand", "expand with softmax stopped"])
def test_attention(explain, name, rule):
    given, allowed = ATTENTIONS[name]
    q, k, v, r = draw(2, 2, 4), draw(2, 3, 4, seed=1), draw(2, 3, 5, seed=2), draw(2, 2, 5, seed=3)

    def model(q, k, v):
        y = F.scaled_dot_product_attention(q, k, v, **given)
        return (y * (r / y).detach()).sum((1, 2))

    constant = rule in ("attention_cp", "expand with softmax stopped")
    softmax = entry({"op": "softmax"}, "stop" if constant else "softmax_taylor", optional=True)
    product = entry(
        {"op": "matmul"},
        *(("one_operand",) if constant else ("uniform",)),
        optional=True,
        **({"operand": 1} if constant else {}),
    )
    line = entry({"op": "sdpa"}, rule.partition(" ")[0])
    found = explain(model, (q, k, v), "lrp", rules=ruleset(line, softmax, product, REST)).values
    oracle = products.constant_attention if constant else products.attention
    scale = given.get("scale", 0.5)
    expected = [oracle(*each, scale=scale, allowed=allowed) for each in zip(q, k, v, r, strict=True)]
    for i, each in enumerate(found.values()):
        same(each, torch.stack([e[i] for e in expected]))
