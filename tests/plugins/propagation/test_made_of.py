"""Norms whose deviation is a constant, whole and in parts; and what operations that are made of others can be as a whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attrkit.errors import RulesetError
from tests.plugins.models import built, draw
from tests.plugins.propagation.oracle import entry, ruleset
from tests.plugins.propagation.oracles import norms

A = draw(3, 4)
REST = entry({"path": "**"}, "gradient")


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


NORMS = {
    "layer": (lambda: nn.LayerNorm(4), (4,)),
    "layer over two": (lambda: nn.LayerNorm((2, 3)), (2, 3)),
    "layer without weights": (lambda: nn.LayerNorm(4, elementwise_affine=False), (5, 4)),
    "layer without bias": (lambda: nn.LayerNorm(4, bias=False), (4,)),
    "rms": (lambda: nn.RMSNorm(4), (3, 4)),
    "rms with epsilon": (lambda: nn.RMSNorm(4, eps=0.1), (4,)),
    "group": (lambda: nn.GroupNorm(2, 4), (4, 3)),
    "group without weights": (lambda: nn.GroupNorm(2, 4, affine=False, eps=0.1), (4, 2, 2)),
}


@pytest.mark.parametrize("name", NORMS)
def test_the_deviation_of_a_norm_is_a_constant(explain, name):
    factory, shape = NORMS[name]
    norm = built(factory)
    for i, p in enumerate(norm.parameters()):
        p.data = draw(*p.shape, seed=10 + i)
    x, r = draw(2, *shape), draw(2, *shape, seed=4)

    def model(x):
        y = norm(x)
        return (y * (r / y).detach()).flatten(1).sum(1)

    found = explain(model, x, "lrp", rules=ruleset(entry({"op": "norm"}, "layer_norm_identity"), REST)).values["x"]
    same(found, norms.relevance_of(norm, x, r))


def test_an_instance_norm_is_a_group_norm_of_every_channel(explain):
    norm, group = built(lambda: nn.InstanceNorm2d(3, affine=True)), built(lambda: nn.GroupNorm(3, 3))
    for one, other in zip(norm.parameters(), group.parameters(), strict=True):
        one.data = other.data = draw(3, seed=one.dim())
    x, rules = draw(2, 3, 2, 4), ruleset(entry({"op": "norm"}, "layer_norm_identity"), REST)
    one, other = (
        explain(lambda x, m=m: (m(x) ** 2).flatten(1).sum(1), x, "lrp", rules=rules).values["x"] for m in (norm, group)
    )
    same(one, other)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_taken_apart_with_its_deviation_stopped_is_the_same(explain, name):
    factory, shape = NORMS[name]
    norm, x = built(factory), draw(2, *shape)

    def model(x):
        return (norm(x) * draw(*x.shape, seed=6)).flatten(1).sum(1)

    whole = ruleset(entry({"op": "norm"}, "layer_norm_identity"), REST)
    parts = ruleset(
        entry({"op": "norm"}, "expand"),
        entry({"op": "rsqrt"}, "stop"),
        entry({"op": "mul"}, "one_operand", optional=True),
        REST,
    )
    one, other = (explain(model, x, "lrp", rules=rules).values["x"] for rules in (whole, parts))
    same(one, other)


def test_what_has_no_parts_cannot_be_taken_apart(explain):
    with pytest.raises(RulesetError, match="relu .* rule 'expand': it has no parts to be taken into"):
        explain(lambda x: torch.relu(x).sum(1), A, "lrp", rules=ruleset(entry({"op": "relu"}, "expand"), REST))


COMPOSITES = {
    "mha": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), lambda m, x: m(x, x, x)[0]),
    "lstm": (lambda: nn.LSTM(4, 3, batch_first=True), lambda m, x: m(x)[0]),
    "gru": (lambda: nn.GRU(4, 3), lambda m, x: m(x)[0]),
    "rnn": (lambda: nn.RNN(4, 3, batch_first=True), lambda m, x: m(x)[0]),
    "glu": (lambda: nn.GLU(), lambda m, x: m(x)),
    "logsumexp": (lambda: nn.Identity(), lambda m, x: torch.logsumexp(m(x), 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_operation_may_keep_its_own_backward_pass(explain, name):
    factory, call = COMPOSITES[name]
    model, x = built(factory), draw(2, 3, 4)

    def net(x):
        return call(model, x).flatten(1).sum(1)

    found = explain(net, x, "lrp", rules=ruleset(entry({"op": name}, "gradient"), REST))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf).sum(), leaf)
    same(found.values["x"], x * gradient)
    assert [r["rule"] for r in found.rules if r["operation"] == name] == ["gradient"]


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.filterwarnings("ignore:the objective does not depend on input")
def test_a_composite_operation_may_be_a_constant(explain, name):
    factory, call = COMPOSITES[name]
    model, x = built(factory), draw(2, 3, 4)
    net = lambda x: call(model, x).flatten(1).sum(1) + x.sum((1, 2))  # noqa: E731 - short
    found = explain(net, x, "lrp", rules=ruleset(entry({"op": name}, "stop"), REST)).values["x"]
    same(found, x)
