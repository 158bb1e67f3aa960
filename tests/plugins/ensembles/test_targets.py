"""Several targets, one against another: what attributions for single targets say, from shared passes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - torch may be missing

import attrkit  # noqa: E402
from attrkit.errors import UsageError, UsageTypeError  # noqa: E402
from attrkit.registry import registry  # noqa: E402
from tests.plugins.ensembles import planted  # noqa: E402
from tests.plugins.models import built, draw, smooth_mlp  # noqa: E402

X = draw(4, 5, seed=1)
ROWS = [0, 2, 1, 1]


@pytest.fixture
def model():
    return built(smooth_mlp)


def targets(method=planted.product):
    return registry.wrapper("multi_target").around(method)


def contrast(method=planted.product):
    return registry.wrapper("contrast").around(method)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_of_a_linear_model_the_sum_is_that_of_the_weights(explain):
    model = built(lambda: nn.Linear(5, 3))
    found = explain(model, X, targets(), targets=[0, 2], reduce="sum", scale=1.0)
    same(only(found), X * (model.weight[0] + model.weight[2]).detach())
    difference = explain(model, X, contrast(), target=0, against=2, scale=1.0)
    same(only(difference), X * (model.weight[0] - model.weight[2]).detach())


@pytest.mark.parametrize("place", [{}, {"layer": "2"}, {"layer": ["0", "2"]}])
@pytest.mark.parametrize("method", [planted.product, planted.noisy], ids=["product", "noisy"])
def test_they_are_made_of_what_each_target_says_alone(explain, model, method, place):
    def values(explanation):
        return torch.cat(list(explanation.values.values()), 1)

    listed = [1, (2,), ROWS]
    each = torch.stack([values(explain(model, X, method, target=t, seed=3, **place)) for t in listed])
    expected = {"mean": each.mean(0), "sum": each.sum(0), "max_abs": each.gather(0, each.abs().argmax(0)[None])[0]}
    for reduce, values_of in expected.items():
        same(values(explain(model, X, targets(method), targets=listed, reduce=reduce, seed=3, **place)), values_of)
    same(values(explain(model, X, contrast(method), target=1, against=ROWS, seed=3, **place)), each[0] - each[2])


def test_of_a_method_linear_in_the_output_the_contrast_is_that_of_the_difference(explain, model):
    found = explain(model, X, contrast(), target=0, against=1)
    same(only(found), only(explain(lambda x: model(x)[:, 0] - model(x)[:, 1], X, planted.product)))


def test_forward_passes_are_shared(model):
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    found = attrkit.explain(model, X, targets(), targets=[0, 1, 2])
    assert found.passes == {"forward": 1, "backward": 1}
    assert len(seen) == 1
    assert attrkit.explain(model, X, contrast(), target=0, against=2).passes["forward"] == 1


def test_a_model_with_one_row_for_the_batch_is_explained_target_by_target(explain):
    model = built(lambda: nn.Linear(5, 3))

    def pooled(x):
        return model(x).tanh().sum(0, keepdim=True)

    each = [only(explain(pooled, X, planted.gradient, target=t)) for t in (0, 2)]
    found = explain(pooled, X, targets(planted.gradient), targets=[0, 2], reduce="sum")
    same(only(found), each[0] + each[1])
    assert found.passes == {"forward": 2, "backward": 2}


def test_around_and_within_other_wrappers(model):
    alone = [only(attrkit.explain(model, X, planted.product, target=t)) for t in (0, 1, 2)]
    nested = targets(contrast())
    found = only(attrkit.explain(model, X, nested, targets=[0, 2], against=1, reduce="sum"))
    same(found, alone[0] + alone[2] - 2 * alone[1])
    each = attrkit.explain_each(model, X, contrast(), targets=[0, 2], against=1)
    same(only(each[0]), alone[0] - alone[1])
    same(only(each[1]), alone[2] - alone[1])


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_target_for_each_example_stays_with_it(model, rows):
    """Around contrasts whose rows are copies of some of the examples."""

    @attrkit.wrapper("planted_shift", times="copies")
    def shifted(problem, inner, *, copies: int = 3):
        """The mean over shifted copies."""
        moved = (tuple(x + 0.1 * k for x in problem.inputs) for k in range(copies))
        found = list(problem.attributions(inner, moved, copies))
        return tuple(torch.stack(each).mean(0) for each in zip(*found, strict=True))

    found = only(attrkit.explain(model, X, shifted.around(contrast()), target=2, against=ROWS, internal_batch_size=rows))
    each = [
        only(attrkit.explain(model, X + 0.1 * k, planted.product, target=t)) * sign
        for k in range(3) for t, sign in ((2, 1), (ROWS, -1))
    ]  # fmt: skip
    same(found, torch.stack(each).sum(0) / 3)
    with pytest.raises(UsageError, match="against: target has 3 entries for a batch of 4 examples"):
        attrkit.explain(model, X, shifted.around(contrast()), target=2, against=ROWS[:3])


def test_no_examples(explain, model):
    assert only(explain(model, X[:0], targets(), targets=[0, 1])).shape == (0, 5)


WRONG = [
    (targets, {}, UsageError, r"targets is empty; give a list of at least one, like \[0, 2\]"),
    (targets, {"targets": 3}, UsageTypeError, r"targets must be a list of targets, like \[0, 2\], got 3"),
    (targets, {"targets": "02"}, UsageTypeError, "targets must be a list of targets"),
    (targets, {"targets": ["a"]}, UsageTypeError, "targets: target must be an int, .*got 'a'"),
    (targets, {"targets": [[0, 1]]}, UsageError, "targets: target has 2 entries for a batch of 4 examples"),
    (targets, {"targets": [0, 9]}, UsageError, "target 9 is out of range"),
    (targets, {"targets": [0], "target": 1}, UsageError, "target is 1, but multi_target explains those in targets= only"),
    (targets, {"targets": [0], "reduce": "means"}, UsageError, "reduce must be mean, sum, max_abs, got 'means'. Did you mean"),
    (contrast, {"target": 0}, UsageError, "against is missing: give the target to contrast with, like against=2"),
    (contrast, {"against": 0}, UsageError, "target is missing"),
    (contrast, {"target": 0, "against": 1.5}, UsageTypeError, "against: target must be an int, .*got 1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("wrapped", "options", "error", "message"), WRONG)
def test_what_is_wrong_is_named(model, wrapped, options, error, message):
    with pytest.raises(error, match=message):
        attrkit.explain(model, X, wrapped(), **options)


def test_a_method_that_does_not_look_at_the_target_is_refused():
    deaf = attrkit.method("planted_deaf", objective=False)(lambda problem: problem.point)
    for wrapped, inner in ((contrast, deaf), (targets, deaf), (contrast, targets()), (targets, targets())):
        with pytest.raises(
            UsageError, match=r"takes methods that look at the target, and '(planted_deaf|multi_target\(.*\))' does"
        ):
            wrapped(inner)


def test_neurons_have_no_targets(model):
    with pytest.raises(UsageError, match="attributes to input, layer, not to neuron"):
        attrkit.explain(model, X, contrast(), layer="2", neuron=1, against=2)


def test_a_class_has_no_delta_where_nothing_adds_up(model):
    pytest.importorskip("attrkit_gradients")
    made = attrkit.attr.Contrast(attrkit.attr.IntegratedGradients(model))
    each = [attrkit.attr.IntegratedGradients(model).attribute(X, target=t) for t in (0, 2)]
    same(made.attribute(X, against=2, target=0), each[0] - each[1])
    with pytest.raises(UsageTypeError, match=r"contrast\(integrated_gradients\) has no convergence delta; leave return_"):
        made.attribute(X, against=2, target=0, return_convergence_delta=True)
