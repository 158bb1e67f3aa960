"""The two studies: train a model, explain held-out examples by several methods, and measure what that took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import attrs
from torch import Tensor, nn

import attrkit
from attrkit import Explanation
from attrkit.demo import data, models
from attrkit.demo.control import random_control
from attrkit.demo.deletion import Curve, deletion_curve
from attrkit.demo.training import accuracy, predicted, trained

_EXPLAINED = 200  # held-out digits

_DIGIT_METHODS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "integrated gradients": ("integrated_gradients", {}),
    "conductance": ("conductance", {"layer": "block"}),
    "lrp epsilon_plus": ("lrp", {"rules": "epsilon_plus"}),
    "lrp epsilon_gamma_box": ("lrp", {"rules": "epsilon_gamma_box", "parameters": {"low": 0, "high": 1}}),
    "feature ablation": ("feature_ablation", {}),
    "random control": (random_control, {}),
}
_TUMOUR_METHODS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "integrated gradients": ("integrated_gradients", {}),
    "lrp epsilon_plus": ("lrp", {"rules": "epsilon_plus"}),
    "feature ablation": ("feature_ablation", {}),
}


@attrs.frozen(eq=False)
class Study:
    """One model, what it gets right, and the explanations of some held-out examples by name."""

    name: str
    model: nn.Module
    examples: data.Examples
    accuracy: float
    predictions: Tensor
    explanations: Mapping[str, Explanation]
    seconds: Mapping[str, float]
    curves: Mapping[str, Curve] = attrs.field(factory=dict)


def study_digits(seed: int, say: Callable[[str], None]) -> Study:
    """Explain what a convolutional network reads in digits, for the digit that it reads."""
    examples = data.digits(seed)
    say(f"digits: training on {len(examples.inputs)} images")
    model = trained(models.DigitNet, examples, 12, seed)
    inputs = examples.held_out[:_EXPLAINED]
    found = _explained("digits", model, examples, inputs, _DIGIT_METHODS, {"target": "predicted", "seed": seed}, say)
    say("digits: deletion curves")
    curves = {name: deletion_curve(model, inputs, each, found.predictions) for name, each in found.explanations.items()}
    return attrs.evolve(found, curves=curves)


def study_tumours(seed: int, say: Callable[[str], None]) -> Study:
    """Explain what speaks for malignant, in measurements of tumours."""
    examples = data.tumours(seed)
    say(f"tumours: training on {len(examples.inputs)} rows of measurements")
    model = trained(models.tumour_net, examples, 12, seed)
    return _explained("tumours", model, examples, examples.held_out, _TUMOUR_METHODS, {"target": 0, "seed": seed}, say)


def _explained(
    name: str,
    model: nn.Module,
    examples: data.Examples,
    inputs: Tensor,
    methods: Mapping[str, tuple[Any, dict[str, Any]]],
    request: dict[str, Any],
    say: Callable[[str], None],
) -> Study:
    right = accuracy(model, examples)
    say(f"{name}: {right:.1%} of {len(examples.held_out)} held-out examples are right")
    explanations, seconds = {}, {}
    for label, (method, options) in methods.items():
        start = perf_counter()
        explanations[label] = attrkit.explain(model, inputs, method, **request, **options)
        seconds[label] = perf_counter() - start
        say(f"{name}: {label} of {len(inputs)} examples in {seconds[label]:.2f} s")
    return Study(name, model, examples, right, predicted(model, inputs), explanations, seconds)
