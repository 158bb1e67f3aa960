"""The two data sets, which come with scikit-learn, split into examples to learn from and held-out ones."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from sklearn.datasets import load_breast_cancer, load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from torch import Tensor

_HELD_OUT = 0.25


@attrs.frozen(eq=False)
class Examples:
    """Inputs and classes to learn from, the same held out, and the names of features and classes."""

    inputs: Tensor
    classes: Tensor
    held_out: Tensor
    held_out_classes: Tensor
    features: tuple[str, ...]
    names: tuple[str, ...]


def digits(seed: int) -> Examples:
    """Handwritten digits of 8 by 8 pixels between 0 and 1."""
    found: Any = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return _split(images, found.target, seed, (), tuple(map(str, range(10))))


def tumours(seed: int) -> Examples:
    """Thirty measurements of each tumour, in standard deviations from the mean of those to learn from."""
    found: Any = load_breast_cancer()
    raw = _split(torch.tensor(found.data, dtype=torch.float32), found.target, seed, found.feature_names, found.target_names)
    mean, deviation = raw.inputs.mean(0), raw.inputs.std(0)
    return attrs.evolve(raw, inputs=(raw.inputs - mean) / deviation, held_out=(raw.held_out - mean) / deviation)


def _split(inputs: Tensor, classes: Any, seed: int, features: Any, names: Any) -> Examples:
    target = torch.as_tensor(classes, dtype=torch.long)
    learn, hold = train_test_split(range(len(inputs)), test_size=_HELD_OUT, random_state=seed % 2**32, stratify=classes)
    labels = tuple(map(str, features)), tuple(map(str, names))
    return Examples(inputs[learn], target[learn], inputs[hold], target[hold], *labels)
