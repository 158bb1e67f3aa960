"""LOCO: how much larger the model's error is when it must do without a covariate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrkit import Problem, method
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


def _truths(problem: Problem, given: Any, like: Tensor) -> Tensor:
    """What is true of each row of the problem, float64 on the CPU, of the shape of the objective."""
    try:
        truth = torch.as_tensor(given).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageTypeError(f"truth must be a tensor with a number for each example, got {type(given).__name__}") from error
    chosen = problem.keys is not None and truth.dim() in {x.dim() for x in problem.point} - {1}  # as every option is
    if not chosen and truth.dim() and len(like) == len(problem.arguments) and len(truth) > int(problem.example_rows.max()):
        truth = truth[problem.example_rows]
    if truth.shape != like.shape:
        raise UsageError(
            f"truth has shape {tuple(truth.shape)}, but what is explained has shape {tuple(like.shape)}; give a number for "
            "each example, and a target where the model has several outputs"
        )
    return truth


@method(
    "loco",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    forward_passes="1 + features + layer",
    references=("arXiv:1604.04173",),
)
def loco(
    problem: Problem, *, truth: Any = None, feature_mask: Any = None, replacement: Any = None, background: Any = None
) -> Tensors:
    """Excess absolute error without each feature: ``|truth - f(x without it)| - |truth - f(x)|``.

    The model is not fitted again: its output without a feature is its mean over a background, or the output with the feature
    replaced. Without ``truth`` the model's own output stands for it, so that a score is ``|f(x) - f(x without it)|``; the drop
    with its sign is what feature_ablation says.

    Args:
        truth: what the output should be, a number for each example, of the shape of what is explained.

    Raises:
        UsageError: ``truth`` has another shape than what is explained.
        UsageTypeError: it holds no numbers.
    """
    game = problem.game(feature_mask, replacement, background)
    values = game.streamed(game.all_but_one(), game.count + 1).cpu().double()
    whole, without = values[0], values[1:]
    right = whole if truth is None else _truths(problem, truth, whole)
    return game.spread((right - without).abs() - (right - whole).abs())
