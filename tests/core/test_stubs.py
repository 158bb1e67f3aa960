"""The typed stub of ``attrkit.attr`` says what the classes are."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
from attrkit import attr, stubs
from attrkit.facade import class_names


def test_the_stub_is_fresh() -> None:
    assert stubs.STUB.read_text() == stubs.text(), "run: python -m attrkit.stubs"


def test_every_class_in_the_stub_exists() -> None:
    named = [line.split()[1].partition("(")[0] for line in stubs.text().splitlines() if line.startswith("class ")]
    assert set(named) <= set(class_names())
    assert all(getattr(attr, name).__name__ == name for name in named)


def test_an_unknown_class_is_an_attribute_error_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="no class 'IntegratedGradient'. Did you mean 'IntegratedGradients'"):
        attr.IntegratedGradient  # noqa: B018


def test_all_public_names_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from attrkit.attr import *", names)  # noqa: S102 - it works in modules only
    assert set(attr.__all__) <= set(names)
    assert {"IntegratedGradients", "LayerConductance", "Attribution", "NoiseTunnel", "EpsilonRule"} <= set(names)
    assert names["Saliency"] is attr.Saliency
    assert "Any" not in names
