"""Runs pages in environments of their own, which borrow the packages of this one: a page may install what it likes."""

import os
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("blocks.py")
SCRIPT = "#!{python}\nimport sys\nfrom {module} import {root}\nsys.exit({attr}())\n"
PIP = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def borrowing(folder):
    """Make an environment whose path ends with this one's, and that has its commands; returns the folder of commands."""
    venv.EnvBuilder(symlinks=True).create(folder)
    commands = folder / "bin"
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(str(Path(p).absolute()) for p in sys.path if Path(p).is_dir()))
    for each in entry_points(group="console_scripts"):
        root = each.attr.partition(".")[0]
        script = commands / each.name
        script.write_text(SCRIPT.format(python=commands / "python", module=each.module, root=root, attr=each.attr))
        script.chmod(0o755)
    return commands


@pytest.fixture
def run_page(tmp_path):
    """Runs a page's blocks in an empty folder; returns its exit status and what it printed."""

    def run(page):
        commands, folder = borrowing(tmp_path / "environment"), tmp_path / "folder"
        folder.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTRKIT_", "PIP_", "PYTEST_"))}
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        environment = {**kept, **PIP, "PATH": path, "VIRTUAL_ENV": str(commands.parent)}
        done = subprocess.run(
            [commands / "python", RUNNER, page],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    return run
