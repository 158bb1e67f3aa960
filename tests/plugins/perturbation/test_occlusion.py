"""Occlusion against its definition: one window at a time, and sums over those that cover a position."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attrkit import Players, explain
from attrkit.errors import UsageError, UsageTypeError
from attrkit_perturbation.features.windows import Windows
from tests.plugins.models import TwoInputs, built, cnn, draw, mlp

TARGET = 1


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def slices(shape, window, stride):
    """The places of a window, one after another."""
    starts = [range(0, -(-(n - w) // s) * s + 1, s) for n, w, s in zip(shape, window, stride, strict=True)]
    return [tuple(slice(i, i + w) for i, w in zip(at, window, strict=True)) for at in itertools.product(*starts)]


def occluded(value, x, baseline, window, stride, put=lambda x: x):
    """``value(x) - value(x without a window)``, averaged over the windows that cover a position."""
    total, number = torch.zeros_like(x), torch.zeros_like(x)
    for place in slices(x.shape[1:], window, stride):
        without = x.clone()
        without[:, *place] = baseline[:, *place]
        drop = value(put(x)) - value(put(without))
        total[:, *place] += drop.reshape(-1, *[1] * (x.dim() - 1))
        number[:, *place] += 1
    return total / number


CASES = [
    ((2, 3, 3), (2, 2, 3)),
    ((1, 3, 5), (1, 1, 1)),
    ((1, 8, 3), (1, 5, 3)),
    ((2, 8, 8), (1, 1, 1)),
    ((2, 8, 8), (9, 9, 9)),
    ((2, 3, 8), (1, 3, 8)),
    ((1, 1, 1), (1, 1, 1)),
]


@pytest.mark.parametrize(("window", "stride"), CASES)
def test_against_the_definition(explain, window, stride):
    model, x, baseline = built(cnn), draw(2, 2, 8, 8, seed=1), draw(2, 2, 8, 8, seed=2)
    expected = occluded(lambda x: model(x)[:, TARGET].detach(), x, baseline, window, stride)
    found = explain(model, x, "occlusion", target=TARGET, baselines=baseline, sliding_window_shapes=window, strides=stride)
    same(found.values["input"], expected)
    assert found.passes["forward"] == 1 + len(slices(x.shape[1:], window, stride))


@pytest.mark.parametrize(("window", "stride"), [*CASES, ((2, 3, 3), 2), ((1, 4, 4), None)])
def test_like_captum(window, stride):
    captum = pytest.importorskip("captum.attr")
    model, x, baseline = built(cnn).float(), draw(2, 2, 8, 8, seed=1).float(), draw(2, 2, 8, 8, seed=2).float()
    expected = captum.Occlusion(model).attribute(x, window, stride, baseline, TARGET)
    options = {"target": TARGET, "baselines": baseline, "sliding_window_shapes": window, "strides": stride}
    found = explain(model, x, "occlusion", **options).values["input"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_windows_of_any_number_of_dimensions(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    window = [data.draw(st.integers(1, n)) for n in shape]
    stride = [data.draw(st.integers(1, w if w < n else n + 2)) for n, w in zip(shape, window, strict=True)]
    x, weight = draw(2, *shape, seed=1), draw(*shape, seed=2)

    def value(x):
        return ((x * weight).flatten(1).sum(1)) ** 2

    found = explain(value, x, "occlusion", sliding_window_shapes=tuple(window), strides=tuple(stride))
    expected = occluded(value, x, torch.zeros_like(x), window, stride)
    torch.testing.assert_close(found.values["x"], expected, rtol=1e-9, atol=1e-9)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_coalitions_of_windows_keep_what_no_absent_one_covers(data):
    shapes = [data.draw(st.lists(st.integers(1, 4), min_size=0, max_size=2)) for _ in range(2)]
    windows = [tuple(data.draw(st.integers(1, n)) for n in shape) for shape in shapes]
    strides = [tuple(data.draw(st.integers(1, w)) for w in window) for window in windows]
    point = tuple(torch.zeros(1, *shape) for shape in shapes)
    players = Windows.of(point, tuple(windows), tuple(strides))
    places = [(i, p) for i in (0, 1) for p in slices(shapes[i], windows[i], strides[i])]
    assert isinstance(players, Players)
    assert players.count == len(places)
    chosen = data.draw(st.lists(st.lists(st.booleans(), min_size=len(places), max_size=len(places)), min_size=1, max_size=3))
    found = players.present(torch.tensor(chosen))
    for number, row in enumerate(chosen):
        expected = [torch.ones(1, *shape, dtype=torch.bool) for shape in shapes]
        for there, (i, place) in zip(row, places, strict=True):
            if not there:
                expected[i][:, *place] = False
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[number].expand_as(other), other)


def test_windows_of_several_tensors(explain):
    model, point = built(TwoInputs), (draw(2, 4, seed=1), draw(2, 2, 3, seed=2))
    found = explain(model, point, "occlusion", target=TARGET, sliding_window_shapes=((3,), (1, 2)), strides=(2, (1, 1)))

    def value(point):
        return model(*point)[:, TARGET].detach()

    left = occluded(value, point[0], torch.zeros_like(point[0]), (3,), (2,), lambda x: (x, point[1]))
    right = occluded(value, point[1], torch.zeros_like(point[1]), (1, 2), (1, 1), lambda x: (point[0], x))
    same(tuple(found.values.values()), (left, right))


def test_a_tensor_of_one_number_for_each_example_is_one_window(explain):
    x, other = draw(3, seed=1), draw(3, 4, seed=2)
    found = explain(lambda a, b: a**2 + b.sum(1), (x, other), "occlusion", sliding_window_shapes=((), (2,)), strides=2)
    same(found.values["a"], x**2)
    alone = explain(lambda a: a**2, x, "occlusion", sliding_window_shapes=())
    same(alone.values["a"], x**2)


def test_of_a_layer_and_a_neuron(explain):
    model, x = built(mlp), draw(2, 6)
    v = model[:2](x).detach()
    found = explain(model, x, "occlusion", layer="1", target=TARGET, sliding_window_shapes=(3,), strides=2)
    same(found.values["1"], occluded(lambda v: model[2:](v)[:, TARGET].detach(), v, torch.zeros_like(v), (3,), (2,)))
    found = explain(model, x, "occlusion", layer="1", neuron=2, sliding_window_shapes=(4,))
    same(found.values["input"], occluded(lambda x: model[:2](x)[:, 2].detach(), x, torch.zeros_like(x), (4,), (1,)))


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((8, 3), (2, 3), (1, 1)),
        ((3,), (1,), (1,)),
        ((2, 9, 16), (2, 3, 4), (1, 1, 2)),
        ((), (), ()),
    ],
)
def test_usual_windows(explain, shape, window, stride):
    def value(x):
        return (x * torch.arange(x[0].numel()).reshape(shape)).reshape(len(x), -1).sum(1) ** 2

    x = draw(2, *shape, seed=1)
    found, chosen = (
        explain(value, x, "occlusion", **given).values["x"]
        for given in ({}, {"sliding_window_shapes": window, "strides": stride})
    )
    same(found, chosen)
    several = explain(lambda a, b: value(a) + b.sum(1), (x, draw(2, 8)), "occlusion").values
    same(several["a"], found)


def test_every_output_at_once(explain):
    model, x = built(cnn), draw(2, 2, 8, 8)
    options = {"sliding_window_shapes": (2, 3, 3), "strides": (1, 2, 3)}
    found = explain(model, x, "occlusion", **options).values["input"]
    each = [explain(model, x, "occlusion", target=t, **options).values["input"] for t in range(found.shape[1])]
    same(found, torch.stack(each, 1))


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_the_number_of_rows_changes_nothing(explain, rows):
    model, x = built(cnn), draw(3, 2, 8, 8)
    options = {"target": TARGET, "sliding_window_shapes": (2, 3, 3), "strides": 2}
    found = explain(model, x, "occlusion", internal_batch_size=rows, **options).values["input"]
    same(found, explain(model, x, "occlusion", **options).values["input"])


def test_over_a_background_and_with_a_replacement(explain):
    x, rows = draw(2, 5, seed=1), draw(3, 5, seed=2)

    def value(x):
        return x.prod(1)

    found = explain(value, x, "occlusion", sliding_window_shapes=(2,), background=rows).values["x"]
    each = [occluded(value, x, row.expand_as(x), (2,), (1,)) for row in rows]
    same(found, torch.stack(each).mean(0))
    replaced = explain(value, x, "occlusion", sliding_window_shapes=(2,), replacement=lambda p: torch.full_like(x, 2.0))
    same(replaced.values["x"], occluded(value, x, torch.full_like(x, 2.0), (2,), (1,)))


def test_what_is_not_finite_stays_where_its_windows_are(explain):
    x = torch.ones(1, 9).double()
    with pytest.warns(UserWarning, match="occlusion: 3 of 9 attributions are not finite"):
        found = explain(lambda x: x.sum(1) / x[:, 4], x, "occlusion", sliding_window_shapes=(3,), strides=3)
    assert found.values["x"].isfinite().tolist() == [[True] * 3 + [False] * 3 + [True] * 3]


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16])
def test_whole_numbers_and_low_precision(explain, dtype):
    x = torch.tensor([[1, 0, 1, 1]]).to(dtype)
    found = explain(lambda x: x.double().sum(1), x, "occlusion", sliding_window_shapes=(2,), strides=2).values["x"]
    assert found.tolist() == [[1.0, 1.0, 2.0, 2.0]]
    counted = explain(lambda x: x.long().sum(1), x, "occlusion", sliding_window_shapes=(3,)).values["x"]
    assert counted.dtype is torch.get_default_dtype()  # a mean of whole numbers is none
    assert counted.tolist() == [[2.0, 2.0, 2.0, 2.0]]


def test_many_windows_stream(explain):
    x = torch.arange(20_000.0).reshape(1, -1)
    found = explain(lambda x: x[:, ::100].sum(1), x, "occlusion", sliding_window_shapes=(2,), strides=2).values["x"]
    expected = torch.zeros(1, 10_000, 2)
    expected[0, ::50] = x[0, ::100, None]
    torch.testing.assert_close(found, expected.reshape(1, -1), rtol=1e-3, atol=64)  # of sums near 2e6 in float32


@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (2, 3, 0)])
def test_no_features_or_no_examples(explain, shape):
    found = explain(
        lambda x: x.flatten(1).sum(1), torch.zeros(shape), "occlusion", sliding_window_shapes=(1,) * (len(shape) - 1)
    )
    assert found.values["x"].shape == shape


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"strides": 2}, UsageError, "sliding_window_shapes must give; it is missing"),
        ({"sliding_window_shapes": (3, 3)}, UsageError, r"\(2, 8, 8\), give 3 integers, got \(3, 3\)"),
        ({"sliding_window_shapes": 3}, UsageTypeError, r"one integer for each of its dimensions \(2, 8, 8\) .* got 3"),
        ({"sliding_window_shapes": "3"}, UsageTypeError, "must be a tuple of integers"),
        ({"sliding_window_shapes": (2, 3, 9)}, UsageError, "a window of 9 is larger than its dimension of tensor 0"),
        ({"sliding_window_shapes": (2, 3, 0)}, UsageTypeError, r"integers of at least 1, got \(2, 3, 0\)"),
        ({"sliding_window_shapes": (2, 3, 2.0)}, UsageTypeError, "integers of at least 1"),
        ({"sliding_window_shapes": ((2, 3, 3), (1,))}, UsageError, "has 2 entries, but there are 1 tensors"),
        ({"sliding_window_shapes": (2, 3, 3), "strides": 4}, UsageError, "windows of 3 which are 4 apart leave out positions"),
        ({"sliding_window_shapes": (2, 3, 3), "strides": (1, 2)}, UsageError, r"give 3 integers, got \(1, 2\)"),
        ({"sliding_window_shapes": (2, 3, 3), "strides": 0}, UsageTypeError, "strides must be integers of at least 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(explain, given, error, message):
    with pytest.raises(error, match=message) as caught:
        explain(built(cnn), draw(1, 2, 8, 8), "occlusion", target=0, **given)
    assert isinstance(caught.value, AssertionError)  # as callers of the established API know it
