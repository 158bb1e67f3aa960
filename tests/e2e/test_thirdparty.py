"""Real distributions, installed by pip: the good one works by name, each bad one is reported and hurts nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

SOURCES = Path(__file__).parents[1] / "thirdparty"
PRELUDE = """
import json, sys, warnings
import torch, attrkit
from attrkit.errors import AttrkitError
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
x = torch.rand(2, 3)
def values(method, **options):
    (value,) = attrkit.explain(model, x, method=method, target=0, **options).values.values()
    return value
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with the four distributions of tests/thirdparty."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", folder]
    subprocess.run([*command, *sorted(SOURCES.glob("attrkit_*"))], check=True, capture_output=True, text=True)
    return folder


@pytest.fixture
def python(site, tmp_path):
    """Runs Python where these distributions are installed too; returns what it printed."""

    def run(*arguments, code=0, **variables):
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        kept = {k: v for k, v in os.environ.items() if k not in {"ATTRKIT_ONLY", "ATTRKIT_BLOCK"}}
        environment = {**kept, "PYTHONPATH": path, **variables}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    return run


@pytest.fixture
def attribute(python):
    """Runs a few lines after the prelude; returns what they printed as JSON."""
    return lambda code, **variables: json.loads(python("-c", PRELUDE + code, **variables))


def test_the_good_one_works_by_name(attribute):
    code = "a, b = values('noise'), values('noise', scale=2.0); print(json.dumps([list(a.shape), torch.equal(2 * a, b)]))"
    assert attribute(code) == [[2, 3], True]


def test_the_good_ones_rule_works_by_name(attribute):
    code = """
model[0].bias = model[2].bias = None
halves = {
    "schema": "attrkit/ruleset@1",
    "name": "halves",
    "rules": [
        {"id": "weights", "match": {"op": "linear_like"}, "rule": "half"},
        {"id": "activations", "match": {"op": "activation"}, "rule": "pass"},
    ],
}
print(json.dumps(torch.allclose(values("lrp", rules=halves).sum(1), model(x)[:, 0] / 4)))
"""
    assert attribute(code) is True


def test_everything_else_works_and_nothing_is_said(attribute):
    code = """
warnings.simplefilter("error")
print(json.dumps([bool(values(m).isfinite().all()) for m in ("integrated_gradients", "input_x_gradient", "feature_ablation")]))
"""
    assert attribute(code) == [True, True, True]


def test_the_colliding_one_is_refused_until_one_is_chosen(attribute):
    code = """
try:
    values("saliency")
except AttrkitError as error:
    print(json.dumps([str(error), values("attrkit:saliency").tolist(), values("attrkit-collide:saliency").tolist()]))
"""
    message, ours, theirs = attribute(code)
    assert "attrkit:saliency" in message
    assert "attrkit-collide:saliency" in message
    assert theirs == [[1, 1, 1], [1, 1, 1]]
    assert ours != theirs


def test_a_class_of_that_name_is_refused_too(attribute):
    code = """
try:
    from attrkit.attr import Saliency
except AttrkitError as error:
    print(json.dumps(str(error)))
"""
    message = attribute(code)
    assert "attrkit:saliency" in message
    assert "attrkit-collide:saliency" in message


def test_a_full_name_works_also_after_everything_was_loaded(attribute):
    code = """
from attrkit.registry import registry
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    registry.load_all()
print(json.dumps([values("attrkit:saliency").tolist(), values("attrkit-collide:saliency").tolist()]))
"""
    ours, theirs = attribute(code)
    assert theirs == [[1, 1, 1], [1, 1, 1]]
    assert ours != theirs


def test_blocking_the_colliding_one_settles_it(attribute):
    ours = attribute("print(json.dumps(values('saliency').tolist()))", ATTRKIT_BLOCK="attrkit-collide:*")
    assert ours == attribute("print(json.dumps(values('attrkit:saliency').tolist()))")


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("broken", "attrkit-broken:broken is broken: RuntimeError: the licence server does not answer"),
        ("outdated", "attrkit-outdated:outdated is incompatible: needs attrkit<0.1, this is attrkit "),
    ],
)
def test_a_bad_one_says_why_when_it_is_asked_for(attribute, method, reason):
    code = f"""
warnings.simplefilter("ignore")
try:
    values({method!r})
except AttrkitError as error:
    print(json.dumps(str(error)))
"""
    assert attribute(code).startswith(reason)


def test_the_command_line_lists_each_with_its_state_and_reason(python):
    listed = {f"{p['distribution']}:{p['name']}": p for p in json.loads(python("-m", "attrkit", "plugins", "--json", code=1))}
    assert all(set(p) == {"name", "distribution", "version", "state", "reason", "provides"} for p in listed.values())
    assert {p["version"] for key, p in listed.items() if not key.startswith("attrkit:")} == {"1.0"}
    assert listed["attrkit-broken:broken"]["state"] == "broken"
    assert listed["attrkit-broken:broken"]["reason"] == "RuntimeError: the licence server does not answer"
    assert listed["attrkit-outdated:outdated"]["state"] == "incompatible"
    assert listed["attrkit-outdated:outdated"]["reason"].startswith("needs attrkit<0.1")
    assert listed["attrkit-demo:noise"]["state"] == "loaded"
    assert listed["attrkit-demo:noise"]["provides"] == {"methods": ["noise"]}
    assert listed["attrkit-demo:half"]["provides"] == {"rules": ["half"]}
    assert {key for key, p in listed.items() if p["state"] not in {"loaded", "found"}} <= {
        "attrkit-broken:broken", "attrkit-outdated:outdated", "attrkit-collide:saliency",
    }  # fmt: skip


def test_the_command_line_imports_nothing_where_it_only_lists(python):
    listed = json.loads(python("-m", "attrkit", "plugins", "--json", "--no-load"))
    assert {p["state"] for p in listed} == {"found", "incompatible"}


def test_a_good_plugin_gets_its_classes(attribute):
    code = """
from attrkit.attr import LayerNoise, Noise
shapes = [Noise(model).attribute(x, target=0).shape, LayerNoise(model, model[0]).attribute(x, target=0).shape]
print(json.dumps([list(s) for s in shapes]))
"""
    assert attribute(code) == [[2, 3], [2, 4]]
