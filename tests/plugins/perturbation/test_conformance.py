"""Every promise of the declarations of perturbation, by attrkit's own conformance kit."""

from __future__ import annotations

from attrkit.testing import conformance
from tests.plugins.covering import uncovered

_PAIRS = {"one_example_is_enough": "values are exchanged between examples, of which there must be two"}
_EXACT = {"another_seed_gives_another_sample": "these are samples enough for all coalitions of the kit's models"}
#: Methods that are not checked, and why.
LEFT_OUT = {"lime_base": "it explains one example at a time, by functions of the caller's; tests of it are in test_lime_base"}

test_feature_ablation = conformance("feature_ablation")
test_occlusion = conformance("occlusion")
test_loco = conformance("loco")
test_feature_permutation = conformance("feature_permutation", expected=_PAIRS)
test_shapley_values = conformance("shapley_values")
test_shapley_value_sampling = conformance("shapley_value_sampling", options={"n_samples": 3})
test_kernel_shap = conformance("kernel_shap", options={"n_samples": 20, "estimator": "leverage"})
test_lime = conformance("lime", options={"n_samples": 40, "surrogate": "ridge"})
test_rise = conformance("rise", options={"n_samples": 200})
test_sobol = conformance("sobol", options={"n_samples": 3})
test_banzhaf = conformance("banzhaf", options={"n_samples": 24})
test_owen = conformance("owen", options={"n_samples": 24})
test_shapley_interactions = conformance("shapley_interactions", options={"n_samples": 300}, expected=_EXACT)


def test_no_method_is_forgotten():
    assert not uncovered(globals(), "attrkit_perturbation", LEFT_OUT)
