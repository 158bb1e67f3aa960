"""``python -m benchmarks.first_method``: a first method from an empty folder, timed; ``--write`` renews the transcript in docs.

What the author writes is taken from the tutorial: the last block for each file. Everything happens in a new folder with a new
virtual environment, in which pip installs a wheel of this checkout, torch and all. Needs pip's index, or wheels that it knows.
"""

import argparse
import ast
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorials" / "first_method.md"
TRANSCRIPT = TUTORIAL.with_name("transcript.md")
METHOD = "attrkit-strata/attrkit_strata/__init__.py"
_BLOCK = re.compile(r"^```python\n(# ([\w./-]+\.py)\n.*?)^```$", re.MULTILINE | re.DOTALL)
_LINES = 12  # of a command's output: its first and last ones, where it has more
_MINUTES, _LOGIC = 5, 15  # the bars

_INSTALL = "python -m pip install -c constraints.txt ./{wheel} pytest"
_STEPS = (
    "attrkit plugins new strata",
    f"# the author writes {METHOD}",
    "python -m pip install -e './attrkit-strata[test]'",
    "cd attrkit-strata && pytest -q",
    "attrkit plugins check strata",
    "# the author writes use.py",
    "python use.py",
    "attrkit explain use.py:net x.npy -m strata --target pred --set n_steps=64 -o explained.safetensors",
)
_PIP = {"PIP_PROGRESS_BAR": "off", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
_GREEN = 5  # of these steps end with green conformance


@attrs.frozen
class Done:
    """A command that ran, what it printed, and how long it took by the clock; or a file that was written."""

    command: str
    said: str = ""
    seconds: float = 0.0


class FailedError(RuntimeError):
    """A command of the tutorial failed."""


def main() -> None:
    """Run the commands, print the transcript, and write it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_method", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"renew docs/tutorials/{TRANSCRIPT.name}")
    given = parser.parse_args()
    files = authored(TUTORIAL)
    with tempfile.TemporaryDirectory(prefix="first-method-") as place:
        done = list(_run(Path(place), files))
        text = _transcript(done, files[METHOD], _versions(Path(place)))
    sys.stdout.write(text)
    if given.write:
        TRANSCRIPT.write_text(text, encoding="utf-8")


def authored(page: Path) -> dict[str, str]:
    """The files that a page has the reader write, by name: of each the last block."""
    return {name: source for source, name in _BLOCK.findall(page.read_text(encoding="utf-8"))}


def _run(place: Path, files: dict[str, str]) -> Iterator[Done]:
    """The commands, one after another, in an empty folder."""
    wheels, folder = place / "wheels", place / "empty"
    folder.mkdir()
    _call([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)], place, dict(os.environ))
    (wheel,) = wheels.iterdir()
    wheel.rename(folder / wheel.name)
    (folder / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ATTRKIT_")) and k != "VIRTUAL_ENV"}
    environment = {**kept, "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", **_PIP}
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield _timed("python -m venv .venv && . .venv/bin/activate", folder, environment, [str(python), "-m", "venv", ".venv"])
    for step in (_INSTALL.format(wheel=wheel.name), *_STEPS):
        if step.startswith("#"):
            name = step.rpartition(" ")[2]
            (folder / name).write_text(files[name], encoding="utf-8")
            yield Done(step)
        else:
            yield _timed(step, folder, environment, ["bash", "-euo", "pipefail", "-c", step])


def _timed(command: str, folder: Path, environment: dict[str, str], words: list[str]) -> Done:
    sys.stderr.write(f"$ {command}\n")
    start = time.perf_counter()
    said = _call(words, folder, environment)
    return Done(command, said, time.perf_counter() - start)


def _call(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - the commands of the tutorial
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise FailedError(f"{words[-1]} ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def _versions(place: Path) -> str:
    ask = "from importlib.metadata import version as v; print(*(f'{p} {v(p)}' for p in ('attrkit', 'torch', 'pip')), sep=', ')"
    return _call([str(place / "empty" / ".venv" / "bin" / "python"), "-c", ask], place, {}).strip()


def logic(source: str) -> int:
    """The lines that the method's function has, without its declaration, signature and docstring."""
    (function,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = source.splitlines()[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def _transcript(done: list[Done], method: str, versions: str) -> str:
    count, bar = logic(method), _MINUTES * 60
    whole, green = (sum(d.seconds for d in steps) for steps in (done, done[: _GREEN + 2]))
    rows = "\n".join(f"| `{d.command}` | {d.seconds:.1f} |" for d in done if not d.command.startswith("#"))
    return f"""\
# Transcript of a first method

For whoever wants to know how long [the tutorial](first_method.md) takes. Written by
`python -m benchmarks.first_method --write`, which runs its commands in an empty folder and a new environment; do not edit.

{_machine()}; Python {platform.python_version()}, {versions}.
Seconds by the clock, of a machine that may have had other work too. pip {_sources(done[1].said)}.

| command | seconds |
| --- | --- |
{rows}

| | value | bar | |
| --- | --- | --- | --- |
| from an empty folder to green conformance, with torch | {green:.0f} s | ≤ {bar} s | {_judged(green <= bar)} |
| all commands | {whole:.0f} s | | |
| lines of the author's logic | {count} | ≤ {_LOGIC} | {_judged(count <= _LOGIC)} |

Time at the keyboard is not in it, nor is the building of attrkit's wheel.
The logic is the body of the method's function: without imports, declaration, signature and docstring.
Of what commands printed, the middle is left out where it is long.

{"".join(_shown(d) for d in done)}"""


def _judged(passed: bool) -> str:  # noqa: FBT001 - one word
    return "pass" if passed else "**FAIL**"


def _machine() -> str:
    described = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", described.read_text(), re.MULTILINE) if described.exists() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{datetime.now(UTC):%Y-%m-%d}; {processor}, {os.cpu_count()} cores, {platform.system()}"


def _sources(said: str) -> str:
    """Where pip had the packages from, in words."""
    fetched = re.findall(r"^\s*(Downloading|Using cached|Processing) (\S+)", said, re.MULTILINE)
    local = sum(1 for how, what in fetched if how == "Processing" or what.startswith("file:"))
    cached = sum(1 for how, _ in fetched if how == "Using cached")
    network = len(fetched) - local - cached
    return f"took {local} of {len(fetched)} packages from the machine's disk, {cached} from its cache, {network} from an index"


def _shown(done: Done) -> str:
    lines = [line for line in done.said.rstrip().splitlines() if not line.startswith("WARNING: Location ")]
    if len(lines) > _LINES:
        left = len(lines) - _LINES
        lines = [*lines[: _LINES // 2], f"... {left} more lines ...", *lines[-_LINES // 2 :]]
    first = done.command if done.command.startswith("#") else f"$ {done.command}"
    body = "\n".join(line[:160] for line in (first, *lines))
    return f"```text\n{body}\n```\n\n"


if __name__ == "__main__":
    main()
