"""The doctor: whether what it says of a model is so, and whether what it mends is mended."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

import attrkit
from attrkit.errors import UnknownName, UsageError, UsageTypeError
from attrkit.registry import registry
from attrkit.specs import method, rule

torch = pytest.importorskip("torch")
pytest.importorskip("attrkit_propagation")
pytest.importorskip("attrkit_gradients")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from attrkit.attributing import Request, propagated  # noqa: E402
from attrkit.doctoring import trial  # noqa: E402
from attrkit.reading import arguments_of  # noqa: E402
from attrkit.rulesets.reader import read_ruleset  # noqa: E402
from tests.plugins.models import Reused, Tokens, TwoInputs, built, cnn, draw  # noqa: E402

IDS = torch.arange(10).reshape(2, 5)


class Through(nn.Module):
    """A linear layer, and whatever comes after it."""

    def __init__(self, after):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.after = after

    def forward(self, x):
        return self.after(self.linear(x))


class Mixed(nn.Module):
    """The same operation where a ruleset governs it, and where it does not."""

    def __init__(self):
        super().__init__()
        self.lower = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.upper = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return F.softplus(self.head(self.upper(self.lower(x))))


@pytest.fixture
def plant():
    """Registers a declaration for the time of a test."""
    names = []

    def put(declared):
        registry.register(declared, f"planted {declared.name}")
        names.append(f"planted {declared.name}")
        return declared.name

    yield put
    for name in names:
        registry._forget(name)


@pytest.fixture
def ruleset(tmp_path):
    """Writes a ruleset; returns its file."""

    def write(rules, rest="fallback: {linear: error, nonlinear: error, unknown: error}"):
        file = tmp_path / "mine.yaml"
        file.write_text(f"schema: attrkit/ruleset@1\nname: mine\nrules:\n{rules}\n{rest}\n")
        return str(file)

    return write


def examine(model, inputs, **more):
    return attrkit.doctor(model, inputs, **{"methods": [], "rulesets": [], **more})


# Methods.


@pytest.mark.parametrize(
    ("factory", "inputs"),
    [
        (lambda: cnn(batch_norm=True), draw(3, 2, 8, 8)),
        (Tokens, IDS),
        (TwoInputs, (draw(2, 4), draw(2, 6))),
        (Reused, draw(2, 4)),
    ],
    ids=["images", "tokens", "two inputs", "reused"],
)
def test_what_is_said_of_methods_is_so(factory, inputs, untouched):
    model = built(factory)
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    with untouched(model, *tensors):
        found = attrkit.doctor(model, inputs, rulesets=[])
    assert found.ok
    assert [m.name for m in found.methods] == list(registry.all("methods"))
    zeros = tuple(torch.zeros_like(t[:1]) for t in tensors)
    for said in found.methods:
        given = {**said.given, **({"baselines": zeros} if "baselines" in said.given else {})}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if said.works:
                attrkit.explain(model, inputs, said.name, target=0, **given)
            if not said.works or "layer" in said.given:  # it would have been tried without a layer first
                with pytest.raises((UsageError, NotImplementedError)):
                    attrkit.explain(model, inputs, said.name, target=0)


def test_a_verdict_is_an_advice():
    found = examine(built(Tokens), IDS, methods=["saliency", "gradient_shap"])
    assert (found["saliency"].works, found["saliency"].given) == (True, {"layer": "embedding"})
    assert found["saliency"].verdict == "works with layer='embedding'"
    assert "'ids' has dtype torch.int64" in found["saliency"].reasons[0]
    assert found["gradient_shap"].verdict == "works with layer='embedding', baselines=... (here zeros)"
    assert "works with layer='embedding'" in str(found)
    with pytest.raises(KeyError):
        found["conductance"]


def test_a_layer_that_is_given_is_the_one():
    found = examine(built(Tokens), IDS, methods=["saliency"], layer="relu")
    assert found["saliency"].given == {"layer": "relu"}


def test_a_layer_of_a_plain_function_is_a_module():
    model = built(Tokens)
    found = examine(lambda ids: model(ids), IDS, methods=["saliency"], layer=model.embedding)
    assert found["saliency"].given == {"layer": "Embedding"}
    assert not examine(lambda ids: model(ids), IDS, methods=["saliency"])["saliency"].works


def test_baselines_that_are_given_are_tried():
    model = built(lambda: Through(nn.ReLU()))
    assert examine(model, draw(2, 4), methods=["gradient_shap"], baselines=draw(5, 4)).methods[0].verdict == "works"
    (said,) = examine(model, draw(2, 4), methods=["gradient_shap"], baselines=draw(5, 3)).methods
    assert not said.works
    assert "baselines" in said.reasons[0]


def test_a_trial_ends_long_before_the_method(plant):
    calls = []

    @method("endless")
    def endless(problem):
        for i, _ in enumerate(problem.grads(problem.point for _ in range(10**9))):
            calls.append(i)

    assert examine(built(lambda: Through(nn.ReLU())), draw(2, 4), methods=[plant(endless)]).methods[0].verdict == "works"
    assert 0 < len(calls) <= trial.ROWS * trial.PASSES
    explained = attrkit.explain(built(lambda: Through(nn.ReLU())), draw(2, 4), "integrated_gradients", target=0)
    assert explained.passes["forward"] > trial.ROWS * trial.PASSES  # nothing else is ended


def test_what_a_method_raises_and_warns_of_is_told(plant):
    @method("failing")
    def failing(problem):
        raise ZeroDivisionError("once\nmore")

    @method("warning")
    def warning(problem):
        warnings.warn("mind the gap", stacklevel=1)
        return problem.zeros()

    found = examine(built(lambda: Through(nn.ReLU())), draw(2, 4), methods=[plant(failing), plant(warning)])
    assert found["failing"].reasons == ("ZeroDivisionError: once more",)
    assert (found["warning"].works, found["warning"].notes) == (True, ("mind the gap",))
    assert "mind the gap" in str(found)


def test_a_method_of_neurons_is_tried_at_a_layer(plant):
    @method("of_neurons", where={"neuron"})
    def of_neurons(problem):
        return problem.value_and_grad()[1]

    (said,) = examine(built(lambda: Through(nn.ReLU())), draw(2, 4), methods=[plant(of_neurons)]).methods
    assert (said.works, said.given["layer"]) == (True, "linear")
    assert callable(said.given["neuron"])


# The model.


@pytest.mark.parametrize(
    ("after", "note"),
    [
        (lambda y: y.detach(), "does not depend on the inputs in a way that torch can differentiate"),
        (lambda y: y.argmax(1), "the output is of dtype torch.int64"),
        (lambda y: y - y.mean(0), "depends on the others in the batch"),
        (lambda y: y + torch.rand(1), "draws random numbers"),
        (lambda y: y.sum(), "not one row for each"),
        (lambda y: y / 0, "some of the output is not finite"),
        (lambda y: y.sign(), "the gradient at the inputs is 0 everywhere"),
        (lambda y: y.reshape(2, 3) if len(y) == 2 else y / y.sum().item().denominator, "does not take 1 examples: Attr"),
    ],
)
def test_what_is_odd_about_a_model_is_noted(after, note, untouched):
    model, x = built(lambda: Through(after)), draw(2, 4)
    with untouched(model, x):
        found = examine(model, x)
    assert found.healthy
    assert any(note in line for line in found.notes), found.notes


def test_nothing_is_odd_about_an_ordinary_model():
    assert examine(built(lambda: Through(nn.Tanh())), draw(2, 4), target=0).notes == ()
    assert examine(built(lambda: Through(nn.Tanh())), draw(1, 4), target=0).notes == ()


def test_training_mode_is_noted():
    model = built(lambda: Through(nn.Dropout())).train()
    assert any("training mode" in note for note in examine(model, draw(2, 4)).notes)
    assert model.training


def test_the_largest_output_is_explained_unless_a_target_is_given():
    model, x = built(lambda: Through(nn.Identity())), draw(3, 4)
    found = examine(model, x)
    assert found.target == model(x)[:2].argmax(1).tolist()
    assert "the largest output of each example" in found.notes[0]
    assert examine(model, x, target=[0, 1, 2]).target == [0, 1]
    deep = examine(built(lambda: Through(lambda y: y[:, :, None].expand(-1, -1, 2))), x)
    assert [place[1] for place in deep.target] == [0, 0]


def test_gradient_methods_fail_where_nothing_can_be_differentiated():
    found = attrkit.doctor(built(lambda: Through(lambda y: y.detach())), draw(2, 4))
    for said in found.methods:
        assert said.works is (not registry.method(said.name).gradient) or said.name in ("eigen_cam", "lime_base")
    assert {r.works for r in found.rulesets} == {False}
    assert found.ok


def test_a_model_that_does_not_run_is_not_healthy():
    found = attrkit.doctor(built(lambda: Through(nn.ReLU())), draw(2, 5))
    assert (found.ok, found.healthy, found.methods, found.rulesets) == (False, False, (), ())
    assert "cannot be multiplied" in str(found)


# Rulesets.


def test_every_ruleset_is_tried_and_parameters_are_asked_for(untouched):
    model, x = built(lambda: cnn(batch_norm=True)), draw(2, 2, 8, 8)
    with untouched(model, x):
        found = attrkit.doctor(model, x, methods=[])
    assert [r.name for r in found.rulesets] == list(registry.rulesets())
    box = found["epsilon_gamma_box"]
    assert (box.works, box.needs, box.verdict) == (True, ("low", "high"), "works, needs parameters low, high")
    given = examine(model, x, rulesets=["epsilon_gamma_box"], parameters={"low": -3, "high": 3, "other": 1})
    assert given["epsilon_gamma_box"].verdict == "works"
    assert found["epsilon_plus"].operations == 3 + 4 + 1 + 2  # convolutions, activations, the average, linear layers


def test_what_falls_back_is_counted_by_operation_and_place(ruleset):
    only = "  - {id: a, match: {op: linear}, rule: epsilon}"
    name = ruleset(only, "fallback: {linear: error, nonlinear: gradient, unknown: error}")
    (said,) = examine(built(Mixed), draw(2, 4), rulesets=[name]).rulesets
    assert said.works
    assert said.mended == ""  # it is what its author wanted
    assert [(f.operation, f.count, f.paths, f.fallback) for f in said.fallen] == [
        ("tanh", 2, ("lower.*", "upper.*"), "nonlinear: gradient"),
        ("softplus", 1, ("",), "nonlinear: gradient"),
    ]


def mended(model, x, name, tmp_path, **more):
    """The doctor's finding, and the rows of its mended ruleset on the model."""
    (said,) = examine(model, x, rulesets=[name], **more).rulesets
    file = tmp_path / "mended.yaml"
    file.write_text(said.mended)
    read_ruleset(file, registry)
    layers = (said.layer,) if said.layer else ()
    return said, propagated(Request(model=model, arguments=arguments_of(model, x), target=0, layers=layers), file, {})


