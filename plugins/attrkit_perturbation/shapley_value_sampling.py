"""Shapley values from random orders in which features join."""

from typing import Any, Literal

from attrkit import Estimate, Problem, method
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.budgets import TOL, checked, until
from attrkit_perturbation.estimators.permutations import antithetic, evaluations, permutation

_TOGETHER = {"permutation": 1, "antithetic": 2}


@method(
    "shapley_value_sampling",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    complete="exact",
    stochastic=True,
    forward_passes="2 + n_samples * (features - 1) + layer",
    references=("doi:10.1016/j.cor.2008.04.004", "arXiv:2104.12199"),
)
def shapley_value_sampling(
    problem: Problem,
    *,
    feature_mask: Any = None,
    replacement: Any = None,
    background: Any = None,
    n_samples: int | Literal["auto"] = 25,
    estimator: Literal["antithetic", "permutation"] = "antithetic",
    tol: float = TOL,
) -> Tensors:
    """Mean of what a feature adds over random orders of joining; features may be many.

    Args:
        background: rows that take turns in place of one baseline.
        n_samples: orders, of which all are taken where these cost no more; "auto" takes as many as ``tol`` needs, up to 1000
            evaluations per feature.
        estimator: antithetic takes each order backwards too, permutation takes independent orders.
        tol: of "auto": the largest standard error, relative to the range of an example's scores.
    """
    chosen = {"antithetic": antithetic, "permutation": permutation}[estimator].function
    game = problem.game(feature_mask, replacement, background)

    def estimate(budget: int) -> Estimate:
        found: Estimate = chosen(game, budget)
        return found

    if n_samples == "auto":
        return game.attributions(until(game, tol, estimate))
    return game.attributions(estimate(evaluations(game, checked(n_samples, tol), _TOGETHER[estimator])))
