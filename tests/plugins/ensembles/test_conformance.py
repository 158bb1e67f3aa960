"""Every promise of the ensembles, by attrkit's own conformance kit; what they are applied to comes from other families."""

from __future__ import annotations

import pytest

for _family in ("torch", "attrkit_gradients", "attrkit_perturbation", "attrkit_propagation"):
    pytest.importorskip(_family)

from attrkit.testing import conformance  # noqa: E402 - families may be kept out of a run

test_seed_average = conformance("seed_average", kind="wrapper", options={"n_seeds": 3})
test_contrast = conformance("contrast", kind="wrapper", options={"against": 2})
test_multi_target = conformance("multi_target", kind="wrapper", options={"targets": [0, 2]})
test_rank_agreement = conformance("rank_agreement", kind="wrapper")
test_seed_average_of_coalitions = conformance("seed_average(shapley_value_sampling)", options={"n_samples": 3, "n_seeds": 2})
test_contrast_of_rules = conformance("contrast(lrp)", options={"against": 2})
test_largest_of_several_targets = conformance("multi_target(deeplift)", options={"targets": [0, 2], "reduce": "max_abs"})
test_rank_agreement_of_three = conformance("rank_agreement(saliency,feature_ablation,lrp)")
test_wrappers_of_wrappers = conformance("noise_tunnel(contrast(saliency))", options={"against": 2, "nt_samples": 2})