def test_a_mended_ruleset_governs_the_model(ruleset, tmp_path):
    name = ruleset("  - {id: a, match: {op: linear}, rule: gamma}")
    said, rows = mended(built(Mixed), draw(2, 4), name, tmp_path)
    assert (said.works, said.verdict) == (False, "fails, can be mended")
    assert all("no entry matches it" in problem for problem in said.problems)
    assert [(r.path, r.operation, r.rule) for r in rows if r.entry] == [
        ("lower.0", "linear", "gamma"), ("lower.1", "tanh", "pass"),
        ("upper.0", "linear", "gamma"), ("upper.1", "tanh", "pass"),
        ("head", "linear", "gamma"), ("", "softplus", "pass"),
    ]  # fmt: skip


def test_mending_leaves_alone_what_is_governed(ruleset, tmp_path):
    rules = (
        '  - {id: a, match: {op: linear, path: "lower.*"}, rule: gamma, with: {gamma: 0.5}}\n'
        "  - {id: b, match: {op: activation}, rule: pass}"
    )
    said, rows = mended(built(Mixed), draw(2, 4), ruleset(rules), tmp_path)
    chosen = {r.path: (r.rule, r.entry) for r in rows if r.operation == "linear"}
    assert chosen["lower.0"] == ("gamma", "a")
    assert {chosen["upper.0"][1], chosen["head"][1]}.isdisjoint({"a", "b"})
    assert "path: upper.*" in said.mended


