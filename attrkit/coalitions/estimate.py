"""What an estimator makes of the values of a game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor


@attrs.frozen(eq=False)
class Estimate:
    """A score for each feature, and how sure it is.

    Attributes:
        scores: shape ``(features, batch, *outputs)``, float64 on the CPU.
        errors: standard errors of the scores, of the same shape; None where they are no estimates, or nothing is known.
        degrees: the degrees of freedom that the errors were estimated with; None for many.
        details: what else is worth knowing, by name: tensors, or anything that JSON holds.
    """

    scores: Tensor
    errors: Tensor | None = None
    degrees: float | None = None
    details: Mapping[str, Any] = attrs.field(factory=dict)
