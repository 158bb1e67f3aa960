"""The cost that a method declares is what an explanation counts: forward and backward passes, by option and place."""

from __future__ import annotations

import pytest
import torch

import attrkit
from attrkit.registry import registry
from tests.plugins.models import built, draw, mlp

X = draw(3, 6, seed=1)
ROWS = draw(6, 6, seed=2)
COUNTS = {"n_steps": 7, "n_samples": 7}
CASES = [
    *((name, {}) for name in ("saliency", "input_x_gradient", "integrated_gradients", "conductance", "gradient_shap")),
    *((name, {}) for name in ("expected_gradients", "input_baseline_x_gradient", "internal_influence", "activation")),
    *((name, {"multiply_by_inputs": False}) for name in ("integrated_gradients", "conductance", "input_x_gradient")),
    *((name, {"multiply_by_inputs": False}) for name in ("gradient_shap", "expected_gradients", "input_baseline_x_gradient")),
]


@pytest.mark.parametrize("place", ["input", "layer"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_method_costs_what_it_declares(name, options, place):
    spec = registry.method(name)
    if place not in spec.where or any(o not in {option.name for option in spec.options} for o in options):
        pytest.skip("the method has no such form")
    given = {k: v for k, v in COUNTS.items() if k in {option.name for option in spec.options}} | options
    found = attrkit.explain(
        built(mlp),
        X,
        name,
        target=None if not spec.objective else 1,
        layer="0" if place == "layer" else None,
        baselines=None if spec.baseline == "none" else ROWS if spec.distribution else torch.zeros_like(X),
        **given,
    )
    names = {**spec.resolve(given), "layer": int(place == "layer")}
    for direction, declared in (("forward", spec.forward_passes), ("backward", spec.backward_passes)):
        assert found.passes[direction] == eval(declared, {"__builtins__": {}}, names), declared  # noqa: S307 - a fact of ours