def test_an_operation_outside_of_every_module_is_mended_alone(ruleset, tmp_path):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(4, 3), nn.Softplus()

        def forward(self, x):
            return F.softplus(self.act(self.linear(x)))

    rules = "  - {id: a, match: {op: linear}, rule: epsilon}\n  - {id: b, match: {op: softplus, path: act}, rule: pass}"
    _, rows = mended(built(Functional), draw(2, 4), ruleset(rules), tmp_path)
    assert [(r.path, r.entry) for r in rows if r.operation == "softplus"] == [("act", "b"), ("", "softplus_mended_0")]


def test_what_no_rule_can_govern_falls_back_with_a_warning(ruleset, plant):
    model = built(lambda: Through(lambda y: y.cumprod(1)))  # no operation that rules are for
    name = ruleset("  - {id: a, match: {op: linear}, rule: epsilon}")
    (said,) = examine(model, draw(2, 4), rulesets=[name]).rulesets
    assert not said.works
    assert "fallback: {unknown: warn}" in said.mended


def test_transformers_are_mended_at_a_layer(tmp_path):
    pytest.importorskip("transformers")
    from tests.plugins.hf import IDS, bert

    model = built(bert)
    said, rows = mended(model, IDS, "epsilon_plus", tmp_path)
    assert said.layer == "bert.embeddings.word_embeddings"
    assert not said.works
    assert {f.operation for f in said.fallen} <= {r.operation for r in rows}
    assert not [r for r in rows if r.entry.startswith("fallback.")]
    assert "bert.encoder.layer.*" in str(said.fallen[0]) + str(said.fallen[-1])


