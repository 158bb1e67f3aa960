"""Shapley values, exactly: the mean of what a feature adds to the objective, over all orders in which features could join."""

from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors
from attrkit_perturbation.estimators.exact import exact


@method(
    "shapley_values",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    complete="exact",
    linear=True,
    forward_passes="2 ** features + layer",
    references=("doi:10.1515/9781400881970-018",),
)
def shapley_values(problem: Problem, *, feature_mask: Any = None, replacement: Any = None, background: Any = None) -> Tensors:
    """Mean of what a feature adds over all orders of joining, from every set of features evaluated once.

    Args:
        feature_mask: integer tensors, one per tensor: positions of one number are one feature; or the name of a segmenter, or a
            mapping of that to its options. Without, each position is one. More than 22 features are refused.
    """
    game = problem.game(feature_mask, replacement, background)
    return game.attributions(exact.function(game, 2**game.count * game.rows))
