"""Feature ablation: what the objective loses when a feature is replaced by its baseline."""

from typing import Any

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method(
    "feature_ablation",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    linear=True,
    forward_passes="1 + features + layer",
    references=("arXiv:1311.2901",),
)
def feature_ablation(problem: Problem, *, feature_mask: Any = None, replacement: Any = None, background: Any = None) -> Tensors:
    """Drop of the objective when each feature is replaced by its baseline, the others left as they are."""
    game = problem.game(feature_mask, replacement, background)
    values = game.streamed(game.all_but_one(), game.count + 1)
    return game.spread(values[0] - values[1:])
