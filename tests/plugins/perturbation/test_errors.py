"""What is wrong with an ablation is said in a message that names it."""

from __future__ import annotations

import pytest
import torch

from attrkit.errors import UnknownName, UsageError, UsageTypeError
from tests.plugins.models import built, draw, mlp

x = draw(3, 6)
INTS = torch.zeros(1, 6, dtype=torch.int64)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"feature_mask": (INTS, INTS)}, UsageError, "feature_mask has 2 tensors, but there are 1 to attribute to"),
        ({"feature_mask": ()}, UsageError, "feature_mask has 0 tensors, but there are 1 to attribute to"),
        ({"feature_mask": INTS.double()}, UsageTypeError, r"feature_mask\[0\] must be an integer tensor .* got torch.float64"),
        ({"feature_mask": INTS.bool()}, UsageTypeError, r"feature_mask\[0\] must be an integer tensor .* got torch.bool"),
        ({"feature_mask": [0] * 6}, UsageTypeError, r"feature_mask\[0\] must be an integer tensor .* got list"),
        ({"feature_mask": INTS[:, :4]}, UsageError, r"has shape \(1, 4\), .* does not broadcast .* \(3, 6\)"),
        ({"feature_mask": INTS.expand(2, 6)}, UsageError, r"has shape \(2, 6\), .* does not broadcast .* \(3, 6\)"),
        ({"feature_mask": INTS[None]}, UsageError, r"has shape \(1, 1, 6\), .* does not broadcast .* \(3, 6\)"),
        ({"perturbations_per_eval": 0}, UsageTypeError, "perturbations_per_eval must be an integer of at least 1, got 0"),
        ({"perturbations_per_eval": 1.5}, UsageTypeError, "perturbations_per_eval must be an integer of at least 1, got 1.5"),
        ({"baselines": draw(2, 6)}, UsageError, r"baselines has shape \(2, 6\), but the input has shape \(3, 6\)"),
        ({"baselines": "mean"}, UsageTypeError, "must be a number or a tensor, got str"),
        ({"target": 3}, UsageError, "target 3 is out of range"),
        ({"target": [0, 3, 0]}, UsageError, r"target \[0, 3, 0\] is out of range"),
        ({"feature_masks": INTS}, UsageTypeError, "attribute has no parameter 'feature_masks'. Did you mean 'feature_mask'"),
    ],
)  # fmt: skip
def test_of_inputs(attribute, given, error, message):
    with pytest.raises(error, match=message):
        attribute("FeatureAblation", built(mlp))(x, **{"target": 0, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer_mask": INTS}, r"has shape \(1, 6\), .* does not broadcast .* \(3, 8\)|layer_mask"),
        ({"layer_baselines": draw(3, 6)}, r"baselines has shape \(3, 6\), but the layer's value has shape \(3, 8\)"),
        ({"layer_baselines": (0, 0)}, "baselines has 2 entries, but the layer's value has 1 tensors"),
    ],
)
def test_of_a_layer(attribute, given, message):
    model = built(mlp)
    with pytest.raises(UsageError, match=message):
        attribute("LayerFeatureAblation", model, model[0])(x, target=0, **given)


def test_a_wrong_number_of_baselines_is_an_index_error_too(attribute):
    with pytest.raises(UsageError, match="baselines has 2 entries, but the input has 1 tensors") as caught:
        attribute("FeatureAblation", built(mlp))(x, (0, 0), 0)
    assert isinstance(caught.value, IndexError)  # as callers of the established API know it


def test_an_option_that_does_not_exist(explain):
    with pytest.raises(UnknownName, match="feature_ablation has no option 'mask'. Did you mean 'feature_mask'"):
        explain(built(mlp), x, "feature_ablation", target=0, mask=INTS)


def test_answers_that_do_not_fit_the_batch(attribute):
    with pytest.raises(UsageError, match=r"\b2\b.*\b3\b"):
        attribute("FeatureAblation", lambda x: x[:2].sum(1))(x)


def test_an_exception_of_the_model_is_the_caller_s(attribute):
    def forward(x):
        message = "out of cheese"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="out of cheese"):
        attribute("FeatureAblation", forward)(x)
