"""The tests of distributions with plugins, from wheels and outside of this tree: ``plugin.py SCRATCH FOLDER ...``.

Each folder is one distribution, or holds several. Its wheel is built and installed, with the extra `test` if it has one, in the
environment that runs this; its tests run in a copy without the packages that the wheel brought; then it is removed again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path


def main(scratch: Path, folders: list[Path]) -> int:
    """The number of distributions whose tests failed."""
    found = [made.parent for folder in folders for made in _projects(folder)]
    failed = [folder for folder in found if not _passes(folder.resolve(), scratch / folder.resolve().name)]
    print(f"plugins: {len(found)}, failed: {' '.join(map(str, failed)) or 'none'}")
    return len(failed) if found else sys.exit(f"no pyproject.toml in {', '.join(map(str, folders)) or 'no folder: name one'}")


def _projects(folder: Path) -> list[Path]:
    own = folder / "pyproject.toml"
    return [own] if own.exists() else sorted(folder.glob("*/pyproject.toml"))


def _passes(folder: Path, scratch: Path) -> bool:
    print(f"\n--> {folder}", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    extra = "[test]" if "test" in project.get("optional-dependencies", {}) else ""
    copy, wheels = scratch / "copy", scratch / "wheels"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info"))
    if not _run("-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", wheels, copy, cwd=scratch):
        return False
    (wheel,) = wheels.glob("*.whl")
    if not _run("-m", "pip", "install", "-q", f"{project['name']}{extra} @ {wheel.as_uri()}", cwd=scratch):
        return False
    for top in {file.parts[0] for file in distribution(project["name"]).files or ()}:
        brought = copy / top
        shutil.rmtree(brought) if brought.is_dir() else brought.unlink(missing_ok=True)
    passed = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=3", cwd=copy)
    return _run("-m", "pip", "uninstall", "-q", "-y", project["name"], cwd=scratch) and passed


def _run(*arguments: str | Path, cwd: Path) -> bool:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), list(map(Path, sys.argv[2:]))))
