"""Perturbation methods against Captum's, in float64: where both are exact, or are made to ask for the same coalitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrkit
from tests.plugins.models import Residual, Tokens, TwoInputs, built, cnn, draw, mlp

pytestmark = pytest.mark.filterwarnings("ignore")  # of Captum's; what attrkit warns about has tests of its own


def same(found, expected, tolerance=1e-9):
    for ours, theirs in zip(*((t if isinstance(t, tuple) else (t,)) for t in (found, expected)), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, check_dtype=False)


def both(attribute, captum, name, model, *args, **kwargs):
    return attribute(name, model, *args, **kwargs), getattr(captum, name)(model, *args, **kwargs).attribute


#: A model, inputs, baselines, and a mask of few features.
CASES = {
    "mlp": (mlp, draw(4, 6), draw(4, 6, seed=9), torch.tensor([[0, 0, 1, 2, 2, 3]])),
    "cnn": (cnn, draw(3, 2, 8, 8), 0.25, (torch.arange(8)[:, None] // 4 * 2 + torch.arange(8) // 4)[None, None]),
    "residual": (Residual, draw(2, 3, 8, 8), 0, torch.arange(3).reshape(1, 3, 1, 1)),
    "two inputs": (
        TwoInputs,
        (draw(4, 4), draw(4, 2, 3)),
        (draw(4, 4, seed=9), 0),
        (torch.tensor([[0, 1, 1, 2]]), torch.tensor([[[2, 2, 3], [4, 4, 3]]])),
    ),
}
TARGETS = [1, 0, 2, 1]


@pytest.fixture(params=CASES)
def case(request):
    factory, x, b, mask = CASES[request.param]
    return built(factory), x, b, mask, TARGETS[: len(x[0] if isinstance(x, tuple) else x)]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("per_eval", [1, 3])
def test_feature_ablation(attribute, captum, case, masked, per_eval):
    model, x, b, mask, targets = case
    ours, theirs = both(attribute, captum, "FeatureAblation", model)
    given = {"feature_mask": mask if masked else None, "perturbations_per_eval": per_eval}
    same(ours(x, b, targets, **given), theirs(x, b, targets, **given))


def test_feature_ablation_of_every_output(attribute, captum, case):
    model, x, b, mask, _ = case
    ours, theirs = both(attribute, captum, "FeatureAblation", model)
    same(ours(x, b, feature_mask=mask), theirs(x, b, feature_mask=mask))


@pytest.mark.parametrize("form", [lambda out: out.sum(), lambda out: out.sum().reshape(1), lambda out: out.sum().item()])
@pytest.mark.parametrize("name", ["FeatureAblation", "ShapleyValues"])
def test_one_value_for_the_batch(attribute, captum, form, name):
    model, x = built(mlp), draw(3, 6)
    mask = torch.tensor([[0, 0, 1, 1, 2, 2]])
    ours, theirs = both(attribute, captum, name, lambda x: form(model(x)))
    same(ours(x, feature_mask=mask), theirs(x, feature_mask=mask), 1e-6)


def test_layer_feature_ablation(attribute, captum):
    model, x, mask = built(mlp), draw(4, 6), torch.tensor([[0, 0, 1, 1, 2, 2, 3, 4]])
    ours, theirs = both(attribute, captum, "LayerFeatureAblation", model, model[1])
    same(ours(x, 0.5, 1, layer_mask=mask), theirs(x, 0.5, 1, layer_mask=mask))


def test_neuron_feature_ablation(attribute, captum):
    model, x = built(mlp), draw(4, 6)
    ours, theirs = both(attribute, captum, "NeuronFeatureAblation", model, model[1])
    same(ours(x, 3, 0.5), theirs(x, 3, 0.5))


WINDOWS = {
    "mlp": [((2,), None), ((2,), 1), ((3,), (2,)), ((4,), 3)],
    "cnn": [((1, 3, 3), None), ((2, 4, 4), (1, 4, 4)), ((2, 3, 2), (2, 2, 1)), ((2, 8, 8), 1)],
    "residual": [((3, 4, 4), (1, 3, 4))],
    "two inputs": [(((2,), (1, 2)), None), (((2,), (2, 2)), ((2,), (1, 1))), (((3,), (1, 1)), (2, 1))],
}


@pytest.mark.parametrize(("name", "shape", "strides"), [(n, *w) for n, each in WINDOWS.items() for w in each])
@pytest.mark.parametrize("per_eval", [1, 4])
def test_occlusion(attribute, captum, name, shape, strides, per_eval):
    factory, x, b, _ = CASES[name]
    ours, theirs = both(attribute, captum, "Occlusion", built(factory))
    targets = TARGETS[: len(x[0] if isinstance(x, tuple) else x)]
    given = {"strides": strides, "baselines": b, "target": targets, "perturbations_per_eval": per_eval}
    same(ours(x, shape, **given), theirs(x, shape, **given), 1e-5)  # Captum's are float32


def rolled(x, mask):
    """The values of a feature, those of the next example: a permutation without chance."""
    return torch.where(mask, x.roll(1, 0), x)


@pytest.mark.parametrize("masked", [True, False])
def test_feature_permutation(attribute, captum, case, masked):
    model, x, _, mask, targets = case
    ours, theirs = both(attribute, captum, "FeaturePermutation", model, perm_func=rolled)
    given = {"feature_mask": mask if masked else None}
    same(ours(x, targets, seed=1, **given), theirs(x, targets, **given))


def test_layer_feature_permutation_of_a_batch_of_two(attribute, captum):
    model, x = built(lambda: mlp(outputs=1)), draw(2, 6)  # of which there is one permutation
    ours, theirs = both(attribute, captum, "LayerFeaturePermutation", model, model[1])
    same(ours(x, seed=1), theirs(x))


def test_shapley_values(attribute, captum, case):
    model, x, b, mask, targets = case
    ours, theirs = both(attribute, captum, "ShapleyValues", model)
    same(ours(x, b, targets, feature_mask=mask), theirs(x, b, targets, feature_mask=mask), 1e-5)  # Captum's are float32


def test_shapley_values_of_every_output(attribute, captum):
    model, x, mask = built(mlp), draw(3, 6), torch.tensor([[0, 0, 1, 2, 2, 3]])
    ours, theirs = both(attribute, captum, "ShapleyValues", model)
    same(ours(x, feature_mask=mask), theirs(x, feature_mask=mask), 1e-5)


def test_shapley_value_sampling_goes_to_the_same(attribute, captum, case):
    model, x, b, mask, targets = case
    exact = captum.ShapleyValues(model).attribute(x, b, targets, feature_mask=mask)
    found = attribute("ShapleyValueSampling", model)(x, b, targets, feature_mask=mask, n_samples=400, seed=1)
    for ours, theirs in zip(*((t if isinstance(t, tuple) else (t,)) for t in (found, exact)), strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.05, atol=0.05 * float(theirs.abs().max()))


def test_kernel_shap_with_enough_samples_is_exact(attribute, captum, case):
    model, x, b, mask, targets = case
    exact = captum.ShapleyValues(model).attribute(x, b, targets, feature_mask=mask)
    same(attribute("KernelShap", model)(x, b, targets, feature_mask=mask, n_samples=64, seed=1), exact, 1e-5)


def test_kernel_shap_s_old_sampling_goes_to_the_same(attribute, captum):
    model, x, b, mask = built(mlp), draw(1, 6), draw(1, 6, seed=9), torch.tensor([[0, 0, 1, 2, 2, 3]])
    exact = captum.ShapleyValues(model).attribute(x, b, 1, feature_mask=mask)
    found = attribute("KernelShap", model)(x, b, 1, feature_mask=mask, n_samples=3000, estimator="captum", seed=1)
    torch.testing.assert_close(found.float(), exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


@pytest.mark.parametrize("name", ["KernelShap", "Lime"])
def test_one_number_for_each_feature(attribute, captum, name):
    model, x, mask = built(mlp), draw(2, 6), torch.tensor([[0, 0, 1, 2, 2, 3]])
    ours, theirs = both(attribute, captum, name, model)
    given = {"target": 1, "feature_mask": mask, "n_samples": 64, "return_input_shape": False}
    assert ours(x, **given, seed=1).shape == theirs(x, **given).shape == (2, 4)
    spread = ours(x, **{**given, "return_input_shape": True}, seed=1)
    torch.testing.assert_close(spread, ours(x, **given, seed=1)[:, mask[0]], check_dtype=False)


def fixed_masks(count):
    """The same coalitions for both, one after the other."""
    masks = iter(torch.randint(0, 2, (count, 1, 4), generator=torch.Generator().manual_seed(1)))
    return lambda original, **kwargs: next(masks)


@pytest.mark.parametrize("surrogate", ["SkLearnLasso", "SkLearnRidge", "SkLearnLinearRegression"])
def test_lime_from_the_same_coalitions(captum, surrogate):
    from captum._utils.models.linear_model import model as surrogates

    model, x, mask = built(mlp), draw(1, 6), torch.tensor([[0, 0, 1, 2, 2, 3]])

    def fresh():
        given = {"alpha": 0.01} if surrogate != "SkLearnLinearRegression" else {}
        return {"interpretable_model": getattr(surrogates, surrogate)(**given), "perturb_func": fixed_masks(40)}

    given = {"target": 1, "feature_mask": mask, "n_samples": 40}
    same(attrkit.attr.Lime(model, **fresh()).attribute(x, **given), captum.Lime(model, **fresh()).attribute(x, **given), 1e-4)


@pytest.mark.parametrize(("mode", "width"), [("cosine", 1.0), ("cosine", 0.5), ("euclidean", 2.0)])
def test_lime_with_captum_s_similarity(attribute, captum, mode, width):
    from captum.attr._core.lime import get_exp_kernel_similarity_function as kernel

    model, x, mask = built(mlp), draw(1, 6), torch.tensor([[0, 0, 1, 2, 2, 3]])

    def fresh():
        return {"similarity_func": kernel(mode, width), "perturb_func": fixed_masks(40)}

    given = {"target": 1, "feature_mask": mask, "n_samples": 40}
    same(attribute("Lime", model, **fresh())(x, seed=1, **given), captum.Lime(model, **fresh()).attribute(x, **given), 1e-4)
    same(
        attribute("Lime", model, perturb_func=fixed_masks(40))(x, kernel=mode, kernel_width=width, seed=1, **given),
        captum.Lime(model, **fresh()).attribute(x, **given),
        1e-4,
    )


def test_lime_base(attribute, captum):
    from captum._utils.models.linear_model import SkLearnLinearRegression

    model, x = built(mlp), draw(1, 6)

    def fresh():
        noise = iter(draw(30, 1, 6, seed=5))
        return {
            "interpretable_model": SkLearnLinearRegression(),
            "similarity_func": lambda original, perturbed, interpretable, **kwargs: torch.exp(-(perturbed - original).norm()),
            "perturb_func": lambda original, **kwargs: original + next(noise),
            "perturb_interpretable_space": False,
            "from_interp_rep_transform": None,
            "to_interp_rep_transform": lambda perturbed, original, **kwargs: perturbed - original,
        }

    ours, theirs = attribute("LimeBase", model, **fresh()), captum.LimeBase(model, **fresh()).attribute
    same(ours(x, 1, n_samples=30, seed=1), theirs(x, 1, n_samples=30), 1e-4)


def test_integers(attribute, captum):
    model, ids, mask = built(Tokens), torch.tensor([[1, 2, 3], [5, 6, 10]]), torch.tensor([[0, 0, 1]])
    for name in ("FeatureAblation", "ShapleyValues"):
        ours, theirs = both(attribute, captum, name, model)
        same(ours(ids, 4, 1, feature_mask=mask), theirs(ids, 4, 1, feature_mask=mask), 1e-5)


def test_what_is_called_along_the_progress_bar(attribute, capsys):
    for name in ("FeatureAblation", "ShapleyValues", "KernelShap", "FeaturePermutation"):
        made = attribute(name, built(lambda: nn.Linear(3, 1)))
        made(draw(2, 3), show_progress=True, **({} if name in ("FeatureAblation", "ShapleyValues") else {"seed": 1}))
        words = {"FeatureAblation": "Feature Ablation", "ShapleyValues": "Shapley Values", "KernelShap": "Kernel Shap"}
        assert f"{words.get(name, 'Feature Permutation')} attribution: 100%" in capsys.readouterr().err
