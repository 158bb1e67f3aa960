"""Which tests run which function of a package of plugins, and how long each takes."""

from __future__ import annotations

import ast
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import coverage
import pytest
from mutants import Module
from running import QUIET, forked

_FORKED = 3600


@attrs.frozen
class Concerned:
    """Source file -> line -> the tests that ran it; and the seconds of each test."""

    lines: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    @classmethod
    def measured(cls, package: str, folders: Sequence[Path]) -> Concerned:
        """Run the tests below ``folders`` once, without a change; those that do not pass judge no mutant."""
        with tempfile.TemporaryDirectory() as scratch:
            noted = Path(scratch, "noted.json")
            forked(lambda: _note(package, folders, noted), _FORKED)
            if not noted.exists():
                message = f"the tests of {package} did not run: {[str(folder) for folder in folders]}"
                raise SystemExit(message)
            return cls(**json.loads(noted.read_text()))

    def tests(self, module: Module, line: int) -> list[str]:
        """Those that ran the function around the line, or any function of the module if there is none around it.

        Tests that take least come first, but one of each test function before the next parameters of any.
        """
        known = self.lines.get(str(module.path), {})
        bodies = list(_bodies(module.path))
        around = [body for body in bodies if line in body]
        wanted = [min(around, key=len)] if around else bodies
        ran = {test for body in wanted for number in body for test in known.get(str(number), ())}
        functions: dict[str, list[str]] = defaultdict(list)
        for test in sorted(ran & self.seconds.keys(), key=self.seconds.__getitem__):
            functions[test.partition("[")[0]].append(test)
        ranked = [(rank, self.seconds[test], test) for tests in functions.values() for rank, test in enumerate(tests)]
        return [test for *_, test in sorted(ranked)]


def _bodies(path: Path) -> Iterator[range]:
    """The lines of each function's body: decorators and signatures run when the module is imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)


def _note(package: str, folders: Sequence[Path], noted: Path) -> int:
    measure = coverage.Coverage(data_file=None, source_pkgs=[package], messages=False)
    measure.start()
    watch = _Watch(measure)
    pytest.main([*QUIET, "-m", "not slow", *map(str, folders)], plugins=[watch])
    measure.stop()
    data = measure.get_data()
    lines = {
        path: {str(line): [test for test in tests if test] for line, tests in data.contexts_by_lineno(path).items()}
        for path in data.measured_files()
    }
    noted.write_text(json.dumps({"lines": lines, "seconds": watch.seconds}))
    return 0


class _Watch:
    """A pytest plugin that tells coverage which test runs, and notes how long each that passes took."""

    def __init__(self, measure: coverage.Coverage) -> None:
        self.measure = measure
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.measure.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.measure.switch_context("")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self.seconds[report.nodeid] = report.duration
