"""The peers, for tests only. Each test that needs one is skipped, with the reason, where it is not installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from tests.plugins.conftest import attribute as attribute
from tests.plugins.conftest import explain as explain
from tests.plugins.conftest import one_thread as one_thread


@pytest.fixture(scope="session")
def captum():
    """``captum.attr``."""
    return pytest.importorskip("captum.attr", reason="captum is not installed: pip install 'attrkit[parity]'")


@pytest.fixture(scope="session")
def zennit():
    """``zennit``, which imports two classes of torchvision: where that is not installed, two empty ones stand in."""
    if find_spec("zennit") is None:
        pytest.skip("zennit is not installed: pip install --no-deps zennit")
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("torchvision") is None:
            resnet = ModuleType("torchvision.models.resnet")
            resnet.Bottleneck, resnet.BasicBlock = type("Bottleneck", (), {}), type("BasicBlock", (), {})
            for name, module in (
                ("torchvision", ModuleType("torchvision")),
                ("torchvision.models", ModuleType("torchvision.models")),
                (resnet.__name__, resnet),
            ):
                patch.setitem(sys.modules, name, module)
        package = pytest.importorskip("zennit", reason="zennit does not import")
        for part in ("attribution", "canonizers", "composites", "layer"):
            pytest.importorskip(f"zennit.{part}")
    return package
