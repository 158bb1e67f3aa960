"""What does not fit is said: by file, line and column where a ruleset is wrong, by operation and path where a model is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrkit.errors import AttrkitWarning, RulesetError, UnknownName, UsageError
from tests.plugins.models import Residual, built, cnn, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset

x = draw(3, 6)
LINEAR = entry({"op": "linear_like"}, "epsilon", optional=True, epsilon=0)
PASS = entry({"op": "activation"}, "pass", optional=True)
W, V, IMAGES = draw(6, 6, seed=1), draw(6, 6, seed=2), draw(3, 1, 4, 4, seed=3)


class Cube(torch.autograd.Function):
    """An operation of somebody's own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, upper):
        return upper * 3 * ctx.saved_tensors[0] ** 2


#: What no rule can govern, and the node of the graph that gives it away.
UNKNOWN = {
    "product of entries": (lambda v: v.cumprod(1), "Cumprod"),
    "product of a row": (lambda v: v.prod(1, keepdim=True), "Prod"),
    "distances": (lambda v: torch.cdist(v, V), "Cdist"),
    "remainder": (lambda v: v % 0.3, "Remainder"),
    "product added": (lambda v: torch.addcmul(V[:3], v, v), "Addcmul"),
    "outer product": (lambda v: torch.outer(v[:, 0], v[:, 1]), "Mul of two factors that both depend on the input"),
    "product of three": (lambda v: torch.linalg.multi_dot([v, v.T, v]), "Mm of two factors that both depend on the input"),
    "function of an entry": (lambda v: torch.special.erfcx(v), "SpecialErfcx"),
    "logarithm": (lambda v: torch.logaddexp(v, V[:3]), "Logaddexp"),
    "loss": (lambda v: F.mse_loss(v, V[:3], reduction="none"), "MseLoss"),
    "inverse": (lambda v: torch.linalg.solve(torch.diag_embed(1 + v), V[:, 0]), "LinalgSolveEx"),
    "function of somebody's": (Cube.apply, "Cube"),
    "interpolation by itself": (lambda v: torch.lerp(v, V[:3], v), "Lerp"),
    "rows of at most some norm": (lambda v: torch.renorm(v, 2, 0, 0.1), "Renorm"),
    "product by scattering": (lambda v: v.scatter_reduce(1, torch.zeros(3, 6).long(), v, "prod"), "ScatterReduce"),
}  # fmt: skip

#: What has a name, so that rules may govern it, and is nothing that may go by unnoticed.
NAMED = {
    "softmax": lambda v: torch.softmax(v, 1),
    "layer_norm": lambda v: F.layer_norm(v, (6,)),
    "group_norm": lambda v: F.group_norm(v, 2),
    "exp": torch.exp,
    "pow": lambda v: v**2,
    "mul": lambda v: v * v,
    "div": lambda v: v / (1 + v.abs()),
    "reciprocal": lambda v: V[:3] / (1 + v),
    "clamp": lambda v: v.clamp(0, 1),
    "matmul": lambda v: v @ v.T @ v,
    "einsum": lambda v: torch.einsum("bi,ci->bc", v, v),
    "vector_norm": lambda v: v.norm(dim=1, keepdim=True),
    "sdpa": lambda v: F.scaled_dot_product_attention(v[:, None], v[:, None], v[:, None])[:, 0],
    "std": lambda v: v.std(1, keepdim=True),
}


def net(function):
    return lambda x: function(torch.relu(x @ W.T))


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operation_that_no_rule_can_govern_is_found(explain, name):
    function, node = UNKNOWN[name]
    with pytest.raises(RulesetError, match=f"the model uses operation ({node})") as caught:
        explain(net(function), x, "lrp", rules=ruleset(LINEAR, PASS), target=0)
    assert "fallback.unknown: warn" in str(caught.value)


