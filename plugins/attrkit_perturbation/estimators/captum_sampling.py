"""The first sampling of Kernel SHAP: coalitions with sizes drawn by the Shapley kernel, and one linear regression."""

import torch
from torch import Tensor

from attrkit import Estimate, Game, estimator
from attrkit.errors import UsageError
from attrkit_perturbation.asking.samples import fixed, note_baseline, note_interrupt
from attrkit_perturbation.designs.shapley import kernel

_ENDS = 1e6  # the weight of all features, and of none


@estimator("captum", references=("arXiv:1705.07874",))
def captum(game: Game, budget: int) -> Estimate:
    """Least squares with an intercept over coalitions with sizes drawn by the Shapley kernel, as Captum's KernelShap does.

    All features and none have the weight 10^6, so that scores add up to the change of the value nearly. There are no standard
    errors. Of a background, each coalition takes the next row.

    Raises:
        UsageError: the budget is not enough for all features and none.
    """
    fixed(game, "captum")
    count, rows = game.count, game.rows
    least = 1 + rows
    if budget < least:
        raise UsageError(f"n_samples={budget} is too small: all features and none are {least} evaluations; give at least that")
    ends = torch.arange(least)[:, None].expand(-1, count) == 0
    asked = torch.cat([ends, *kernel.function(count, budget - least, game.generator(0))])
    draws = torch.cat([torch.tensor([0]), torch.arange(len(asked) - 1) % rows])
    values = game.values(asked, None if isinstance(game.replacing, tuple) else draws, partial=True)
    if len(values) < len(asked):
        note_interrupt(len(values), len(asked), least + (count > 1))
    note_baseline(game, values[1:least])
    empty = values[1:least].mean(0, keepdim=True)
    together = torch.cat([values[:1], empty, values[least:]])
    coalitions = torch.cat([asked[:2], asked[least : len(values)]])
    scores = _regression(coalitions, together.flatten(1))
    return Estimate(scores.reshape(count, *values.shape[1:]), details={"estimator": "captum"})


def _regression(coalitions: Tensor, values: Tensor) -> Tensor:
    """Coefficients of a weighted linear regression with an intercept, the smallest where they are not determined."""
    weights = torch.ones(len(coalitions), 1, dtype=torch.float64)
    weights[:2] = _ENDS
    x, share = coalitions.double(), weights / weights.sum()
    x, y = x - (share * x).sum(0), values - (share * values).sum(0)
    found: Tensor = torch.linalg.lstsq(weights.sqrt() * x, weights.sqrt() * y, driver="gelsd").solution
    return found
