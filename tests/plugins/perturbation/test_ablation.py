"""Feature ablation against its definition: one example, one feature, one call of the model at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attrkit.registry import registry
from tests.plugins.models import PACKERS, Residual, Several, Tokens, TwoInputs, built, cnn, draw, mlp

TARGET = 1


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def ablated(value, point, baseline, ids):
    """``value(point) - value(point without a feature)``, at every position of the feature; for tuples of tensors.

    ``ids`` has the shape of the point; positions of one number are one feature, also across tensors.
    """
    found = tuple(torch.zeros(t.shape, dtype=torch.float64) for t in point)
    for n in range(len(point[0])):
        example, reference, groups = (tuple(t[n : n + 1] for t in part) for part in (point, baseline, ids))
        for feature in {int(i) for group in groups for i in group.flatten()}:
            without = tuple(x.clone() for x in example)
            for x, b, group in zip(without, reference, groups, strict=True):
                x[group == feature] = b[group == feature]
            drop = value(example) - value(without)
            for attribution, group in zip(found, groups, strict=True):
                attribution[n : n + 1][group == feature] = drop
    return found


def each(point):
    """Numbers by which every position is a feature of its own."""
    starts = [sum(t[0].numel() for t in point[:i]) for i in range(len(point))]
    return tuple((torch.arange(t[0].numel()) + s).reshape(t[:1].shape).expand_as(t) for t, s in zip(point, starts, strict=True))


def zeros(point):
    return tuple(map(torch.zeros_like, point))


@pytest.mark.parametrize("baseline", [None, 0.5, draw(1, 4, seed=7), draw(3, 4, seed=8)], ids=["none", "number", "row", "rows"])
def test_of_a_linear_model(attribute, baseline):
    model, x = built(lambda: nn.Linear(4, 2)), draw(3, 4)
    full = torch.zeros_like(x) + (0 if baseline is None else baseline)
    same(attribute("FeatureAblation", model)(x, baseline, TARGET), model.weight[TARGET].detach() * (x - full))


MODELS = {
    "mlp": (mlp, [(6,)]),
    "cnn": (cnn, [(2, 8, 8)]),
    "residual": (Residual, [(3, 8, 8)]),
    "two inputs": (TwoInputs, [(4,), (2, 3)]),
}


@pytest.fixture(params=MODELS)
def case(request):
    """A model with two examples and their baselines."""
    factory, shapes = MODELS[request.param]
    point, baseline = (tuple(draw(2, *shape, seed=seed + i) for i, shape in enumerate(shapes)) for seed in (1, 5))
    return built(factory), point, baseline


def value_of(model):
    def value(point):
        with torch.no_grad():
            return model(*point)[0, TARGET]

    return value


def coarse(point):
    """Groups of neighbours, other ones for each example, numbered with gaps and below zero."""
    return tuple(7 * (i // 5) - 3 + n for n, i in enumerate(each(point)))


@pytest.mark.parametrize("form", ["each", "coarse", "per example"])
def test_against_the_definition(attribute, case, form):
    model, point, baseline = case
    ids = each(point) if form == "each" else coarse(point)
    if form == "per example":
        ids = tuple(torch.stack([group[0], group[1].flip(0)]) for group in ids)
    elif len(point) > 1 and form == "coarse":
        assert not set(ids[0].flatten().tolist()) & set(ids[1].flatten().tolist())
    given = {} if form == "each" else {"feature_mask": ids if form == "per example" else tuple(group[:1] for group in ids)}
    found = attribute("FeatureAblation", model)(point, baseline, TARGET, perturbations_per_eval=50, **given)
    same(found, ablated(value_of(model), point, baseline, ids))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (torch.tensor([[0, 0, 1, 1]]), torch.tensor([[[1, 1, 2], [2, 0, 0]]])),
        (torch.tensor([[0, 0, 1, 1], [3, 1, 3, 9]]), torch.tensor([[[1, 1, 2], [2, 0, 0]]])),
        (torch.tensor([[5, 5, 5, 5], [3, 1, 3, 9]]), torch.tensor([[[5, 5, 5]] * 2, [[1, 9, 2]] * 2])),
        (torch.tensor([-10**9, 10**9, 0, 0]), torch.tensor([[4, 4, 0]])),
        (torch.tensor(0), torch.tensor(0)),
        (torch.tensor([[0], [1]]), torch.tensor([1, 0, 0], dtype=torch.int8)),
    ],
    ids=["joint", "one of them per example", "both per example", "gaps", "one feature", "broadcast"],
)  # fmt: skip
def test_equal_numbers_are_one_feature_across_tensors(attribute, left, right):
    model, point, baseline = (
        built(TwoInputs),
        (draw(2, 4, seed=1), draw(2, 2, 3, seed=2)),
        (draw(2, 4, seed=3), draw(2, 2, 3, seed=4)),
    )
    ids = (left.long().expand(2, 4), right.long().expand(2, 2, 3))
    found = attribute("FeatureAblation", model)(point, baseline, TARGET, feature_mask=(left, right))
    same(found, ablated(value_of(model), point, baseline, ids))


def test_further_arguments_go_along_with_their_examples(attribute):
    x, scale = draw(3, 4), torch.tensor([1.0, 2.0, 3.0]).double()
    found = attribute("FeatureAblation", lambda x, s, k: s * (k * x).sum(1))(
        x, additional_forward_args=(scale, 2), perturbations_per_eval=3
    )
    same(found, 2 * scale[:, None] * x)


def test_what_the_model_ignores_gets_exactly_zero(attribute):
    a, b = draw(3, 4), draw(3, 2)
    of_a, of_b = attribute("FeatureAblation", lambda a, b: (a[:, :2] ** 2).sum(1))((a, b))
    assert torch.equal(of_b, torch.zeros_like(b))
    assert torch.equal(of_a[:, 2:], torch.zeros_like(a[:, 2:]))
    assert (of_a[:, :2] != 0).all()


def test_an_example_is_explained_alone_as_in_a_batch(attribute, case):
    model, point, baseline = case
    together = attribute("FeatureAblation", model)(point, baseline, [0, 2])
    for n, target in enumerate((0, 2)):
        alone = attribute("FeatureAblation", model)(
            tuple(t[n : n + 1] for t in point), tuple(t[n : n + 1] for t in baseline), target
        )
        same(alone, tuple(t[n : n + 1] for t in together))


# A layer.


@pytest.mark.parametrize(
    "mask", [None, torch.tensor([[0, 0, 1, 2, 2, 1, 0, 3]]), torch.tensor([[0, 0, 1, 2, 2, 1, 0, 3], [1] * 8])]
)
@pytest.mark.parametrize(
    "baseline", [None, 0.25, draw(1, 8, seed=7), draw(2, 8, seed=8)], ids=["none", "number", "row", "rows"]
)
def test_of_a_layer(attribute, mask, baseline):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    reference = torch.zeros_like(v) + (0 if baseline is None else baseline)
    ids = each((v,)) if mask is None else (mask.expand_as(v),)
    found = attribute("LayerFeatureAblation", model, model[1])(x, baseline, TARGET, layer_mask=mask)
    same(found, *ablated(lambda v: model[2:](*v).detach()[0, TARGET], (v,), (reference,), ids))
    into = attribute("LayerFeatureAblation", model, model[2])(
        x, baseline, TARGET, layer_mask=mask, attribute_to_layer_input=True
    )
    same(into, found)


@pytest.mark.parametrize("kind", PACKERS)
def test_of_a_layer_with_several_tensors(attribute, kind):
    model, x = built(lambda: Several(kind)), draw(2, 3)
    v = tuple(t.detach() for t in built(Several).pack(model.mix(x)))
    mask = (torch.tensor([[0, 1]]), torch.tensor([[1, 2]]))
    expected = ablated(
        lambda v: model.head(model.unpack(v)).detach()[0, TARGET], v, zeros(v), tuple(m.expand(2, 2) for m in mask)
    )
    found = attribute("LayerFeatureAblation", model, model.pack)(x, target=TARGET, layer_mask=mask, perturbations_per_eval=2)
    same(found, expected)


def test_of_an_embedding_under_integers(attribute):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3], [5, 6, 10]])
    v = model.embedding(ids).detach()
    by_token = torch.arange(3)[:, None].expand(1, 3, 4)

    def value(v):
        return model.head(model.relu(model.conv(v[0].transpose(1, 2))).mean(2)).detach()[0, TARGET]

    found = attribute("LayerFeatureAblation", model, model.embedding)(ids, target=TARGET, layer_mask=by_token)
    same(found, *ablated(value, (v,), zeros((v,)), (by_token.expand_as(v),)))


def test_of_layers_together(explain):
    model, x = built(TwoInputs), (draw(2, 4, seed=1), draw(2, 2, 3, seed=2))
    found = explain(model, x, "feature_ablation", layer=["left", "right"], target=TARGET)
    v = (model.left(x[0]).detach(), model.right(x[1].flatten(1)).detach())
    expected = ablated(lambda v: model.head(model.act(v[0] + v[1])).detach()[0, TARGET], v, zeros(v), each(v))
    same(tuple(found.values.values()), expected)
    assert list(found.values) == ["left", "right"]


# A neuron.


@pytest.mark.parametrize("selector", [3, (slice(1, 5),), lambda v: v.amax(1)], ids=["index", "slice", "function"])
@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 0, 1, 2, 2, 1]])], ids=["each", "mask"])
def test_of_a_neuron(attribute, selector, mask):
    model, x, baseline = built(mlp), draw(2, 6), draw(2, 6, seed=3)
    pick = (
        selector
        if callable(selector)
        else lambda v: v[:, selector if isinstance(selector, int) else selector[0]].reshape(1, -1).sum(1)
    )
    ids = each((x,)) if mask is None else (mask.expand_as(x),)
    expected = ablated(lambda x: pick(model[:2](*x).detach()), (x,), (baseline,), ids)
    found = attribute("NeuronFeatureAblation", model, model[1])(
        x, selector, baseline, feature_mask=mask, perturbations_per_eval=3
    )
    same(found, *expected)
    into = attribute("NeuronFeatureAblation", model, model[2])(
        x, selector, baseline, feature_mask=mask, attribute_to_neuron_input=True
    )
    same(into, found)


@pytest.mark.parametrize(
    "name",
    [
        "feature_ablation",
        "occlusion",
        "feature_permutation",
        "shapley_values",
        "shapley_interactions",
        "owen",
        "banzhaf",
        "rise",
    ],
)
def test_linearity_is_promised(name):
    """Conformance holds a method to what it promises, and to no more."""
    assert registry.method(name).linear
