"""tox: one copy of torch per Python, for all environments with ``torch = true``; pip finds it there, so it installs no other.

The copy is `torch` as constraints.txt pins it, on Linux the build for the CPU. The variable ATTRKIT_TORCH asks for another one
(`torch==2.5.*+cpu`), or names a folder that has one (a site-packages), of which links are made. Where there is no wheel for a
Python, its environments are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from filelock import FileLock
from packaging.requirements import Requirement
from tox.config.sets import EnvConfigSet
from tox.plugin import impl
from tox.session.state import State
from tox.tox_env.api import ToxEnv
from tox.tox_env.errors import Fail, Skip
from tox.tox_env.python.api import Python


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:  # noqa: ARG001 - tox's own signature
    """Declare the key ``torch``."""
    env_conf.add_config("torch", bool, default=False, desc="whether this environment sees the one copy of torch of its Python")


@impl
def tox_on_install(tox_env: ToxEnv) -> None:
    """Before pip decides what is missing."""
    _lend(tox_env)


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    """Before commands, in an environment for which tox installed nothing."""
    _lend(tox_env)


def _lend(env: ToxEnv) -> None:
    if not isinstance(env, Python) or not env.conf["torch"]:
        return
    python, site = env.env_python(), env.env_site_package_dir()
    wanted = os.environ.get("ATTRKIT_TORCH") or _pinned(env.core["tox_root"])
    shelf = env.core["work_dir"] / f".torch-{site.parent.name}"
    shelf.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{shelf}.lock"):
        note = shelf / "wanted.txt"
        if not note.exists() or note.read_text() != wanted:
            shutil.rmtree(shelf, ignore_errors=True)
            _fill(shelf, wanted, python)
            note.write_text(wanted)
    (site / "torch.pth").write_text(f"{shelf}\n")


def _pinned(root: Path) -> str:
    (line,) = (line for line in (root / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    return line + ("+cpu" if sys.platform == "linux" else "")


def _fill(shelf: Path, wanted: str, python: Path) -> None:
    if Path(wanted).is_dir():
        shelf.mkdir()
        return _link(shelf, Path(wanted).resolve())
    command = [python, "-I", "-m", "pip", "install", "-q", "--only-binary", "torch", "--target", shelf, wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(shelf, ignore_errors=True)
        if "No matching distribution" in done.stderr:
            message = f"there is no {wanted} for this Python"
            raise Skip(message)
        raise Fail(done.stderr)
    return None


def _link(shelf: Path, folder: Path) -> None:
    """Links to torch and to all that it needs, and to nothing else that is installed beside it."""
    names = ["torch"]
    for name in names:
        for found in list(distributions(name=name, path=[str(folder)]))[:1]:
            for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                (shelf / top).symlink_to(folder / top)
            needs = map(Requirement, found.requires or ())
            names += {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})} - {*names}