@pytest.mark.parametrize("name", NAMED)
def test_an_operation_that_no_entry_matches_is_named(explain, name):
    with pytest.raises(RulesetError, match=f"{name} in the model: no entry matches it; .* fallback.nonlinear: gradient"):
        explain(net(NAMED[name]), x, "lrp", rules=ruleset(LINEAR, PASS), target=0)


def test_all_that_does_not_fit_is_said_at_once(explain):
    def model(x):
        return torch.special.erfcx(torch.exp(F.gelu(F.linear(torch.softmax(x @ W.T, 1), V))))

    with pytest.raises(RulesetError) as caught:
        explain(model, x, "lrp", rules=ruleset(entry({"op": "linear"}, "epsilon")), target=0)
    problems = "\n".join(caught.value.problems)
    assert all(word in problems for word in ("softmax", "exp", "gelu", "matmul_const", "SpecialErfcx"))
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("name", ["product of entries", "outer product", "function of somebody's"])
def test_fallback_unknown_warn_keeps_its_gradient_and_says_so(explain, name):
    function, node = UNKNOWN[name]
    rules = ruleset(LINEAR, PASS, fallback={"unknown": "warn"})
    with pytest.warns(AttrkitWarning, match=f"the model uses operation {node}.*its own gradient is kept") as caught:
        warned = explain(net(function), x, "lrp", rules=rules, target=0)
    assert len(caught) == 1
    assert any(node in text for text in warned.warnings)
    silent = explain(net(function), x, "lrp", rules=ruleset(LINEAR, PASS, fallback={"unknown": "gradient"}), target=0)
    assert torch.equal(silent.values["x"], warned.values["x"])
    assert silent.warnings == ()
    leaf = x.clone().requires_grad_()  # where every rule shares by contribution, relevance is gradient times input
    gradient = torch.autograd.grad(net(function)(leaf)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(silent.values["x"], x * gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "nonlinear"])
def test_fallback_of_what_no_entry_matched(explain, kind):
    model = nn.Sequential(*built(mlp), nn.Softplus())
    rest = [entry({"op": "relu"}, "pass"), *([PASS] if kind == "linear" else [LINEAR])]
    operation, path = ("linear", "0") if kind == "linear" else ("softplus", "5")

    def relevance(choice):
        return explain(model, x, "lrp", rules=ruleset(*rest, fallback={kind: choice}), target=1)

    with pytest.raises(RulesetError, match=f"{operation} in {path}: no entry matches it; .* fallback.{kind}: gradient"):
        relevance("error")
    with pytest.warns(AttrkitWarning, match=f"no rule governs {operation} at .: no entry matches it"):
        warned = relevance("warn")
    assert f"ruleset test: no rule governs {operation} at {path}: no entry matches it" in warned.warnings
    kept = relevance("gradient")
    assert torch.equal(warned.values["input"], kept.values["input"])
    assert {r["rule"] for r in kept.rules if r["entry"] == f"fallback.{kind}"} == {"own gradient"}
    if kind == "nonlinear":
        passed = relevance("pass")
        assert passed.rules[-1]["rule"] == "pass"
        assert not torch.allclose(passed.values["input"], kept.values["input"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: F.conv1d(x[:, None], x[:1, None, :3]).flatten(1), "matmul in the model: no entry matches it"),
        (lambda x: F.bilinear(x, V[:3], x[None].expand(4, 3, 6).mT[:, :, :6] @ V[:3]),
         "linear .* its weight depends on the input"),
        (lambda x: 2**x, "pow in the model: no rule can govern it: the exponent depends on the input"),
        (lambda x: torch.div(x, V[:3], rounding_mode="floor"), "div in the model: no rule can govern it: it rounds"),
        (lambda x: F.grid_sample(V.reshape(1, 1, -1, 3).expand(3, 1, -1, 3), x.reshape(3, 1, -1, 2), align_corners=False),
         "interpolate .* where it looks depends on the input"),
        (lambda x: F.batch_norm(x, None, None, training=True), "batch_norm .* uses the statistics of the batch; .*eval"),
    ],
    ids=["kernel", "bilinear", "exponent", "rounding", "places to look at", "batch norm"],
)  # fmt: skip
def test_a_call_that_no_rule_can_govern(explain, model, message):
    with pytest.raises(RulesetError, match=message):
        explain(lambda x: model(x).flatten(1), x, "lrp", rules=ruleset(LINEAR), target=0)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: torch.linalg.norm(x.reshape(3, 2, 3), 2, dim=(1, 2)),
        lambda x: torch.linalg.norm(x, 1).expand(3),
        lambda x: torch.linalg.norm(x, "nuc").expand(3),
        lambda x: torch.linalg.vector_norm(x, torch.inf, 1),
        lambda x: torch.norm(x, 0, 1),
    ],
    ids=["matrix", "columns", "nuclear", "largest", "count"],
)
def test_a_norm_that_is_made_of_nothing_else(explain, norm):
    rules = ruleset(entry({"op": "deviation"}, "expand"), fallback={"nonlinear": "error"})
    with pytest.raises(RulesetError, match="vector_norm in the model: rule 'expand': it has no parts"):
        explain(norm, x, "lrp", rules=rules)


