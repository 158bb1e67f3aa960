"""What a plugin may add to propagation: a rule, an operation, a choice where no entry matched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attrkit import Operation, hookimpl, method, rule
from attrkit.errors import RulesetError, UsageTypeError
from attrkit.propagation.linear import Dense
from attrkit.protocols import OperationCall
from attrkit.registry import registry
from tests.plugins.models import Residual, Reused, TwoInputs, built, cnn, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset, stabilized


@pytest.fixture
def plugin():
    """Registers plugins for the time of a test."""
    names = []

    def register(**hooks):
        made = type("Plugin", (), {name: staticmethod(hookimpl(specname=name)(function)) for name, function in hooks.items()})
        names.append(f"tests.{len(names)}")
        registry.register(made, names[-1])

    yield register
    for name in names:
        registry.unregister(name)


@rule("epsilon_in_relevance", operations={"linear_like", "homogeneous"})
def epsilon_in_relevance(step, relevance, *, epsilon: float = 1e-6):
    """Share relevance by contribution; epsilon absorbs what is near zero."""
    return step.input * step.vjp(relevance / stabilized(step.output, epsilon))


@rule("epsilon_as_quotient", returns="quotient", operations={"linear_like", "homogeneous"})
def epsilon_as_quotient(step, relevance, *, epsilon: float = 1e-6):
    """The same, divided by the input."""
    return step.vjp(relevance / stabilized(step.output, epsilon))


NETS = {
    "mlp": (mlp, draw(3, 6)),
    "cnn": (lambda: cnn(batch_norm=True), draw(2, 2, 8, 8)),
    "residual": (Residual, draw(2, 3, 8, 8)),
    "reused": (Reused, draw(3, 4)),
    "two inputs": (TwoInputs, (draw(3, 4), draw(3, 2, 3))),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("written", [epsilon_in_relevance, epsilon_as_quotient], ids=lambda r: r.name)
def test_a_rule_in_either_form_is_the_shipped_one(explain, plugin, net, written):
    plugin(attrkit_rules=lambda: [written])
    factory, inputs = NETS[net]

    def relevance(name, op):
        rules = ruleset(
            entry({"op": op}, name, epsilon=0.01, optional=True),
            entry({"op": ["add", "batch_norm", "max_pool", "avg_pool"]}, "epsilon", epsilon=0.01, optional=True),
            entry({"op": "activation"}, "pass"),
        )
        return tuple(explain(built(factory), inputs, "lrp", rules=rules, target=1).values.values())

    torch.testing.assert_close(
        relevance(written.name, "linear_like"), relevance("epsilon", "linear_like"), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("operation", ["batch_norm", "avg_pool", "max_pool"])
def test_a_rule_in_relevance_works_for_operations_without_a_weight(explain, plugin, operation):
    plugin(attrkit_rules=lambda: [epsilon_in_relevance])

    def relevance(name):
        rules = ruleset(
            entry({"op": operation}, name, epsilon=0.01),
            entry({"op": ["linear_like", "homogeneous"]}, "epsilon", epsilon=0.01),
            entry({"op": "activation"}, "pass"),
        )
        return explain(built(lambda: cnn(batch_norm=True)), draw(2, 2, 8, 8), "lrp", rules=rules, target=1).values["input"]

    torch.testing.assert_close(relevance("epsilon_in_relevance"), relevance("epsilon"), rtol=1e-10, atol=1e-12)


def test_a_rule_sees_its_step(explain, plugin):
    seen = []

    @rule("looks")
    def looks(step, relevance, *, note: str = ""):
        seen.append((note, step.operation, step.path, step.input.clone(), step.output.clone(), step.bias, relevance.clone()))
        shared = step.forward(step.input)
        assert not step.input.requires_grad
        return step.input * step.transpose(relevance / (shared + step.bias))

    plugin(attrkit_rules=lambda: [looks])
    model, x = built(mlp), draw(2, 6)
    rules = ruleset(entry({"op": "linear"}, "looks", note="n"), entry({"op": "relu"}, "pass"))
    found = explain(model, x, "lrp", rules=rules, target=2).values["input"]
    assert [(note, operation, path) for note, operation, path, *_ in seen] == [("n", "linear", p) for p in ("4", "2", "0")]
    *_, into, output, bias, relevance = seen[-1]
    assert torch.equal(into, x)
    torch.testing.assert_close(output, model[0](x).detach(), rtol=0, atol=0)
    assert torch.equal(bias, model[0].bias)
    above = explain(
        model,
        x,
        "lrp",
        rules=ruleset(entry({"op": "linear"}, "epsilon", epsilon=0), entry({"op": "relu"}, "pass")),
        target=2,
        layer="0",
    )
    torch.testing.assert_close(relevance, above.values["0"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        found.sum(1), above.values["0"].sum(1) - (relevance * bias / output).sum(1), rtol=1e-9, atol=1e-12
    )


# An operation that attrkit does not know.

WEIGHT = draw(4, 6, seed=3)


def erfcx_net(x):
    return torch.special.erfcx(x @ WEIGHT.T).sum(1)


def test_an_operation_of_a_plugin_is_governed(explain, plugin):
    @rule("through", operations={"erfcx"})
    def through(step, relevance):
        return relevance

    x = draw(3, 6)
    rules = ruleset(entry({"op": "matmul_const"}, "epsilon", epsilon=0))
    with pytest.raises(RulesetError, match="the model uses operation SpecialErfcx"):
        explain(erfcx_net, x, "lrp", rules=rules)
    plugin(
        attrkit_rules=lambda: [through],
        attrkit_operations=lambda: [Operation("erfcx", (torch.special.erfcx,), lambda call: call.unary(call.args[0]))],
    )
    with pytest.raises(RulesetError, match="erfcx in the model: no entry matches it; add an entry for it"):
        explain(erfcx_net, x, "lrp", rules=rules)
    found = explain(erfcx_net, x, "lrp", rules=ruleset(*rules["rules"], entry({"op": "erfcx"}, "through")))
    z = x @ WEIGHT.T
    torch.testing.assert_close(found.values["x"], x * ((torch.special.erfcx(z) / z) @ WEIGHT), rtol=1e-10, atol=1e-12)
    governed = [(r["operation"], r["rule"]) for r in found.rules]
    assert governed == [("matmul_const", "epsilon"), ("erfcx", "through"), ("sum", "own gradient")]


def test_an_operation_of_a_plugin_may_have_parts(explain, plugin):
    def parts(x):
        return torch.exp(x * x) * torch.erfc(x)

    erfcx = Operation("erfcx", (torch.special.erfcx,), lambda call: call.by_parts(), parts)
    plugin(attrkit_operations=lambda: [erfcx])
    x = draw(3, 6)
    every = entry({"op": ["matmul_const", "exp", "mul", "erfc"]}, "gradient")
    found = explain(erfcx_net, x, "lrp", rules=ruleset(every))
    assert [r["operation"] for r in found.rules] == ["matmul_const", "mul", "exp", "erfc", "mul", "sum"]
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(erfcx_net(leaf).sum(), leaf)
    torch.testing.assert_close(found.values["x"], x * gradient, rtol=1e-10, atol=1e-12)


def test_a_linear_map_of_a_plugin_is_governed_by_every_rule_for_linear_maps(explain, plugin):
    def govern(call):
        assert isinstance(call, OperationCall)
        _, x, weight = call.args
        return call.linear(x, weight, None, Dense())

    def net(x):
        return torch.einsum("bi,oi->bo", x, WEIGHT)

    plugin(attrkit_operations=lambda: [Operation("linear", (torch.einsum,), govern)])
    rules, x = ruleset(entry({"op": "linear"}, "gamma")), draw(3, 6)
    expected = explain(lambda x: torch.nn.functional.linear(x, WEIGHT), x, "lrp", rules=rules, target=1).values["x"]
    torch.testing.assert_close(explain(net, x, "lrp", rules=rules, target=1).values["x"], expected, rtol=1e-12, atol=1e-12)


def test_a_product_with_a_constant_of_a_plugin_is_a_linear_map(explain, plugin):
    def govern(call):
        _, x, weight = call.args
        return call.weighted(lambda x, w: torch.einsum("bi,oi->bo", x, w), x, weight)

    def net(x):
        return torch.einsum("bi,oi->bo", x, WEIGHT)

    plugin(attrkit_operations=lambda: [Operation("pairing", (torch.einsum,), govern)])
    rules, x = ruleset(entry({"op": "linear_like"}, "gamma")), draw(3, 6)
    expected = explain(lambda x: torch.nn.functional.linear(x, WEIGHT), x, "lrp", rules=rules, target=1).values["x"]
    torch.testing.assert_close(explain(net, x, "lrp", rules=rules, target=1).values["x"], expected, rtol=1e-12, atol=1e-12)


def test_parameters_of_a_method_of_a_plugin_are_a_mapping(explain):
    @method("propagating", where={"input"}, backward_passes="1")
    def propagating(problem):
        """Relevance, by parameters that were given in a list."""
        return problem.propagate("epsilon", [("epsilon", 1)])[1]

    with pytest.raises(UsageTypeError, match="parameters must be a mapping of names to values, like .*, got"):
        explain(built(mlp), draw(2, 6), propagating, target=0)


def test_a_plugin_may_choose_a_rule_where_no_entry_matched(explain, plugin):
    model, x, asked = nn.Sequential(*built(mlp), nn.Tanh()), draw(2, 6), []

    def choose(operation, path):
        asked.append((operation, path))
        return (registry.rule("pass"), {}) if operation == "tanh" else None

    rules = ruleset(entry({"op": "linear"}, "epsilon"), entry({"op": "relu"}, "pass"))
    with pytest.raises(RulesetError, match="tanh in 5: no entry matches it"):
        explain(model, x, "lrp", rules=rules, target=0)
    plugin(attrkit_rule_for=choose)
    report = explain(model, x, "lrp", rules=rules, target=0).rules
    assert asked == [("tanh", "5")]
    assert [(r["path"], r["rule"], r["entry"]) for r in report][-1] == ("5", "pass", "attrkit_rule_for")
