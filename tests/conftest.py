"""What every test may use: ``--only PACKAGE``, the ``gpu`` marker, and ``untouched``, which proves promise 1.

torch is imported inside: the tests of the core run without it.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

FAMILIES = {folder.name for folder in Path(__file__).parents[1].joinpath("plugins").glob("attrkit_*")}
ALWAYS = "attrkit_rulesets"


class Absent(MetaPathFinder):
    """Packages that are installed, but not in this run."""

    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.packages:
            message = f"{fullname} is kept out of a run with --only"
            raise ModuleNotFoundError(message, name=fullname)


# Test models are imported as tests.plugins.models. At the end of the path, so that an installed attrkit is what is tested.
sys.path.append(str(Path(__file__).parents[1]))


def pytest_addoption(parser):
    parser.addoption("--only", metavar="PACKAGE", choices=sorted(FAMILIES), help="run as if no other family of plugins existed")


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # one of several processes of pytest-xdist, which have a core each
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if only := config.getoption("--only"):
        sys.meta_path.insert(0, Absent(FAMILIES - {only}))
        os.environ["ATTRKIT_ONLY"] = f"{only},{ALWAYS}"


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no accelerator")


@pytest.fixture
def untouched():
    """A block under ``untouched(model, *inputs)`` fails if it leaves anything different, also where it raises."""
    pytest.importorskip("torch")
    from attrkit.testing.snapshots import untouched

    return untouched


@pytest.fixture(autouse=True)
def leaves_no_thread():
    """No test leaves a thread: what another one finds out about a model depends on whether any runs."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive(), f"{thread} goes on after the test"
