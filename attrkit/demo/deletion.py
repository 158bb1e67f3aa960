"""Deletion: how fast the model forgets its answer while the pixels with the highest attributions disappear."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from attrkit import Explanation

_POINTS = 17


@attrs.frozen
class Curve:
    """The mean probability of the explained class, after each share of pixels was replaced by the baseline."""

    shares: tuple[float, ...]
    means: tuple[float, ...]

    @property
    def area(self) -> float:
        """The area under the curve; the lower, the better the attributions found what mattered."""
        return sum((a + b) / 2 for a, b in zip(self.means, self.means[1:], strict=False)) / (len(self.means) - 1)


def deletion_curve(model: nn.Module, inputs: Tensor, explanation: Explanation, classes: Tensor, baseline: float = 0.0) -> Curve:
    """The curve of one explanation, averaged over all its examples; channels of a layer are summed."""
    (values,) = explanation.values.values()
    order = values.sum(1).flatten(1).argsort(dim=1, descending=True, stable=True)
    shares = torch.linspace(0, 1, _POINTS)
    means = []
    for share in shares:
        gone = order[:, : round(float(share) * order.shape[1])]
        left = inputs.flatten(1).scatter(1, gone, baseline).reshape(inputs.shape)
        with torch.no_grad():
            means.append(float(model(left).softmax(1).gather(1, classes[:, None]).mean()))
    return Curve(tuple(shares.tolist()), tuple(means))