def test_a_rule_that_refuses_its_options_is_told_by_its_entry(ruleset, plant):
    @rule("picky")
    def picky(step, relevance, *, one: float = 1.0, two: float = 2.0):
        if one > two:
            raise UsageError("picky needs one to be at most two")
        return relevance @ step.weight

    plant(picky)
    rules = (
        "  - {id: a, match: {op: linear, path: linear}, rule: picky, with: {one: 3}}\n"
        "  - {id: b, match: {op: relu}, rule: pass}"
    )
    (said,) = examine(built(lambda: Through(nn.ReLU())), draw(2, 4), rulesets=[name := ruleset(rules)]).rulesets
    assert said.problems == (f"{name}:4:5: entry 'a' (picky): picky needs one to be at most two",)


def test_a_ruleset_that_cannot_be_read_is_a_finding(ruleset):
    name = ruleset("  - {id: a, match: {op: linaer}, rule: epsilon}")
    found = examine(built(Mixed), draw(2, 4), rulesets=[name, "epsilon_pluss"])
    assert not found.ok
    assert "mine.yaml:4:21: got 'linaer'" in found[name].problems[0]
    assert "Did you mean 'epsilon_plus'?" in found["epsilon_pluss"].problems[0]


# Asking.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"methods": ["salienty"]}, UnknownName, "Did you mean 'saliency'"),
        ({"methods": "saliency"}, UsageTypeError, "methods must be a list of names, or None for all, got 'saliency'"),
        ({"rulesets": 3}, UsageTypeError, "rulesets must be a list of names, or None for all, got 3"),
        ({"parameters": [1]}, UsageTypeError, "parameters must be a mapping from names to values, got list"),
        ({"layer": "liner"}, UnknownName, "Did you mean 'linear'"),
        ({"target": [1]}, UsageError, "target has 1 entries for a batch of 2 examples"),
        ({"inputs": torch.zeros(0, 4)}, UsageError, "inputs: 'x' has shape (0, 4); expected a batch of at least one example"),
        ({"inputs": [1.0]}, UsageTypeError, "inputs must be a tensor, got list"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    given = {"inputs": draw(2, 4), **arguments}
    with pytest.raises(error) as raised:
        attrkit.doctor(built(lambda: Through(nn.ReLU())), **given)
    assert message in str(raised.value)


def test_the_findings_are_plain_data():
    found = attrkit.doctor(built(Mixed), draw(2, 4))
    plain = json.loads(json.dumps(found.as_dict(), default=str))
    assert plain["ok"] is True
    assert plain["inputs"] == {"x": "(2, 4) float64"}
    assert {m["name"]: m["verdict"] for m in plain["methods"]} == {m.name: m.verdict for m in found.methods}
    assert {r["name"]: r["works"] for r in plain["rulesets"]} == {r.name: r.works for r in found.rulesets}


def test_doctor_stays_a_function():
    from attrkit import doctor

    assert doctor is attrkit.doctor
    assert Path(doctor.__code__.co_filename).parent.name == "doctoring"
