"""Every promise of the declarations of methods of propagation, by attrkit's own conformance kit."""

from __future__ import annotations

from attrkit.testing import conformance
from tests.plugins.covering import uncovered

test_lrp = conformance("lrp")
test_deeplift = conformance("deeplift")
test_deeplift_shap = conformance("deeplift_shap")
test_guided_backprop = conformance("guided_backprop")
test_deconvnet = conformance("deconvnet")
test_guided_grad_cam = conformance("guided_grad_cam")


def test_no_method_is_forgotten():
    assert not uncovered(globals(), "attrkit_propagation")
