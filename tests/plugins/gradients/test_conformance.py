"""Every promise of the declarations of gradient methods, by attrkit's own conformance kit."""

from __future__ import annotations

from attrkit.testing import conformance
from tests.plugins.covering import uncovered

test_saliency = conformance("saliency")
test_input_x_gradient = conformance("input_x_gradient")
test_integrated_gradients = conformance("integrated_gradients")
test_conductance = conformance("conductance")
test_internal_influence = conformance("internal_influence")
test_activation = conformance("activation")
test_input_baseline_x_gradient = conformance("input_baseline_x_gradient")
test_gradient_shap = conformance("gradient_shap")
test_expected_gradients = conformance("expected_gradients")
test_grad_cam = conformance("grad_cam")
test_hires_cam = conformance("hires_cam")
test_layer_cam = conformance("layer_cam")
test_x_grad_cam = conformance("x_grad_cam")
test_grad_cam_plus_plus = conformance("grad_cam_plus_plus")
test_eigen_cam = conformance("eigen_cam")


def test_no_method_is_forgotten():
    assert not uncovered(globals(), "attrkit_gradients")
