"""The whole of attrkit on two small models: trained here, explained, and reported on. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import attrs

from attrkit.errors import MissingExtra

_PACKAGES = {"sklearn": "scikit-learn", "jinja2": "jinja2", "matplotlib": "matplotlib"}


@attrs.frozen
class Done:
    """What a demo left behind: the files, and the share of held-out examples that each model gets right."""

    report: Path
    files: tuple[Path, ...]
    accuracy: dict[str, float]
    seconds: float


def run_demo(out: str | os.PathLike[str], *, seed: int = 0, say: Callable[[str], None] = print) -> Done:
    """Train, explain, save and report into the folder ``out``; ``say`` hears about progress.

    Raises:
        MissingExtra: scikit-learn, jinja2 or matplotlib is not installed.
    """
    for package, name in _PACKAGES.items():
        if find_spec(package) is None:
            raise MissingExtra("the demo", "demo", name)
    from attrkit.demo.page import write_page
    from attrkit.demo.study import study_digits, study_tumours
    from attrkit.demo.training import one_thread

    start = perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        digits = study_digits(seed, say)
        tumours = study_tumours(seed, say)
    files = []
    for study in (digits, tumours):
        for name, explanation in study.explanations.items():
            files.append(explanation.save(folder / f"{study.name}-{name.replace(' ', '-')}.safetensors"))
    say("writing the report")
    seconds = perf_counter() - start
    report = write_page(folder / "report.html", digits, tumours, files, seed=seed, seconds=seconds)
    return Done(report, tuple(files), {study.name: study.accuracy for study in (digits, tumours)}, perf_counter() - start)
