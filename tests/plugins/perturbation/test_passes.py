"""How the model is called: how many rows at once, with one answer per example or one for the batch, and with no features."""

from __future__ import annotations

import pytest
import torch

from attrkit.errors import AttrkitWarning
from tests.plugins.models import built, draw, mlp


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_eval", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("batch", [1, 4])
def test_no_forward_pass_has_more_perturbations_than_allowed(attribute, per_eval, batch):
    model, x, seen = built(mlp), draw(batch, 6), []

    def forward(x):
        seen.append(len(x))
        return model(x)

    found = attribute("FeatureAblation", forward)(x, target=0, perturbations_per_eval=per_eval)
    assert max(seen) <= per_eval * batch
    once = 5 * (per_eval > 1)  # where some share a pass, one is seen alone and beside two batches too, the first time
    assert sum(seen) == (7 + once) * batch
    assert len(seen) >= -(-7 // per_eval)
    same(found, attribute("FeatureAblation", model)(x, target=0))


def test_explain_counts_one_pass_for_each_feature_and_one_for_all(explain):
    found = explain(built(mlp), draw(3, 6), "feature_ablation", target=0, feature_mask=torch.tensor([[4, 4, 4, 0, 0, 9]]))
    assert found.passes == {"forward": 1 + 3, "backward": 0}


@pytest.mark.parametrize("rows", [None, 1, 2, 5, 64])
def test_the_number_of_rows_changes_nothing(explain, rows):
    model, x = built(mlp), draw(5, 6)
    found = explain(model, x, "feature_ablation", target=[0, 1, 2, 1, 0], internal_batch_size=rows)
    same(found.values["input"], explain(model, x, "feature_ablation", target=[0, 1, 2, 1, 0]).values["input"])


SCALARS = {
    "without dimensions": lambda x: (x**2).sum(),
    "of shape (1,)": lambda x: (x**2).sum().reshape(1),
    "float": lambda x: float((x**2).sum()),
    "int": lambda x: int((x**2).sum()),
}


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("per_eval", [1, 4])
def test_one_answer_for_the_whole_batch(attribute, kind, per_eval):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).double()
    found = attribute("FeatureAblation", SCALARS[kind])(x, perturbations_per_eval=per_eval)
    assert found.shape == (1, 2)
    assert found.tolist() == [[35.0, 56.0]]  # a feature is a column, all of whose entries go at once


def test_one_answer_for_the_whole_batch_with_a_mask_per_example(attribute):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
    mask = torch.tensor([[0, 1], [1, 0]])
    found = attribute("FeatureAblation", lambda x: x.sum())(x, feature_mask=mask)
    assert found.tolist() == [[5.0, 5.0], [5.0, 5.0]]


def test_one_answer_for_the_whole_batch_with_two_tensors(attribute):
    a, b = draw(3, 2), draw(3, 4)
    of_a, of_b = attribute("FeatureAblation", lambda a, b: (a.sum() + b.sum()).reshape(1))((a, b))
    same((of_a, of_b), (a.sum(0, keepdim=True), b.sum(0, keepdim=True)))


def test_an_empty_tensor_beside_another(attribute):
    x, empty = draw(3, 2), torch.zeros(3, 0)
    found = attribute("FeatureAblation", lambda x, e: x.sum(1) + e.sum(1))((x, empty))
    same(found, (x, empty.double()))


@pytest.mark.parametrize("shape", [(3, 0), (3, 2, 0), (0, 2), (0, 2, 3)])
def test_no_features_or_no_examples(attribute, shape):
    found = attribute("FeatureAblation", lambda x: x.flatten(1).sum(1))(torch.zeros(shape))
    assert found.shape == shape


CALLS = {
    "feature_ablation": {},
    "feature_permutation": {"seed": 1},
    "shapley_value_sampling": {"n_samples": 4, "seed": 1},
    "kernel_shap": {"n_samples": 30, "estimator": "leverage", "seed": 1},
    "banzhaf": {"n_samples": 30, "seed": 1},
}


@pytest.mark.parametrize("layer", [None, "1"])
@pytest.mark.parametrize(
    ("method", "batch"), [(m, n) for m in CALLS for n in (0, 1, 3) if (m, n) != ("feature_permutation", 1)]
)
def test_later_calls_which_know_the_model_say_and_cost_the_same(explain, method, batch, layer):
    model, x = built(mlp), draw(batch, 6)
    first, *later = [explain(model, x, method, layer=layer, target=1, **CALLS[method]) for _ in range(4)]
    for found in later:
        assert found.passes == first.passes
        for name, values in found.values.items():
            same(values, first.values[name])


def test_memory_may_run_out_in_any_call(attribute):
    model, x, left = built(mlp), draw(2, 6), []

    def forward(x):
        if left and len(x) > left[0]:
            raise torch.OutOfMemoryError
        return model(x)

    cls = attribute("FeatureAblation", forward)
    for _ in range(3):
        expected = cls(x, target=1)
    left.append(5)
    with pytest.warns(AttrkitWarning, match="memory ran out in a pass over 14 rows"):
        same(cls(x, target=1), expected)
    same(cls(x, target=1), expected)  # without a warning: it is known now


def test_an_error_of_a_later_call_is_raised(attribute):
    model, x, broken = built(mlp), draw(2, 6), []

    def forward(x):
        if broken:
            raise ZeroDivisionError
        return model(x)

    cls = attribute("FeatureAblation", forward)
    for _ in range(3):
        cls(x, target=1)
    broken.append(True)
    with pytest.raises(ZeroDivisionError):
        cls(x, target=1)


def test_progress_is_shown_also_by_calls_which_know_the_model(attribute, capsys):
    model, x = built(mlp), draw(2, 6)
    cls = attribute("FeatureAblation", model)
    for _ in range(3):
        cls(x, target=1)
    cls(x, target=1, show_progress=True)
    assert "Feature Ablation attribution: 100%" in capsys.readouterr().err


def test_progress_is_shown_on_stderr_and_only_if_asked_for(attribute, capsys):
    attribute("FeatureAblation", lambda x: x.sum(1))(draw(2, 3))
    assert capsys.readouterr() == ("", "")
    attribute("FeatureAblation", lambda x: x.sum(1))(draw(2, 3), show_progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "Feature Ablation attribution: 100%" in err
