"""``attrkit plugins new`` writes what works as it is, or nothing; ``attrkit plugins check`` says whether it does."""

import ast
import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module, invalidate_caches
from importlib.metadata import version
from string import Template

import pytest
import yaml
from packaging.requirements import Requirement

from attrkit.cli import main
from attrkit.cli.scaffolding import KINDS, scaffold
from attrkit.errors import UsageError
from attrkit.registry import registry

EACH = pytest.mark.parametrize("kind", sorted(KINDS))
NAME = "planted_one"


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit status, stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def made(tmp_path):
    """The folder of a new distribution."""
    return lambda kind, name=NAME: scaffold(name, kind, tmp_path)


@pytest.fixture
def registered(made, monkeypatch):
    """Writes a plugin, lets something change its module, and registers it as its entry point would."""
    package = f"attrkit_{NAME}"

    def register(kind, change=lambda text: text):
        folder = made(kind)
        module = folder / package / "__init__.py"
        module.write_text(change(module.read_text()))
        monkeypatch.syspath_prepend(folder)
        invalidate_caches()
        _, _, attribute = project(folder)["entry-points"]["attrkit"][NAME].partition(":")
        plugin = import_module(package)
        registry.register(getattr(plugin, attribute) if attribute else plugin, NAME)

    yield register
    sys.modules.pop(package, None)
    if registry.manager.has_plugin(NAME):
        registry.unregister(NAME)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def texts(folder):
    return {f.relative_to(folder).as_posix(): f.read_text() for f in folder.rglob("*") if f.is_file()}


# What is written


@EACH
def test_every_file_is_there_and_filled_in(made, kind):
    folder = made(kind)
    found = texts(folder)
    assert folder.name == f"attrkit-{NAME}"
    assert {"pyproject.toml", "README.md", "tox.ini", ".github/workflows/test.yml", "tests/test_conformance.py"} < set(found)
    assert f"attrkit_{NAME}/__init__.py" in found
    for path, text in found.items():
        assert not re.search(r"NAME|PACKAGE|\$(name|package|kind|summary|usage|distribution)", path + text), path


@EACH
def test_the_metadata_name_what_is_there(made, kind):
    folder = made(kind)
    (given,) = project(folder)["entry-points"]["attrkit"].items()
    assert given[0] == NAME
    module, _, attribute = given[1].partition(":")
    source = (folder / module / "__init__.py").read_text()
    assert not attribute or re.search(rf"^(def )?{attribute}\b", source, re.MULTILINE)
    (needed,) = map(Requirement, project(folder)["dependencies"])
    assert needed.name == "attrkit"
    assert needed.specifier.contains(version("attrkit"))
    assert not needed.specifier.contains("99")


