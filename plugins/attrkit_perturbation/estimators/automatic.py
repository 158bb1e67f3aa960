"""The estimator that suits a game and a budget."""

from attrkit import Estimate, Game, estimator
from attrkit_perturbation.asking.samples import covers, drawing
from attrkit_perturbation.estimators.exact import enumerated
from attrkit_perturbation.estimators.odd_gp import odd_gp
from attrkit_perturbation.estimators.permutations import antithetic, evaluations
from attrkit_perturbation.estimators.regression import leverage

_FEW = 2.5  # evaluations per feature: with fewer, one order and its reverse says more than the prior of the process
_PER_ROW = 4  # evaluations per feature and row of a background, for a design of each row
_GP = 8000  # evaluations: above, factorising the covariance costs more than it gains
_SYSTEM = 4096  # features: above, regressions are too large to solve


@estimator("auto")
def auto(game: Game, budget: int) -> Estimate:
    """All coalitions where the budget allows, else the most accurate estimator of those that suit the budget.

    Random orders and their reverses for few evaluations, a Gaussian process for up to 8000, and least squares above; with a
    background random orders, then, with enough evaluations for each row, least squares. ``details["estimator"]`` tells which.

    Raises:
        UsageError: the budget is not even enough for all features, none, and one pair.
    """
    if covers(game, budget):
        return enumerated(game)
    count, rows = game.count, game.rows
    found: Estimate
    if drawing(game):
        found = antithetic.function(game, budget)
    elif budget < evaluations(game, 2):  # not one order and its reverse
        found = (odd_gp if count <= _SYSTEM and rows == 1 else leverage).function(game, budget)
    elif count > _SYSTEM or budget < (_FEW if rows == 1 else _PER_ROW * rows) * count:
        found = antithetic.function(game, budget)
    else:
        found = (odd_gp if rows == 1 and budget <= _GP else leverage).function(game, budget)
    return found
