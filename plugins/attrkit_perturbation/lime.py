"""LIME: the coefficients of a simple model that is fitted to what the model says around the example."""

from collections.abc import Callable
from typing import Any, Literal

from attrkit import Estimate, Problem, method
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors
from attrkit_perturbation.local.calling import instead
from attrkit_perturbation.local.fits import fitted
from attrkit_perturbation.local.neighbours import called, compared, drawn
from attrkit_perturbation.local.similarity import check_width, distances, kernel_weights
from attrkit_perturbation.surrogates.fitting import surrogate_of


@method(
    "lime",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    stochastic=True,
    forward_passes="n_samples + layer",
    references=("arXiv:1602.04938",),
)
def lime(
    problem: Problem,
    *,
    feature_mask: Any = None,
    replacement: Any = None,
    background: Any = None,
    n_samples: int = 1000,
    design: Any = "bernoulli",
    kernel: Literal["cosine", "euclidean", "hamming"] = "cosine",
    kernel_width: float = 1.0,
    kernel_space: Literal["site", "features"] = "site",
    surrogate: Any = "lasso",
    standardise: bool = True,
    interpretable_model: Any = None,
    similarity_func: Callable[..., Any] | None = None,
    perturb_func: Callable[..., Any] | None = None,
) -> Tensors:
    """LIME: coefficients of a linear model of which features are there, fitted to the model's values around each example.

    Without targets, every output has a linear model of its own, from the same samples. ``details`` hold its weighted ``r2`` and
    its ``intercept``, shape ``(batch, *outputs)``. For least squares and ridge there are standard errors: how much coefficients
    would vary with other random samples. Features that make no difference to an example have the coefficient 0.

    Args:
        background: rows that take turns in place of a baseline, a sample each.
        n_samples: how many samples the surrogate is fitted to; the first is the example itself.
        design: which coalitions are drawn: the name of a design, or a mapping of that to its options.
        kernel: the distance between example and sample: "cosine", "euclidean", or "hamming", the share of absent features.
        kernel_width: of the Gaussian of that distance that weighs the samples.
        kernel_space: whether distances are between the values at the "site", or between vectors that say which "features" are
            there, as in the paper's own programs.
        surrogate: "lasso", "ridge", "least_squares", a mapping of one to its options, a function, or an object with ``fit``.
        standardise: divide values by their standard deviation for the fit, so that a penalty does not depend on their scale.
        interpretable_model: an object with ``fit(loader)`` and ``representation()``, instead of the surrogate.
        similarity_func: a function of the example, one sample, its coalition and keywords, that returns the sample's weight,
            instead of the kernel.
        perturb_func: a function of the example and keywords that returns one coalition, shape ``(1, features)``, or a generator
            function, instead of the design.

    Raises:
        UsageError: an option is wrong, or has no effect beside a function that is given instead; or all weights are zero.
    """
    if n_samples < 2:
        raise UsageError(f"n_samples must be at least 2, got {n_samples}: the example itself, and what it is compared with")
    if interpretable_model is not None and not hasattr(interpretable_model, "representation"):
        got = type(interpretable_model).__name__
        raise UsageTypeError(
            f"interpretable_model must have fit(loader) and representation(), which {got} has not; what fits arrays, like "
            "scikit-learn's models, is given as the surrogate"
        )
    check_width(kernel_width)
    instead("interpretable_model", interpretable_model, surrogate=(surrogate, "lasso"))
    instead("perturb_func", perturb_func, design=(design, "bernoulli"))
    kernels = {"kernel": (kernel, "cosine"), "kernel_width": (kernel_width, 1.0), "kernel_space": (kernel_space, "site")}
    instead("similarity_func", similarity_func, **kernels)
    model = surrogate if interpretable_model is None else interpretable_model
    chosen = surrogate_of(problem, model, "surrogate" if interpretable_model is None else "interpretable_model")
    game = problem.game(feature_mask, replacement, background)
    near = drawn(game, design, n_samples) if perturb_func is None else called(game, perturb_func, n_samples)
    if similarity_func is None:
        away = distances(game, near.there, near.draws, kernel, kernel_space, joined=near.joined)
        weights = kernel_weights(away, kernel_width)
    else:
        weights = compared(near, similarity_func)
    fit = fitted(chosen, near, weights, standardise=standardise)
    players = slice(None) if game.players is None else game.players
    errors = None if fit.errors is None else fit.errors[players]
    details = {"r2": fit.r2, "intercept": fit.intercept, "samples": len(near.values)}
    return game.attributions(Estimate(fit.scores[players], errors, None if errors is None else fit.degrees, details))
