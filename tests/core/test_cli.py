"""The command line: what it prints, where, and how it ends. What needs no torch is tested without it."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint, version

import pytest

from attrkit.cli import main
from attrkit.installed import Plugin
from attrkit.registry import Registry, registry

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 3)

    def forward(self, image):
        return self.head(self.relu(self.conv(image)).amax((2, 3)))

class Row(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        if len(x) == 5:
            raise ArithmeticError("the licence\\nhas run out")
        return self.linear(x) / (x[:, :1] != 7)
"""

BAD_RULES = """
schema: attrkit/ruleset@1
name: bad
rules:
  - {id: a, match: {op: linaer}, rule: epsilon}
  - {id: b, match: {op: linear}, rule: epsilonn}
"""

RULES = """
schema: attrkit/ruleset@1
name: mine
doc: Epsilon everywhere.
params:
  epsilon: {default: 1e-6, type: stabilizer, doc: how much}
rules:
  - {id: weights, match: {op: linear_like}, rule: epsilon, with: {epsilon: $epsilon}}
  - {id: rest, match: {op: activation}, rule: pass}
  - {id: never, match: {op: avg_pool}, rule: epsilon}
"""


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit status, stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: models, data and rulesets."""
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "planted.py").write_text(SOURCE)
    (tmp_path / "bad.yaml").write_text(BAD_RULES)
    (tmp_path / "mine.yaml").write_text(RULES)
    (tmp_path / "row.csv").write_text("age,height,weight\n1,2,3\n4,5,6\n")
    torch.save(torch.rand(4, 1, 8, 8), "images.pt")
    yield tmp_path
    sys.modules.pop("attrkit_model_planted", None)


def fails(outcome, status, message):
    """The command ended with this status, and with one line on stderr that says this."""
    code, out, err = outcome
    assert (code, out) == (status, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


# At once


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["explain", "--help"], ["--version"], []])
def test_help_answers_without_torch(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "attrkit", *arguments], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "sklearn", "matplotlib", "jinja2", "safetensors", "yaml"}
    assert "attrkit" in done.stdout


def test_the_version(run):
    assert run("--version") == (0, f"attrkit {version('attrkit')}\n", "")


def test_every_command_has_a_line_of_help(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    for command in ("explain", "show", "methods", "rules", "plugins", "demo"):
        assert f"\n  {command} " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["expalin"], "No such command 'expalin'"),
        (["methods", "--jsno"], "(see attrkit methods --help)"),
        (["explain"], "Missing argument 'MODEL'"),
        (["explain", "m:x", "d.npy"], "Missing option '-m'"),
        (["explain", "m:x", "d.npy", "-m", "lrp"], "Missing option '-o'"),
        (
            ["explain", "m:x", "d.npy", "-m", "lrp", "-o", "o", "--target", "first"],
            "expected pred, a number like 3, or several like 3,0, got 'first'",
        ),
        (
            ["explain", "m:x", "d.npy", "-m", "lrp", "-o", "o", "--neuron", "x"],
            "expected a number like 3, or several like 3,0, got 'x'",
        ),
        (
            ["rules", "show", "r", "--model", "m:x", "--shape", "1,x"],
            "expected sizes like 1,3,224,224, the batch first, got '1,x'",
        ),
        (["rules", "show", "r", "--model", "m:x", "--shape", "1,0"], "expected sizes of at least 1, got '1,0'"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, message):
    fails(run(*arguments), 2, message)


def test_an_interruption_is_quiet(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "all", interrupted)
    status, out, err = run("methods")
    assert (status, out, err.strip()) == (130, "", "")


# Plugins


@pytest.fixture
def culprit(monkeypatch):
    """A plugin that cannot be imported."""
    plugin = Plugin("bad", "culprit", "1.0", EntryPoint("bad", "no_such_module:bad", "attrkit"))
    monkeypatch.setitem(registry.plugins, "culprit:bad", plugin)


def test_plugins_are_listed(run, monkeypatch):
    monkeypatch.setattr("attrkit.registry.registry", Registry())
    status, out, _ = run("plugins", "--no-load", "--json")
    found = {plugin["name"]: plugin for plugin in json.loads(out)}
    assert status == 0
    assert set(found["lrp"]) == {"name", "distribution", "version", "state", "reason", "provides"}
    assert (found["lrp"]["distribution"], found["lrp"]["version"]) == ("attrkit", version("attrkit"))
    assert "lrp" in run("plugins", "--no-load")[1]


def test_not_loading_imports_nothing(run, monkeypatch):
    monkeypatch.setattr("attrkit.registry.registry", Registry())
    assert {plugin["state"] for plugin in json.loads(run("plugins", "--no-load", "--json")[1])} <= {"found", "blocked"}


def test_a_broken_plugin_fails_the_list(run, culprit):
    status, out, err = run("plugins", "--json")
    (bad,) = [plugin for plugin in json.loads(out) if plugin["distribution"] == "culprit"]
    assert (status, err) == (1, "")
    assert bad == {
        "name": "bad",
        "distribution": "culprit",
        "version": "1.0",
        "state": "broken",
        "reason": "ModuleNotFoundError: No module named 'no_such_module'",
        "provides": {},
    }
    assert "No module named 'no_such_module'" in " ".join(run("plugins")[1].split())


def test_a_broken_plugin_that_is_asked_for_fails_inside(run, culprit):
    status, out, err = run("methods", "bad")
    assert (status, out) == (3, "")
    assert err.splitlines()[-1].startswith("error: culprit:bad is broken: ModuleNotFoundError")


def test_a_broken_plugin_is_one_line_of_warning_elsewhere(run, culprit):
    pytest.importorskip("torch")
    status, _, err = run("methods")
    assert (status, err) == (
        0,
        "warning: attrkit plugin culprit:bad did not load: ModuleNotFoundError: No module named 'no_such_module'\n",
    )


# Methods


def test_methods_are_listed(run):
    pytest.importorskip("torch")
    status, out, err = run("methods")
    assert (status, err) == (0, "")
    assert "integrated_gradients" in out
    listed = {method["name"]: method for method in json.loads(run("methods", "--json")[1])}
    assert listed["lrp"]["where"] == ["input", "layer", "neuron"]


def test_a_method_is_told_whole(run):
    pytest.importorskip("torch")
    status, out, err = run("methods", "integrated_gradients")
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    for expected in (
        "n_steps int | Literal['auto'] 50 points on the path",
        "attributes to input, layer, neuron",
        "complete approximate",
        "n_steps + 2 * layer forward and n_steps backward passes",
        "arXiv:1703.01365",
        "attrkit.attr.LayerIntegratedGradients",
        f"distribution attrkit {version('attrkit')}",
    ):
        assert expected in text
    told = json.loads(run("methods", "integrated_gradients", "--json")[1])
    assert told["options"][1] == {
        "name": "method",
        "type": "str",
        "default": "gausslegendre",
        "help": "quadrature rule: gausslegendre, clenshaw_curtis, riemann_left, riemann_right, riemann_middle or "
        'riemann_trapezoid; "auto" has its own.',
    }
    assert told["classes"]["neuron"] == "attrkit.attr.NeuronIntegratedGradients"


def test_a_misspelt_method(run):
    pytest.importorskip("torch")
    fails(run("methods", "saliancy"), 2, "no method 'saliancy'. Did you mean 'saliency'?")


def test_a_misspelt_ruleset(run):
    pytest.importorskip("torch")
    fails(
        run("rules", "show", "epsilon_pluss"), 2, "no ruleset 'epsilon_pluss'; expected a file that ends in .yaml, or one of: "
    )


# Rules


def test_rules_are_listed(run):
    pytest.importorskip("torch")
    status, out, err = run("rules", "list")
    assert (status, err) == (0, "")
    listed = json.loads(run("rules", "list", "--json")[1])
    assert {rule["name"] for rule in listed["rules"]} >= {"epsilon", "zplus", "pass"}
    (shipped,) = [ruleset for ruleset in listed["rulesets"] if ruleset["name"] == "epsilon_plus"]
    assert shipped["file"].endswith("epsilon_plus.yaml")
    assert "epsilon_plus" in out
    groups = {group["name"]: group for group in listed["groups"]}
    assert groups["normaliser"]["operations"] == ["reciprocal", "rsqrt"]
    assert groups["normaliser"]["meaning"] in " ".join(out.split())


def test_a_rule_is_shown(run):
    pytest.importorskip("torch")
    status, out, err = run("rules", "show", "gamma")
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    for expected in (
        "gamma: Share by contribution, those of the output's own sign counted 1 + gamma times.",
        "operations linear_like: conv, conv_transpose, linear, matmul_const",
        "carries relevance",
        "gamma float 0.25 how much more they count",
    ):
        assert expected in text
    told = json.loads(run("rules", "show", "gamma", "--json")[1])
    assert [option["name"] for option in told["options"]] == ["gamma", "stabilizer", "bias"]


def test_a_rule_and_a_ruleset_of_one_name_are_told_apart(run):
    pytest.importorskip("torch")
    assert "entries" in json.loads(run("rules", "show", "epsilon", "--json")[1])
    assert "conserves" in json.loads(run("rules", "show", "epsilon", "--rule", "--json")[1])
    fails(run("rules", "show", "gamma", "--set", "gamma=1"), 2, "'gamma' is a rule; --model, --set and what goes with them are")


# Parts


def test_parts_are_listed(run):
    pytest.importorskip("torch")
    status, out, err = run("parts")
    assert (status, err) == (0, "")
    for expected in ('replacements: what absent features are replaced by; replacement="NAME"', "surrogates: ", "placements: "):
        assert expected in out
    listed = json.loads(run("parts", "--json")[1])
    assert {(part["kind"], part["name"]) for part in listed} >= {("replacements", "blur"), ("estimators", "exact")}
    of_a_kind = json.loads(run("parts", "segmenter", "--json")[1])
    assert {part["kind"] for part in of_a_kind} == {"segmenters"}


def test_all_about_a_part(run):
    pytest.importorskip("torch")
    status, out, err = run("parts", "blur")
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    for expected in (
        "blur: A copy of the example blurred",
        'use replacement="blur"',
        "sigma float 5.0 the Gaussian's standard",
    ):
        assert expected in text
    assert json.loads(run("parts", "replacements", "blur", "--json")[1]) == json.loads(run("parts", "blur", "--json")[1])


def test_a_misspelt_part(run):
    pytest.importorskip("torch")
    fails(run("parts", "blurr"), 2, "'blurr' is neither a kind of parts nor a part. Did you mean 'blur'?")
    fails(run("parts", "replacment", "blur"), 2, "kind must be one of replacements, segmenters")
    fails(run("parts", "segmenters", "blur"), 2, "no segmenter 'blur'")
    fails(run("parts", "leverage"), 2, "'leverage' is the name of several parts; ask attrkit parts designs leverage and")


def test_a_ruleset_is_shown(run, folder):
    status, out, err = run("rules", "show", "mine.yaml")
    assert (status, err) == (0, "")
    for expected in (
        "mine: Epsilon everywhere.",
        "weights",
        "op=['linear_like']",
        "epsilon='$epsilon'",
        "stabilizer",
        "how much",
    ):
        assert expected in out
    shown = json.loads(run("rules", "show", "mine.yaml", "--set", "epsilon=0.5", "--json")[1])
    assert [entry["id"] for entry in shown["entries"]] == ["weights", "rest", "never"]
    assert shown["entries"][0]["parameters"] == {"epsilon": 0.5}
    assert shown["entries"][0]["origin"] == "mine.yaml:8:5"


def test_a_ruleset_is_shown_on_a_model(run, folder):
    status, out, err = run("rules", "show", "mine.yaml", "--model", "planted.py:Net")
    assert status == 0
    assert [line.split()[:4] for line in out.splitlines()[1:] if line[0] != " "] == [
        ["conv", "conv", "epsilon", "weights"],
        ["relu", "relu", "pass", "rest"],
        ["head", "linear", "epsilon", "weights"],
    ]
    assert "input: zeros of shape (1, 1, 8, 8), guessed from layer 'conv'" in err
    assert "entry 'never' (epsilon) matched no operation" in err
    for given in (["--shape", "2,1,9,9"], ["--data", "images.pt"]):
        status, out, _ = run("rules", "show", "mine.yaml", "--model", "planted.py:Net", *given, "--json")
        shown = json.loads(out)
        assert status == 0
        assert [row["rule"] for row in shown["operations"] if row["entry"]] == ["epsilon", "pass", "epsilon"]
        assert shown["operations"][0]["parameters"]["epsilon"] == 1e-6
        assert len(shown["unused"]) == 1


def test_a_good_ruleset_is_ok(run, folder):
    assert run("rules", "check", "mine.yaml") == (0, "ok: 3 entries\n", "")
    assert run("rules", "check", "captum_default", "--model", "planted.py:Net", "--shape", "1,1,8,8")[:2] == (
        0,
        "ok: 3 entries, which govern 3 operations of planted.py:Net (1 more share by contribution by themselves)\n",
    )


def test_what_the_fallback_leaves_is_not_said_to_be_governed(run, folder):
    fallback = "fallback: {linear: gradient, nonlinear: gradient, unknown: gradient}"
    entries = "rules:\n  - {id: a, match: {op: linear}, rule: gamma}"
    (folder / "left.yaml").write_text(f"schema: attrkit/ruleset@1\nname: left\n{fallback}\n{entries}\n")
    given = ("rules", "check", "left.yaml", "--model", "planted.py:Net", "--shape", "1,1,8,8")
    said = "2 more share by contribution by themselves, 1 keep their own gradient by the fallback"
    assert run(*given)[:2] == (0, f"ok: 1 entries, which govern 1 operations of planted.py:Net ({said})\n")
    counts = json.loads(run(*given, "--json")[1])
    assert (counts["operations"], counts["by_themselves"], counts["left_by_the_fallback"]) == (1, 2, 1)


def test_a_ruleset_in_a_file_of_any_name_is_read(run, folder):
    (folder / "mine").write_text(RULES)
    assert run("rules", "check", "mine") == (0, "ok: 3 entries\n", "")
    (folder / "epsilon_plus").write_text("nonsense")  # which is the name of a ruleset, and that is what it means
    assert run("rules", "check", "epsilon_plus")[0] == 0
    status, out, _ = run("rules", "check", "./epsilon_plus")
    assert (status, out[:15]) == (1, "epsilon_plus:1:")


def test_every_problem_is_one_line(run, folder):
    status, out, err = run("rules", "check", "bad.yaml")
    first, second = out.splitlines()
    assert (status, err) == (1, "")
    assert first.startswith("bad.yaml:5:21: got 'linaer'")
    assert second.startswith("bad.yaml:6:34: no rule 'epsilonn'. Did you mean 'epsilon'?")
    assert json.loads(run("rules", "check", "bad.yaml", "--json")[1]) == {
        "ok": False,
        "problems": [first, second],
        "entries": 0,
        "operations": 0,
        "by_themselves": 0,
        "left_by_the_fallback": 0,
    }
    fails(run("rules", "show", "bad.yaml"), 2, "(and 1 more: attrkit rules check lists them)")


def test_the_schema_is_printed(run):
    pytest.importorskip("torch")
    status, out, err = run("rules", "schema")
    schema = json.loads(out)
    assert (status, err) == (0, "")
    assert (schema["title"], "epsilon_plus" in out, '"alphabeta"' in out) == ("attrkit/ruleset@1", True, True)


def test_what_only_a_rule_knows_is_checked_on_a_model(run, folder):
    (folder / "odd.yaml").write_text(
        "schema: attrkit/ruleset@1\nname: odd\nrules:\n"
        "  - {id: a, match: {op: conv}, rule: alphabeta, with: {alpha: 3, beta: 1}}\n"
        "  - {id: b, match: {op: linear}, rule: zbox}\n"
        "  - {id: c, match: {op: activation}, rule: pass}\n"
    )
    assert run("rules", "check", "odd.yaml")[0] == 0
    status, out, _ = run("rules", "check", "odd.yaml", "--model", "planted.py:Net", "--data", "images.pt")
    first, second = out.splitlines()
    assert status == 1
    assert first.startswith("odd.yaml:4:5: entry 'a' (alphabeta): alphabeta needs alpha and beta of at least 0")
    assert second.startswith("odd.yaml:5:5: entry 'b' (zbox): zbox needs low")


def test_calls_that_differ_in_numbers_are_one_line(run, folder):
    (folder / "deep.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))"
    )
    _, out, _ = run("rules", "show", "captum_default", "--model", "deep.py:net", "--shape", "1,3")
    rows = [line.split() for line in out.splitlines()[1:] if line[0] != " "]
    assert [row[:5] for row in rows] == [["*", "linear", "epsilon", "weights", "3"], ["1", "relu", "pass", "activations", "1"]]
    shown = json.loads(run("rules", "show", "captum_default", "--model", "deep.py:net", "--shape", "1,3", "--json")[1])
    assert [row["path"] for row in shown["operations"] if row["entry"]] == ["0", "1", "2", "3"]


def test_integers_are_bound_at_a_layer(run, folder):
    (folder / "tokens.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(24, 2))"
    )
    arguments = ("rules", "show", "mine.yaml", "--model", "tokens.py:net")
    status, _, err = run(*arguments)
    assert status == 0
    assert "relevance goes back to layer '0', as it cannot to the inputs; give --layer for another" in err
    assert json.loads(run(*arguments, "--json")[1])["layer"] == "0"
    assert json.loads(run(*arguments, "--layer", "1", "--json")[1])["layer"] == "1"


def test_an_entry_that_matches_nothing_is_a_problem(run, folder):
    status, out, _ = run("rules", "check", "mine.yaml", "--model", "planted.py:Net", "--data", "images.pt")
    assert status == 1
    assert "entry 'never' (epsilon) matched no operation" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.yaml", "--set", "epsilom=1"], "no parameter 'epsilom'; expected one of epsilon. Did you mean 'epsilon'?"),
        (["mine.yaml", "--model", "planted.py:Net", "--set", "epsilon=text"], "expected a number"),
    ],
)
def test_parameters_are_checked_too(run, folder, arguments, message):
    status, out, _ = run("rules", "check", *arguments)
    assert status == 1
    assert message in out


def test_data_and_shape_exclude_each_other(run, folder):
    outcome = run("rules", "check", "mine.yaml", "--model", "planted.py:Net", "--data", "images.pt", "--shape", "1,1,8,8")
    fails(outcome, 2, "--data and --shape both say what the input is; give one of them")


# The doctor


def test_the_doctor_says_what_works(run, folder):
    status, out, err = run("doctor", "planted.py:Net", "images.pt", "-m", "saliency", "-r", "mine.yaml")
    assert (status, err) == (0, "")
    assert "Net: image (4, 1, 8, 8) float32 -> (2, 3) float32" in out
    assert "works    saliency" in out
    assert "mine.yaml  works\n    mine.yaml:10:5: entry 'never'" in out
    found = json.loads(run("doctor", "planted.py:Net", "images.pt", "-m", "saliency", "--target", "1", "--json")[1])
    assert (found["ok"], found["target"], found["rulesets"]) == (True, 1, [])
    assert [(m["name"], m["verdict"]) for m in found["methods"]] == [("saliency", "works")]


def test_the_doctor_saves_what_is_mended(run, folder):
    (folder / "part.yaml").write_text(RULES.replace("linear_like", "conv").replace("avg_pool", "conv"))
    status, out, err = run("doctor", "planted.py:Net", "images.pt", "-r", "part.yaml", "-o", "mended")
    assert status == 1  # nothing else was tried
    assert "part.yaml  fails, can be mended" in out
    assert "part.yaml, mended: mended/part_mended.yaml" in err
    checked = run("rules", "check", "mended/part_mended.yaml", "--model", "planted.py:Net", "--data", "images.pt", "--json")
    assert [p for p in json.loads(checked[1])["problems"] if "'never'" not in p] == []


def test_the_doctor_fails_where_nothing_works(run, folder):
    status, out, _ = run("doctor", "planted.py:Net", "--shape", "1,2,8,8")
    assert status == 1
    assert "Net: image (1, 2, 8, 8) float32 -> nothing" in out
    fails(run("doctor", "planted.py:Net", "images.pt", "-m", "salienty"), 2, "Did you mean 'saliency'?")
    fails(run("doctor", "planted.py:Net", "images.pt", "--shape", "1,1,8,8"), 2, "give one of them")


# Explaining


def test_one_method_makes_one_file(run, folder):
    from attrkit import Explanation

    status, out, err = run(
        "explain", "planted.py:Net", "images.pt", "-m", "integrated_gradients", "-o", "deep/down/e.safetensors",
        "--target", "pred", "--examples", "1:3", "--baseline", "0.5", "--set", "n_steps=7", "--seed", "5",
    )  # fmt: skip
    assert status == 0
    assert "integrated_gradients" in out
    assert "7 forward and 7 backward passes" in err
    explanation = Explanation.load("deep/down/e.safetensors")
    assert (explanation.options["n_steps"], explanation.seed, len(explanation.target)) == (7, 5, 2)
    assert explanation.values["image"].shape == (2, 1, 8, 8)


def test_an_option_may_be_called_method(run, folder):
    where = ("explain", "planted.py:Net", "images.pt", "-m", "integrated_gradients", "--target", "1", "--json")
    for given in ("riemann_left", "riemann_right"):
        assert run(*where, "-o", f"{given}.safetensors", "--set", f"method={given}")[0] == 0
        assert json.loads(run("show", f"{given}.safetensors", "--json")[1])["options"]["method"] == given


def test_several_methods_make_a_folder_and_a_report(run, folder):
    methods = ("integrated_gradients", "lrp", "feature_ablation")
    options = [text for name in methods for text in ("-m", name)]
    status, out, err = run(
        "explain", "planted.py:Net", "images.pt", *options, "-o", "found", "--target", "1", "--html", "r.html",
        "--set", "n_steps=4", "--set", "parameters.epsilon=0.25", "--json",
    )  # fmt: skip
    assert status == 0
    rows = json.loads(out)
    assert [row["file"] for row in rows] == [f"found/{name}.safetensors" for name in methods]
    assert all((folder / row["file"]).is_file() for row in rows)
    assert rows[0]["passes"] == {"forward": 4, "backward": 4}
    assert "report: r.html" in err
    report = (folder / "r.html").read_text()
    assert "attrkit explain planted.py:Net images.pt -m integrated_gradients" in report
    assert "http" not in report
    assert json.loads(run("show", "found/lrp.safetensors", "--json")[1])["options"]["parameters"] == {"epsilon": 0.25}


def test_a_layer_and_a_neuron(run, folder):
    where = ("explain", "planted.py:Net", "images.pt", "-m", "saliency", "-o", "e.safetensors")
    assert run(*where, "--target", "0", "--layer", "conv")[0] == 0
    assert json.loads(run("show", "e.safetensors", "--json")[1])["values"] == {"conv": [4, 2, 6, 6]}
    assert run(*where, "--layer", "conv", "--neuron", "1,2,3")[0] == 0
    assert json.loads(run("show", "e.safetensors", "--json")[1])["where"] == "neuron"


def test_a_table_keeps_the_names_of_its_columns(run, folder):
    status, *_ = run("explain", "planted.py:Row", "row.csv", "-m", "saliency", "-o", "e.safetensors", "--html", "r.html")
    assert status == 0
    assert "height" in (folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["planted.py:Net", "images.pt", "-m", "saliency"], "target is missing"),
        (["planted.py:Net", "images.pt", "-m", "saliency", "--target", "9"], "target 9 is out of range"),
        (["planted.py:Net", "images.pt", "-m", "saliancy"], "no method 'saliancy'. Did you mean 'saliency'?"),
        (
            ["planted.py:Net", "images.pt", "-m", "saliency", "--set", "abz=1"],
            "saliency has no such option. Did you mean 'abs'? Options: abs",
        ),
        (["planted.py:Net", "images.pt", "-m", "saliency", "--set", "abs"], "--set 'abs': expected NAME=VALUE"),
        (["planted.py:Net", "images.pt", "-m", "saliency", "--examples", "9:"], "no example is in it; the data has 4"),
        (
            ["planted.py:Net", "images.pt", "-m", "saliency", "--target", "0", "--layer", "cnv"],
            "no layer 'cnv'. Did you mean 'conv'?",
        ),
        (["planted.py:Net", "images.pt", "-m", "saliency", "--target", "0", "--neuron", "0"], "neuron needs layer="),
        (["planted.py:Net", "images.pt", "-m", "saliency", "-m", "lrp"], "2 methods need a folder, this names one file"),
        (
            ["planted.py:Net", "images.pt", "-m", "lrp", "--target", "0", "--set", "rules=bad.yaml"],
            "bad.yaml:5:21: got 'linaer'",
        ),
        (["planted.py:Nett", "images.pt", "-m", "saliency"], "has no 'Nett'. Did you mean 'Net'?"),
        (["planted.py:Net", "nothing.pt", "-m", "saliency"], "there is no file 'nothing.pt'"),
        (["planted.py:Net", "images.png", "-m", "saliency"], "expected .npy, .npz"),
    ],
)
def test_wrong_input_is_one_line(run, folder, arguments, message):
    fails(run("explain", *arguments, "-o", "e.safetensors"), 2, message)
    assert not (folder / "e.safetensors").exists()


def test_an_output_that_cannot_be_written_is_one_line(run, folder):
    (folder / "taken").write_text("")
    code, _, err = run("explain", "planted.py:Net", "images.pt", "-m", "saliency", "--target", "0", "-o", "taken/e.safetensors")
    assert code == 2
    assert "taken" in err.splitlines()[-1]


def test_a_model_that_raises_fails_inside(run, folder):
    (folder / "row.csv").write_text("1,2,3\n" * 5)
    command = ("explain", "planted.py:Row", "row.csv", "-m", "saliency", "-o", "e.safetensors")
    fails(run(*command), 3, "ArithmeticError: the licence has run out (attrkit --debug shows where)")
    status, _, err = run("--debug", *command)
    assert status == 3
    assert "Traceback" in err
    assert "planted.py" in err
    assert err.splitlines()[-1].startswith("error: ArithmeticError: the licence has run out")


def test_a_warning_is_one_line(run, folder):
    (folder / "row.csv").write_text("7,2,3\n1,2,3\n")
    status, _, err = run("explain", "planted.py:Row", "row.csv", "-m", "saliency", "-o", "e.safetensors")
    assert status == 0
    assert "warning: saliency: 3 of 6 attributions are not finite\n" in err
    assert "not finite" in run("show", "e.safetensors")[1]


def test_nothing_in_settings_is_executed(run, folder):
    value = "abs=!!python/object/apply:os.mkdir [made]"
    outcome = run("explain", "planted.py:Net", "images.pt", "-m", "saliency", "-o", "e.safetensors", "--set", value)
    fails(outcome, 2, "tag '!!python/object/apply:os.mkdir' is refused")
    assert not (folder / "made").exists()


def test_json_holds_no_number_that_is_none(run, folder):
    (folder / "row.csv").write_text("7,2,3\n1,2,3\n")
    run("explain", "planted.py:Row", "row.csv", "-m", "integrated_gradients", "-o", "e.safetensors")
    text = run("show", "e.safetensors", "--json")[1]
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# Showing


def test_a_saved_explanation_is_shown(run, folder):
    run("explain", "planted.py:Net", "images.pt", "-m", "integrated_gradients", "-o", "e.safetensors", "--target", "2")
    status, out, err = run("show", "e.safetensors")
    assert (status, err) == (0, "")
    for expected in ("integrated_gradients (n_steps=50", "attrkit_model_planted.Net", "sha256:", "image", "4 x 1 x 8 x 8"):
        assert expected in out
    shown = json.loads(run("show", "e.safetensors", "--json")[1])
    assert (shown["method"], shown["target"], shown["inputs"]) == ("integrated_gradients", 2, {"image": [4, 1, 8, 8]})
    assert len(shown["delta"]) == 4


def test_a_file_that_is_no_explanation(run, folder):
    fails(run("show", "nothing.safetensors"), 2, "there is no file 'nothing.safetensors'")
    fails(run("show", "images.pt"), 2, "'images.pt' is no explanation")


# The demo needs packages of an extra


def test_the_demo_says_what_is_missing(run, folder, monkeypatch):
    monkeypatch.setattr("attrkit.demo.find_spec", lambda name: None if name == "jinja2" else name)
    fails(run("demo", "--out", "d"), 3, "the demo needs jinja2, which is not installed; run: pip install 'attrkit[demo]'")
    assert not (folder / "d").exists()