@EACH
def test_the_module_is_short_and_the_test_is_three_lines(made, kind):
    found = texts(made(kind))
    (module,) = (ast.parse(text) for path, text in found.items() if path.endswith("__init__.py"))
    code = [node for node in module.body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    said = [n for node in ast.walk(module) if isinstance(n := node, ast.Expr) and isinstance(n.value, ast.Constant)]
    documented = {line for node in said for line in range(node.lineno, node.end_lineno + 1)}
    source = found[f"attrkit_{NAME}/__init__.py"].splitlines()
    lines = {line for node in code for line in range(node.lineno, node.end_lineno + 1)} - documented
    assert len([line for line in lines if source[line - 1].strip()]) <= 15
    test = found["tests/test_conformance.py"].splitlines()
    assert len(test) == 3
    assert test[2].startswith(f'test_{NAME} = conformance("{NAME}"')


@EACH
def test_tox_and_the_ci_speak_of_the_same_environments(made, kind):
    found = texts(made(kind))
    tox = configparser.ConfigParser()
    tox.read_string(found["tox.ini"])
    listed = tox["tox"]["env_list"]
    job = yaml.safe_load(found[".github/workflows/test.yml"])["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    pythons = ",".join(p.replace(".", "") for p in matrix["python"])
    each = [f"{name}{{{','.join(matrix[name])}}}" for name in ("torch", "attrkit")]
    assert listed == "-".join([f"py{{{pythons}}}", *each])
    command = job["steps"][-1]["run"]
    assert (
        command == 'tox run -e "py$(echo ${{ matrix.python }} | tr -d .)-torch${{ matrix.torch }}-attrkit${{ matrix.attrkit }}"'
    )
    assert f"attrkitoldest: attrkit=={version('attrkit')}" in tox["testenv"]["deps"]


# What is refused


@pytest.mark.parametrize("name", ["Mine", "1st", "my-method", "my_", "", "a.b", "../up", "_hidden", "mé", "x\n"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="must be lower case letters, digits and underscores"):
        scaffold(name, "method", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("lrp", "the plugin attrkit:lrp"),
        ("default", "the plugin that ships this ruleset"),
        ("epsilon", "the plugin attrkit:contribution_rules"),
        ("runner", "attrkit itself"),
        ("explain", "attrkit itself"),
        ("torch", "attrkit itself"),
        ("gradients", "the package attrkit_gradients"),
        ("class", "Python"),
        ("tuple", "Python"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path, name, owner):
    if owner.startswith("the plugin"):
        pytest.importorskip("torch")
    with pytest.raises(UsageError, match=f"name '{name}' is taken by {owner}.*; choose another"):
        scaffold(name, "rule", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("put", [os.mkdir, lambda path: path.write_text("mine"), lambda path: path.symlink_to("nowhere")])
def test_what_is_there_stays_as_it_is(tmp_path, put):
    there = tmp_path / f"attrkit-{NAME}"
    put(there)
    before = there.lstat()
    with pytest.raises(
        UsageError, match=f"attrkit-{NAME} is there already; choose another name, or another folder with --into"
    ):
        scaffold(NAME, "method", tmp_path)
    assert there.lstat() == before
    assert list(tmp_path.iterdir()) == [there]


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    calls = []

    def failing(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return written(self, *args, **kwargs)

    written = type(tmp_path).write_text
    monkeypatch.setattr(type(tmp_path), "write_text", failing)
    with pytest.raises(OSError, match="No space left"):
        scaffold(NAME, "method", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_names_what_is_not_known_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Template, "substitute", lambda *_: {}["unknown"])
    with pytest.raises(KeyError):
        scaffold(NAME, "method", tmp_path)
    assert list(tmp_path.iterdir()) == []


# The command line


def test_new_lists_what_it_wrote_and_says_what_comes_next(run, tmp_path):
    status, out, err = run("plugins", "new", NAME, "--kind", "rule", "--into", tmp_path)
    assert status == 0
    assert f"attrkit-{NAME}/attrkit_{NAME}/__init__.py" in out.splitlines()
    assert "pip install -e '.[test]' && pytest" in err
    assert all((tmp_path / line).is_file() for line in out.splitlines())


def test_new_refuses_in_a_line(run, tmp_path):
    assert run("plugins", "new", "explain", "--into", tmp_path) == (
        2, "", "error: name 'explain' is taken by attrkit itself; choose another\n"
    )  # fmt: skip
    status, _, err = run("plugins", "new", NAME, "--into", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere" in err
    assert run("plugins", "new", NAME, "--kind", "plugin", "--into", tmp_path)[0] == 2


def test_the_options_of_the_list_are_no_options_of_what_comes_after(run, tmp_path):
    status, out, err = run("plugins", "--json", "new", NAME, "--into", tmp_path)
    assert (status, out) == (2, "")
    assert "--json, --load and --no-load are for the list" in err
    assert list(tmp_path.iterdir()) == []


@EACH
def test_what_is_written_keeps_every_promise(run, registered, kind):
    pytest.importorskip("torch")
    registered(kind)
    status, out, _ = run("plugins", "check", NAME, "--json")
    found = json.loads(out)
    assert [c for c in found["checks"] if not c["passed"]] == []
    assert (status, found["ok"], found["plugin"], found["kind"]) == (0, True, NAME, kind)
    assert len(found["checks"]) >= 3
    assert all(c["promise"].endswith(".") and c["place"] and c["check"] for c in found["checks"])


def test_the_executor_tries_a_pass_again_that_ran_out_of_memory(registered):
    torch = pytest.importorskip("torch")
    registered("executor")
    executor = registry.manager.get_plugin(NAME).attrkit_executor(None, ())

    def failing(times):
        tried = []

        def do(piece):
            tried.append(piece)
            if len(tried) <= times:
                raise torch.OutOfMemoryError
            return -piece

        return do, tried

    do, tried = failing(1)
    assert list(executor.run([1, 2], do)) == [-1, -2]
    assert tried == [1, 1, 2]
    do, tried = failing(2)
    with pytest.raises(torch.OutOfMemoryError):
        list(executor.run([1, 2], do))
    assert tried == [1, 1]


def test_the_placement_begins_no_shard_when_its_minutes_are_over(registered, tmp_path):
    pytest.importorskip("torch")
    import numpy as np

    from attrkit import run

    registered("placement")
    (tmp_path / "net.py").write_text("from torch import nn\n\nnet = nn.Tanh()\n")
    np.save(tmp_path / "x.npy", np.ones((6, 3), dtype=np.float32))
    output = {"path": str(tmp_path / "out"), "index": "jsonl"}
    job = {"model": f"{tmp_path / 'net.py'}:net", "data": str(tmp_path / "x.npy"), "method": "saliency", "target": 0}
    job |= {"output": output, "shards": {"rows": 2}}
    first = run(job, executor={"kind": NAME, "minutes": 1e-12})
    assert first.errors == dict.fromkeys(range(3), "not begun within 1e-12 minutes; run the job again")
    assert not first.done
    second = run(job, executor=NAME)
    assert second.done
    assert second.rows == 6
    with pytest.raises(UsageError, match="minutes must be more than 0, got -1"):
        run({**job, "output": {**output, "path": str(tmp_path / "other")}}, executor={"kind": NAME, "minutes": -1})


def test_check_shows_a_table_and_fails_for_a_broken_promise(run, registered):
    pytest.importorskip("torch")
    registered("method", lambda text: text.replace("scale * g * d", "scale * g * d + 1e-3"))
    status, out, err = run("plugins", "check", NAME)
    lines = out.splitlines()
    assert (status, err) == (1, "")
    assert lines[0].split() == ["check", "place", "result"]
    assert re.search(r"^attributions_add_up_over_models", out, re.MULTILINE)
    assert "failed: " in out
    passed, every = map(int, re.fullmatch(rf"method {NAME}: (\d+) of (\d+) checks passed", lines[-1]).groups())
    assert 0 < passed < every


def test_check_takes_options_as_explain_does(run, registered):
    pytest.importorskip("torch")
    registered("rule")
    assert run("plugins", "check", NAME, "--kind", "rule", "--set", "epsilon=1e-7")[0] == 0
    status, out, err = run("plugins", "check", NAME, "--kind", "rule", "--set", "epsilno=1")
    assert (status, out) == (2, "")
    assert f"{NAME} has no option 'epsilno'. Did you mean 'epsilon'?" in err


def test_checks_that_are_known_to_fail_are_expected(run, registered):
    pytest.importorskip("torch")
    registered(
        "surrogate", lambda text: text.replace('"""Weighted least squares', '"""No sentence').replace("smallest.", "smallest")
    )
    assert run("plugins", "check", NAME)[0] == 1
    status, out, _ = run("plugins", "check", NAME, "--expect", "is_described=to be written")
    assert status == 0
    assert "is_described surrogate failed as expected (to be written)" in " ".join(out.split())
    passed, every = re.search(r"(\d+) of (\d+) checks passed, 1 failed as expected$", out).groups()
    assert int(passed) + 1 == int(every)
    found = json.loads(run("plugins", "check", NAME, "--expect", "is_described", "--json")[1])
    assert found["ok"]
    assert {c["check"]: c["expected"] for c in found["checks"] if not c["passed"]} == {"is_described": ""}


def test_a_check_that_passes_against_what_is_expected_is_a_failure(run, registered):
    pytest.importorskip("torch")
    registered("surrogate")
    status, out, _ = run("plugins", "check", NAME, "--expect", "weights_matter")
    assert status == 1
    assert "failed: it passed, and --expect says" in " ".join(out.split())
    assert not json.loads(run("plugins", "check", NAME, "--expect", "weights_matter", "--json")[1])["ok"]
    for given, said in (
        (["weights_mater"], "expected names 'weights_mater', which is no check of a surrogate. Did you mean 'weights_matter'?"),
        (["weights_matter", "weights_matter=x"], "'weights_matter' is given twice"),
    ):
        status, out, err = run("plugins", "check", NAME, *(word for name in given for word in ("--expect", name)))
        assert (status, out) == (2, "")
        assert said in err


def test_what_refuses_all_inputs_says_why(run, registered):
    pytest.importorskip("torch")
    needing = 'raise UsageError("width is missing: give one, like width=3")'
    registered(
        "segmenter",
        lambda text: text.replace("    if width < 1:\n", f"    if width == 4:\n        {needing}\n    if width < 1:\n"),
    )
    status, out, _ = run("plugins", "check", NAME)
    assert status == 1
    assert "failed: it refuses all inputs: width is missing: give one, like width=3" in " ".join(out.split())
    assert "StopIteration" not in out
    assert out.splitlines()[-1].endswith("2 of 3 checks passed")  # the others have nothing to be tried on
    assert run("plugins", "check", NAME, "--set", "width=3")[0] == 0


def test_several_reasons_are_all_shown(run, registered):
    pytest.importorskip("torch")
    needing = 'raise UsageError(f"no width for {point[0].dim()} dimensions")'
    registered(
        "segmenter",
        lambda text: text.replace("    if width < 1:\n", f"    if width == 4:\n        {needing}\n    if width < 1:\n"),
    )
    status, out, _ = run("plugins", "check", NAME)
    assert status == 1
    assert "\na table: no width for 2 dimensions\n" in out
    assert "\nan image: no width for 4 dimensions\n" in out


def test_every_kind_that_can_be_checked_is_offered():
    pytest.importorskip("torch")
    from attrkit.cli.plugins import CHECKED
    from attrkit.testing.kinds import KINDS as KNOWN

    assert set(CHECKED) == set(KNOWN)
    assert set(KINDS) == set(KNOWN)


def test_a_name_of_two_kinds_needs_the_kind(run, registered):
    pytest.importorskip("torch")
    from attrkit import rule

    registered("replacement")
    registry.register(rule(NAME)(lambda step, relevance: None))
    try:
        status, out, err = run("plugins", "check", NAME)
        assert (status, out) == (2, "")
        assert f"'{NAME}' is the name of several things, rule and replacement; choose one with --kind" in err
        assert run("plugins", "check", NAME, "--kind", "replacement")[0] == 0
    finally:
        registry.unregister(f"rule {NAME}")


def test_checking_what_nobody_provides_is_wrong_usage(run):
    pytest.importorskip("torch")
    status, out, err = run("plugins", "check", "no_such_method")
    assert (status, out) == (2, "")
    assert err.startswith("error: no method 'no_such_method'.")


# As a stranger would


@pytest.mark.slow
@EACH
def test_its_own_tests_pass_once_it_is_installed(made, tmp_path, kind):
    pytest.importorskip("torch")
    folder = made(kind)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", site, folder]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ATTRKIT_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=kept | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 3
