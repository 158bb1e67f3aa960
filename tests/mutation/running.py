"""A mutant in a forked child, and what its tests say."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import torch
from hypothesis import settings
from mutants import Module, Mutant

import attrkit.testing  # noqa: F401 - imported once, for all children; it imports no plugin

if TYPE_CHECKING:
    from concerned import Concerned

torch.set_num_threads(1)
settings.register_profile("mutation", database=None, deadline=None, derandomize=True)
settings.load_profile("mutation")

_FIRST = 5.0  # seconds of tests that most mutants do not outlive
_START = 20.0  # seconds that collecting may take
_MEMORY = 16 << 30  # a changed number may ask for any amount
QUIET = [
    "-q",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]  # hypothesis was imported before pytest ran


@attrs.frozen
class Judge:
    """Says of a mutant: killed, survived, timed out, or that no test runs the line. Takes tests worth at most ``seconds``."""

    seconds: float

    def __call__(self, mutant: Mutant, concerned: Concerned) -> str:
        tests = concerned.tests(mutant.module, mutant.line)
        if not tests:
            return "no test"
        few = _worth(tests, concerned.seconds, _FIRST)
        for part in (few, _worth(tests[len(few) :], concerned.seconds, self.seconds)):
            if part and (verdict := _verdict(mutant, part, sum(map(concerned.seconds.__getitem__, part)))) != "survived":
                return verdict
        return "survived"


def _worth(tests: list[str], seconds: dict[str, float], limit: float) -> list[str]:
    chosen: list[str] = []
    for test in tests:
        limit -= seconds[test]
        if limit < 0 and chosen:
            break
        chosen.append(test)
    return chosen


def _verdict(mutant: Mutant, tests: list[str], seconds: float) -> str:
    code = forked(lambda: _test(mutant, tests), _START + 4 * seconds)
    return "timed out" if code is None else "survived" if code == 0 else "killed"


def _test(mutant: Mutant, tests: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    sys.meta_path.insert(0, _Changed(mutant.module, mutant.source))
    files = sorted({test.partition("::")[0] for test in tests})
    return int(pytest.main([*QUIET, "-x", *files], plugins=[_Only(tests)]))


def forked(work: Callable[[], int], limit: float) -> int | None:
    """What ``work`` returns in a child of its own; the number of the signal that ended it, negative; None when time is up."""
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 70
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
                code = work()
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@attrs.frozen
class _Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the changed source in place of the module's file."""

    module: Module
    source: str

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.module.name:
            return importlib.util.spec_from_file_location(fullname, self.module.path, loader=self)
        return None

    def get_source(self, fullname):
        return self.source

    def get_filename(self, fullname):
        return str(self.module.path)


@attrs.frozen
class _Only:
    """A pytest plugin that keeps these tests, in this order."""

    tests: list[str]

    def pytest_collection_modifyitems(self, items):
        rank = {test: i for i, test in enumerate(self.tests)}
        items[:] = sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])
