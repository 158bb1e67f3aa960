"""Every promise of the declarations of gradient methods, by attrkit's own conformance kit."""

from __future__ import annotations

from attrkit.testing import conformance

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
