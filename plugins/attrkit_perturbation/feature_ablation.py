"""Feature ablation: what the objective loses when a feature is replaced by its baseline."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_perturbation.coalitions import Game
from attrkit_perturbation.features import Features


@method(
    "feature_ablation",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    linear=True,
    forward_passes="1 + features",
    references=("arXiv:1311.2901",),
)
def feature_ablation(problem: Problem, *, feature_mask: Any = None) -> Tensors:
    """Drop of the objective when each feature is replaced by its baseline, the others left as they are.

    Args:
        feature_mask: integer tensors, one per tensor: positions of one number are one feature. Without, each position is one.
    """
    features = Features.of(problem.point, feature_mask)
    if not features.count:
        return problem.zeros()
    device = problem.point[0].device

    def all_but_one() -> Iterator[Tensor]:
        yield torch.ones(features.count, dtype=torch.bool, device=device)
        for absent in range(features.count):
            yield torch.arange(features.count, device=device) != absent

    whole, *without = Game(problem, features).values(all_but_one(), features.count + 1)
    return features.spread(torch.stack([whole - value for value in without], dim=1), problem.point)
