"""What other libraries estimate of a game with a number of evaluations; those of them that are installed."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeAlias

import captum.attr
import numpy as np
import torch
from torch import Tensor

from benchmarks.games import Compared, Known, Model

#: From a game, how many evaluations it may cost and a seed to estimates of the Shapley values, shape ``(players,)``.
Estimator: TypeAlias = "Callable[[Known, int, int], Tensor]"


class Counted:
    """A model, as a function, that counts the rows it is called with; no module, whose attributes are put back by attrkit."""

    def __init__(self, model: Model) -> None:
        self.model, self.rows = model, 0

    def __call__(self, x: Tensor) -> Tensor:
        """Its output."""
        self.rows += len(x)
        return self.model(x)


def _ends(game: Known) -> dict[str, Tensor]:
    ones = torch.ones(1, game.count, dtype=torch.float64)
    return {"inputs": ones, "baselines": torch.zeros_like(ones)}


def _captum_kernel_shap(game: Known, budget: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    method = captum.attr.KernelShap(game.model)
    found: Tensor = method.attribute(**_ends(game), n_samples=budget, perturbations_per_eval=256)[0]
    return found


def _captum_sampling(game: Known, budget: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    method = captum.attr.ShapleyValueSampling(game.model)
    orders = max(1, budget // game.count)
    found: Tensor = method.attribute(**_ends(game), n_samples=orders, perturbations_per_eval=256)[0]
    return found


def _on_arrays(game: Known) -> Callable[[Any], Any]:
    return lambda rows: game.model(torch.from_numpy(np.asarray(rows, dtype=np.float64))).numpy()


def _shap_kernel(game: Known, budget: int, seed: int) -> Tensor:
    import shap

    np.random.seed(seed)  # noqa: NPY002 - it draws from the global generator
    explainer = shap.KernelExplainer(_on_arrays(game), np.zeros((1, game.count)))
    found = explainer.shap_values(np.ones((1, game.count)), nsamples=budget - 2, l1_reg=False, silent=True)
    return torch.from_numpy(np.asarray(found))[0]


def _shap_permutation(game: Known, budget: int, seed: int) -> Tensor:
    import shap

    masker = shap.maskers.Independent(np.zeros((1, game.count)))
    explainer = shap.PermutationExplainer(_on_arrays(game), masker, seed=seed)
    least = 2 * game.count + 1  # it refuses fewer
    return torch.from_numpy(explainer(np.ones((1, game.count)), max_evals=max(budget, least), silent=True).values)[0]


def _shapiq(game: Known, budget: int, seed: int) -> Tensor:
    import shapiq

    approximator = shapiq.KernelSHAP(n=game.count, pairing_trick=True, random_state=seed)
    found = approximator.approximate(budget, _on_arrays(game))
    return torch.tensor([found[(i,)] for i in range(game.count)], dtype=torch.float64)


_PEERS: dict[str, tuple[str, Estimator]] = {
    "captum KernelShap": ("captum", _captum_kernel_shap),
    "captum ShapleyValueSampling": ("captum", _captum_sampling),
    "shap KernelExplainer": ("shap", _shap_kernel),
    "shap PermutationExplainer": ("shap", _shap_permutation),
    "shapiq KernelSHAP, pairing": ("shapiq", _shapiq),
}


def peers() -> dict[str, Estimator]:
    """The estimators of the libraries that are installed, by name."""
    return {name: estimator for name, (library, estimator) in _PEERS.items() if find_spec(library)}


def background_of_shap(case: Compared, budget: int, seed: int) -> Tensor:
    """What shap's KernelExplainer makes of so many forward rows, of which each coalition takes one for each background row."""
    import shap

    np.random.seed(seed)  # noqa: NPY002 - it draws from the global generator
    explainer = shap.KernelExplainer(lambda rows: case.model(torch.from_numpy(rows)).numpy(), case.rows.numpy())
    found = explainer.shap_values(case.x.numpy(), nsamples=budget // len(case.rows), l1_reg=False, silent=True)
    return torch.from_numpy(np.asarray(found))[0]


def quietly() -> None:
    """Silence what the libraries say about their arguments and about too few samples."""
    warnings.simplefilter("ignore")
