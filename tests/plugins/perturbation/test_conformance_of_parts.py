"""Every promise of our replacements, segmenters, designs, estimators and surrogates, by attrkit's own conformance kit."""

from __future__ import annotations

import pytest

from attrkit.registry import registry
from attrkit.testing.conformance import verdicts
from attrkit.testing.models import points

#: What some need to be used at all.
OPTIONS = {
    "mask_token": {"token": 3},
    "background": {"data": points(5, 6)},
    "marginal": {"background": points(5, 6)},
    "quartiles": {"background": points(9, 6)},
}
#: What is known not to hold.
EXPECTED = {
    "odd_gp": {"examples_and_outputs_do_not_mix": "all examples and outputs choose the kernel together, as its docstring says"},
    "auto": {"examples_and_outputs_do_not_mix": "it takes odd_gp for budgets in between"},
}
KINDS = ("replacement", "segmenter", "design", "estimator", "surrogate")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in registry.all(f"{kind}s")])
def test_a_part_keeps_its_promises(kind, name):
    if name == "superpixels":
        pytest.importorskip("skimage")
    failed = {v.check.name: v.error for v in verdicts(name, OPTIONS.get(name), kind=kind) if v.error is not None}
    assert failed.keys() == EXPECTED.get(name, {}).keys(), failed