def test_a_model_in_training_mode(explain):
    with (
        pytest.warns(AttrkitWarning, match="training mode"),
        pytest.raises(RulesetError, match="uses the statistics of the batch; call model.eval"),
    ):
        explain(built(Residual).train(), draw(2, 3, 8, 8), "lrp", rules="epsilon_plus", target=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (entry({"op": "relu"}, "zplus"), r"rule 'zplus' is not defined for op relu; rules for it: .*guided, pass"),
        (entry({"op": "logsumexp"}, "pass"), r"rule 'pass' is not defined for op logsumexp; rules for it: expand, gradient,"),
        (entry({"op": "logsumexp"}, "unchanged"), r"rule 'unchanged' is not defined for op logsumexp"),
        (entry({"op": "recurrent"}, "unchanged"), r"rule 'unchanged' is not defined for op recurrent"),
        (entry({"op": "linear"}, "pass"), r"rule 'pass' is not defined for op linear; rules for it: .*epsilon"),
        (entry({"op": ["linear", "activation"]}, "gamma"), r"rule 'gamma' is not defined for op activation"),
        (entry({"op": "softmax"}, "pass"), r"rule 'pass' is not defined for op softmax; rules for it: .*softmax_taylor"),
        (entry({"op": "liner"}, "epsilon"), r"got 'liner'; expected one of .* Did you mean 'linear'"),
        (entry({"op": "linear"}, "epsilonn"), r"no rule 'epsilonn'. Did you mean 'epsilon'"),
        (entry({"op": "linear"}, "gamma", gama=1.0), "rule 'gamma' has no option 'gama'; .* Did you mean 'gamma'"),
        (entry({"op": "linear"}, "gamma", gamma="much"),
         r"option 'gamma' of rule 'gamma': expected a finite number, got 'much'"),
        (entry({"op": "linear"}, "epsilon", epsilon="$margin"), r"unknown parameter '\$margin'"),
        (entry({"opp": "linear"}, "epsilon"), r"unknown key 'opp'.* Did you mean 'op'"),
        (entry({"op": "linear", "position": "firts"}, "epsilon"), r"got 'firts'; expected .* Did you mean 'first'"),
        (entry({"op": "linear", "position": {"depth": [0.5, 0.2]}}, "epsilon"), r"\[low, high\] with 0 <= low < high <= 1"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_an_entry_that_is_wrong(explain, line, message):
    with pytest.raises(RulesetError, match=message):
        explain(built(mlp), x, "lrp", rules=ruleset(line, LINEAR, PASS), target=0)


def test_a_rule_that_matches_an_operation_it_is_not_defined_for(explain):
    with pytest.raises(RulesetError, match=r"relu in 1: rule 'zplus' is not defined for it; it is for linear_like"):
        explain(built(mlp), x, "lrp", rules=ruleset(entry({"path": "1"}, "zplus"), LINEAR, PASS), target=0)


def test_a_file_with_typos_is_refused_with_line_and_column(explain, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        "schema: attrkit/ruleset@1\n"
        "name: my\n"
        "canonise: [merge_batch_norm]\n"
        "rules:\n"
        "  - {id: a, match: {op: conv}, rule: gama}\n"
        "  - {id: b, match: {op: linear}, rule: epsilon, with: {epsilonn: 1e-6}}\n"
    )
    with pytest.raises(RulesetError) as caught:
        explain(built(cnn), draw(2, 2, 8, 8), "lrp", rules=str(file), target=0)
    first, second, third = caught.value.problems
    assert first.startswith(f"{file}:3:1: unknown key 'canonise'")
    assert "Did you mean 'canonize'" in first
    assert second.startswith(f"{file}:5:32: no rule 'gama'")
    assert "Did you mean 'gamma'" in second
    assert third.startswith(f"{file}:6:56: rule 'epsilon' has no option 'epsilonn'")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "epsilon_gamma_box: parameter 'low' is required: pass parameters={'low': ...}"),
        ({"low": -1.0}, "epsilon_gamma_box: parameter 'high' is required"),
        ({"low": -1.0, "high": 1.0, "gama": 1.0}, "no parameter 'gama'; .* Did you mean 'gamma'"),
        ({"low": -1.0, "high": 1.0, "gamma": -1.0}, "parameter 'gamma': expected at least 0, got -1.0"),
        ({"low": -1.0, "high": 1.0, "gamma": "big"}, "parameter 'gamma': expected a finite number, got 'big'"),
        ({"low": -1.0, "high": 1.0, "bias": "keep"}, "parameter 'bias': expected one of absorb, .*zero.*, got 'keep'"),
        ({"low": -1.0, "high": 1.0, "epsilon": {"rel": True}}, "parameter 'epsilon': expected a number or {epsilon:"),
    ],
)  # fmt: skip
def test_parameters_that_are_missing_or_wrong(explain, parameters, message):
    with pytest.raises(RulesetError, match=message):
        explain(built(cnn), draw(2, 2, 8, 8), "lrp", rules="epsilon_gamma_box", parameters=parameters, target=0)


