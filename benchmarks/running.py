"""What the runner chooses, needs and reaches: ``python -m benchmarks.running``; with ``--write`` it renews the document.

Parts that are measured elsewhere, like those of a GPU, are renewed alone: ``--parts gpu --write``.
"""

import argparse
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
import torch

from benchmarks import running_devices as devices
from benchmarks import running_gpu as gpu
from benchmarks import running_jobs as jobs
from benchmarks import running_memory as memory
from benchmarks import running_sizes as sizes
from benchmarks import running_switches as switches
from benchmarks.bars import table
from benchmarks.first_method import _machine

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks_running.md"
_HEAD = "# Benchmarks of the runner\n\nWritten by `python -m benchmarks.running --write`; do not edit."


@attrs.frozen
class Part:
    """A section of the document: a title, what it says, the table's head, and what measures its rows."""

    title: str
    text: str
    head: Sequence[str]
    rows: Callable[[argparse.Namespace], Iterator[Any]]


PARTS = {
    "sizes": Part("Rows of a pass", sizes.TEXT, sizes.HEAD, lambda g: sizes.measured(g.rounds, 3, g.only)),
    "memory": Part("Peak memory", memory.TEXT, memory.HEAD, lambda g: memory.measured(g.only)),
    "devices": Part(
        "Several replicas on one machine", devices.TEXT, devices.HEAD, lambda g: devices.measured(g.rounds, g.only)
    ),
    "jobs": Part("Jobs", jobs.TEXT, jobs.HEAD, lambda g: jobs.measured(g.rounds, g.only)),
    "switches": Part("What pays sometimes", switches.TEXT, switches.HEAD, lambda g: switches.measured(g.rounds, g.only)),
    "gpu": Part("On a GPU", gpu.TEXT, gpu.HEAD, lambda g: gpu.measured(_setting(g), g.rounds, g.only)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments choose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.running", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", metavar="NAME", default="", help="the cases whose names contain this")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each side (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"renew these parts of docs/{_DOCUMENT.name}")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # the part gpu, on tiny models, on the CPU
    given = parser.parse_args(arguments)
    if given.write and (given.only or given.tiny):
        parser.error("--write is for all cases of a part")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sections = {PARTS[name].title: _section(PARTS[name], given) for name in given.parts}
    if given.write:
        before = _DOCUMENT.read_text(encoding="utf-8") if _DOCUMENT.exists() else ""
        _DOCUMENT.write_text(renewed(before, sections), encoding="utf-8")


def _setting(given: argparse.Namespace) -> gpu.Setting:
    return gpu.Setting(torch.device("cpu" if given.tiny else "cuda"), given.tiny)


def _section(part: Part, given: argparse.Namespace) -> str:
    """A part as Markdown, of which each row is printed as it comes."""
    sys.stdout.write(f"\n## {part.title}\n\n")
    if part.head is gpu.HEAD and not (given.tiny or torch.cuda.is_available()):
        sys.stdout.write(f"{gpu.NOT_MEASURED}\n")
        return f"{part.text}\n\n{gpu.NOT_MEASURED}"
    sys.stdout.write(f"{table(part.head, [])}\n")
    rows = []
    for found in part.rows(given):
        rows.append(found.cells)
        sys.stdout.write(f"| {' | '.join(found.cells)} |\n")
        sys.stdout.flush()
    machine = torch.cuda.get_device_name() if part.head is gpu.HEAD and not given.tiny else "one thread"
    return f"{_place(machine)}\n\n{part.text}\n\n{table(part.head, rows)}"


def renewed(document: str, sections: dict[str, str]) -> str:
    """The document with these sections, by title, in place of those that it has."""
    _, *others = re.split(r"^## (.*)\n+", document, flags=re.MULTILINE)
    kept = dict(zip(others[::2], (text.strip() for text in others[1::2]), strict=True)) | sections
    body = [f"## {part.title}\n\n{kept[part.title]}" for part in PARTS.values() if part.title in kept]
    return "\n\n".join([_HEAD, *body]) + "\n"


def _place(machine: str) -> str:
    packages = ", ".join(f"{name} {known}" for name in ("attrkit", "torch", "transformers") if (known := _version(name)))
    return f"{_machine()}, {machine}; Python {platform.python_version()}, {packages}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
