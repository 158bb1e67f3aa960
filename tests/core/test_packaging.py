"""What pyproject declares, what is installed, what the code defines and what a wheel holds agree. Needs no torch."""

import ast
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = PYPROJECT["project"]["entry-points"]["attrkit"]
CONTRACTS = {contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}


def test_installed_entry_points_are_the_declared_ones():
    installed = {e.name: e.value for e in entry_points(group="attrkit") if e.dist.name == "attrkit"}
    assert installed == DECLARED, "run: pip install -e . (entry points are read at install time)"


def declarations():
    """Every ``@method`` and ``@rule`` in plugins/, as ``module:function``."""
    for file in sorted((ROOT / "plugins").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT / "plugins").with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text())):
            decorators = getattr(node, "decorator_list", [])
            if any(isinstance(d, ast.Call) and getattr(d.func, "id", "") in {"method", "rule"} for d in decorators):
                yield f"{module}:{node.name}"


def test_the_plugins_declare_something():
    assert len(list(declarations())) > 5


@pytest.mark.parametrize("declaration", list(declarations()))
def test_every_declaration_has_an_entry_point(declaration):
    """Its own, or that of its module or package, whose hooks provide it."""
    module, _, _ = declaration.partition(":")
    targets = {declaration, module, *(module[:i] for i, c in enumerate(module) if c == ".")}
    assert targets & set(DECLARED.values()), f"add to [project.entry-points.attrkit] of pyproject.toml: ... = {declaration!r}"


def test_a_module_of_hooks_provides_all_that_it_declares():
    pytest.importorskip("torch")
    from attrkit.registry import Registry

    registry = Registry(only=("attrkit:*",), block=())
    registry.load_all()
    provided = {
        f"{spec.function.__module__}:{spec.function.__qualname__}"
        for kind in ("methods", "rules")
        for spec in registry.all(kind).values()
    }
    assert set(declarations()) == provided
    assert {p.key: p.reason for p in registry.plugins.values() if p.dist == "attrkit" and p.state != "loaded"} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (file,) = folder.glob("*.whl")
    return set(ZipFile(file).namelist())


def test_a_wheel_holds_every_file_of_the_packages(wheel):
    expected = {
        str(file.relative_to(ROOT)): file.relative_to(ROOT / top if top != "attrkit" else ROOT).as_posix()
        for top in ("attrkit", "plugins", "rulesets")
        for file in (ROOT / top).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert [source for source, name in sorted(expected.items()) if name not in wheel] == []
    for pattern in ("attrkit_gradients/*.py", "attrkit_rulesets/*.yaml", "*/py.typed", "attrkit/*.pyi"):
        assert any(fnmatch(name, pattern) for name in wheel), pattern


def test_a_wheel_holds_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    packages = {p.name for top in ("plugins", "rulesets") for p in (ROOT / top).iterdir() if (p / "__init__.py").exists()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"attrkit", *packages}
    assert not [name for name in wheel if "__pycache__" in name or name.endswith(".pyc")]


def test_every_package_says_that_it_is_typed():
    packages = [ROOT / "attrkit", *(p for top in ("plugins", "rulesets") for p in (ROOT / top).glob("attrkit_*"))]
    assert [p.name for p in packages if not (p / "py.typed").exists()] == []


def test_only_the_runner_and_propagation_touch_hooks():
    """The wall that imports cannot show: nobody else registers a hook on a model."""
    inside = ("attrkit/runner/", "attrkit/propagation/", "attrkit/testing/")
    culprits = [
        f"{name}:{node.lineno}"
        for top in ("attrkit", "plugins", "rulesets")
        for file in sorted((ROOT / top).rglob("*.py"))
        if not (name := file.relative_to(ROOT).as_posix()).startswith(inside)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and fnmatch(node.attr, "register*_hook")
    ]
    assert culprits == []


@pytest.mark.parametrize("module", [*CONTRACTS["Names and rulesets work without torch"]["source_modules"], "attrkit.cli"])
def test_what_is_declared_torch_free_is_imported_without_torch(module):
    """import-linter sees a module's own imports; this sees those of its packages too."""
    program = f"import sys; sys.modules['torch'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