def test_an_unknown_ruleset(explain):
    with pytest.raises(
        UnknownName, match="no ruleset 'epsilon_plu'; expected a file that ends in .yaml, or one of: .*epsilon_plus"
    ):
        explain(built(mlp), x, "lrp", rules="epsilon_plu", target=0)


def test_an_unknown_option(explain):
    with pytest.raises(UnknownName, match="lrp has no option 'ruleset'. Did you mean 'rules'"):
        explain(built(mlp), x, "lrp", ruleset="epsilon_plus", target=0)


def test_lrp_compares_with_no_baseline(explain):
    with pytest.raises(UsageError, match="method 'lrp' takes no baselines"):
        explain(built(mlp), x, "lrp", baselines=0, target=0)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (entry({"op": "conv"}, "zplus"), ""),
        (entry({"op": "linear", "path": "stem.*"}, "zplus"), ""),
        (entry({"op": "linear", "path": "fcc"}, "zplus"), "Did you mean 'fc'"),
        (entry({"op": "linear", "module": "torch.nn:Linaer"}, "zplus"), "Did you mean 'Linear'"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_entry_that_matched_nothing(explain, line, hint):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x)

    with pytest.warns(
        AttrkitWarning, match=rf"entry 'r0' \(zplus\) matched no operation of this model.*{hint}.*optional: true"
    ):
        explain(built(Net), x, "lrp", rules=ruleset(line, LINEAR), target=0)
    explain(built(Net), x, "lrp", rules=ruleset({**line, "optional": True}, LINEAR), target=0)
