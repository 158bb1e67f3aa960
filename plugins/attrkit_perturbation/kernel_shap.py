"""Kernel SHAP: Shapley values from a budget of evaluations."""

from typing import Any, Literal

from attrkit import Estimate, Problem, method
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.budgets import TOL, checked, until


@method(
    "kernel_shap",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    complete="exact",
    stochastic=True,
    forward_passes="n_samples + layer",
    references=("arXiv:1705.07874", "arXiv:2012.01536", "arXiv:2410.01917"),
)
def kernel_shap(
    problem: Problem,
    *,
    feature_mask: Any = None,
    replacement: Any = None,
    background: Any = None,
    n_samples: int | Literal["auto"] = "auto",
    estimator: Any = "auto",
    tol: float = TOL,
) -> Tensors:
    """Shapley values as accurate as a number of evaluations of the model allows, with standard errors.

    Args:
        background: rows that take turns in place of one baseline.
        n_samples: evaluations of each example, those with all features and with none included; "auto" takes as many as ``tol``
            needs, from 10 to 1000 per feature.
        estimator: the name of an estimator, or a mapping of that to its options; "auto" chooses one for the budget, "captum"
            samples as Captum does.
        tol: of "auto": the largest standard error, relative to the range of an example's scores.
    """
    part = problem.part("estimators", estimator, "estimator")
    game = problem.game(feature_mask, replacement, background)

    def estimate(budget: int) -> Estimate:
        found: Estimate = part(game, budget)
        return found

    if n_samples == "auto" and part.name == "exact":
        return game.attributions(estimate(2**game.count * game.rows))
    if n_samples == "auto":
        return game.attributions(until(game, tol, estimate))
    return game.attributions(estimate(checked(n_samples, tol)))
