"""Which positions make a feature: each segmenter against its definition, and its messages."""

from __future__ import annotations

import sys

import pytest
import torch

import attrkit
from attrkit import NO_FEATURE
from attrkit.errors import MissingExtra, UsageError, UsageTypeError
from tests.plugins.models import draw


def ids(point, given):
    point = point if isinstance(point, tuple) else (point,)
    return attrkit.Problem.part("segmenters", given, "feature_mask")(point)


def numbered(point, given):
    """The features that a method sees, numbered from 0."""
    point = point if isinstance(point, tuple) else (point,)
    return attrkit.Features.of(point, ids(point, given))


def test_elements():
    x = draw(2, 3), draw(2, 2, 2)
    a, b = ids(x, "elements")
    assert a.tolist() == [[0, 1, 2]]
    assert b.tolist() == [[[3, 4], [5, 6]]]


def test_channels():
    (a,) = ids(draw(2, 3, 4, 4), "channels")
    assert a.shape == (1, 3, 1, 1)
    assert a.flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [2, (2, 3), (5, 1), 100])
def test_patches(size):
    x = draw(2, 3, 5, 7)
    high, wide = size if isinstance(size, tuple) else (size, size)
    (found,) = ids(x, {"patches": {"size": size}})
    assert found.shape == (1, 1, 5, 7)
    across = -(-7 // wide)
    assert found[0, 0].tolist() == [[i // high * across + j // wide for j in range(7)] for i in range(5)]
    assert numbered(x, {"patches": {"size": size}}).count == -(-5 // high) * across


def test_patches_of_other_dimensions():
    assert ids(draw(2, 5), {"patches": {"size": 2}})[0].tolist() == [[0, 0, 1, 1, 2]]
    assert ids(draw(2, 3, 5), {"patches": {"size": 3}})[0].tolist() == [[[0, 0, 0, 1, 1]]]
    volume = ids(draw(1, 1, 4, 4, 4), {"patches": {"size": 2}})[0][0, 0]
    assert [volume[i, j, k].item() for i in (0, 3) for j in (0, 3) for k in (0, 3)] == list(range(8))


def test_patches_of_several_tensors_differ():
    a, b = ids((draw(2, 1, 4), draw(2, 1, 4)), {"patches": {"size": 2}})
    assert a.flatten().tolist() == [0, 0, 1, 1]
    assert b.flatten().tolist() == [2, 2, 3, 3]


def test_columns_and_groups_of_them():
    assert numbered(draw(2, 4), "columns").ids[0].tolist() == [[0, 1, 2, 3]]
    grouped = {"columns": {"groups": [[1, 3], [4, 5]]}}
    assert numbered(draw(2, 6), grouped).ids[0].tolist() == [[0, 1, 2, 1, 3, 3]]
    a, b = numbered((draw(2, 3), draw(2, 3, 7)), grouped).ids
    assert a.tolist() == [[0, 1, 2]]
    assert b.flatten().tolist() == [1, 3, 3]


def test_a_one_hot_variable_is_replaced_as_one():
    table = torch.eye(3, dtype=torch.float64)[[0, 2]]
    x = torch.cat([draw(2, 1), table], 1)
    found = attrkit.explain(lambda x: x @ torch.tensor([2.0, 1, 10, 100]).double(), x, "feature_ablation",
                            feature_mask={"columns": {"groups": [[1, 2, 3]]}})  # fmt: skip
    expected = torch.stack([2 * x[:, 0], *[table @ torch.tensor([1.0, 10, 100]).double()] * 3], 1)
    torch.testing.assert_close(found.values["x"], expected)


def test_tokens():
    words = torch.tensor([[101, 5, 6, 102, 0], [101, 7, 102, 0, 0]])
    (found,) = ids(words, {"tokens": {"special": (101, 102, 0)}})
    no = NO_FEATURE
    assert found.tolist() == [[no, 1, 2, no, no], [no, 1, no, no, no]]
    assert numbered(words, {"tokens": {"special": (101, 102, 0)}}).count == 2
    assert ids(words, "tokens")[0].tolist() == [[0, 1, 2, 3, 4]]


def test_tokens_are_joint_over_tensors_and_further_dimensions():
    words, embedded = torch.tensor([[1, 2, 3]]), draw(1, 3, 4)
    a, b = ids((words, embedded), {"tokens": {"special": (2,)}})
    assert a.tolist() == [[0, NO_FEATURE, 2]]
    assert b.shape == (1, 3, 1)
    assert torch.equal(b[..., 0], a)


@pytest.mark.parametrize(
    ("x", "given", "error", "message"),
    [
        (draw(2, 3, 4, 4), {"patches": {"size": 0}}, UsageError, "size must be a positive integer, or 2 of them"),
        (draw(2, 3, 4, 4), {"patches": {"size": (1, 2, 3)}}, UsageError, "size must be a positive integer, or 2 of them"),
        (draw(2, 3, 4, 4), {"patches": {"size": (1, True)}}, UsageError, "size must be a positive integer, or 2 of them"),
        (draw(2), "patches", UsageError, r"'patches' needs at least 2 dimensions, got shape \(2,\)"),
        (draw(2), "channels", UsageError, r"'channels' needs at least 2 dimensions"),
        (draw(2, 3), {"columns": {"groups": [[1, 3]]}}, UsageError, "groups names column 3, but there are 3, counted from 0"),
        (draw(2, 3), {"columns": {"groups": [[0, 1], [1]]}}, UsageError, "groups names column 1 twice"),
        ((draw(1, 3), draw(1, 4)), "tokens", UsageError, r"as many tokens in each tensor, got \[3, 4\]"),
        (draw(2, 3), {"tokens": {"special": (0,)}}, UsageTypeError, "special names token numbers, but the first tensor has"),
        (draw(2, 3), "superpixels", UsageError, r"needs images, shape \(batch, channels, height, width\), got \(2, 3\)"),
    ],
)  # fmt: skip
def test_messages(x, given, error, message):
    if given == "superpixels":
        pytest.importorskip("skimage")
    with pytest.raises(error, match=message):
        ids(x, given)


# Superpixels.


def quarters(channels):
    """Two images of four even squares each, of different sizes."""
    x = torch.zeros(2, channels, 20, 20, dtype=torch.float64)
    for i, cut in enumerate((10, 6)):
        x[i, :, :cut, cut:], x[i, :, cut:, :cut], x[i, :, cut:, cut:] = 1.0, 2.0, 3.0
    return x * 5 - 3


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [
        ("slic", {"n_segments": 60, "compactness": 0.01}),
        ("quickshift", {"kernel_size": 2, "max_dist": 6, "ratio": 1.0}),
        ("felzenszwalb", {"scale": 1, "sigma": 0.0, "min_size": 4}),
    ],
)
def test_superpixels_are_even_regions_of_each_image(algorithm, parameters, channels):
    pytest.importorskip("skimage")
    x = quarters(channels)
    (found,) = ids(x, {"superpixels": {"algorithm": algorithm, "parameters": parameters}})
    assert found.shape == (2, 1, 20, 20)
    for segments, image in zip(found[:, 0], x, strict=True):
        assert len(segments.unique()) > 1
        for s in segments.unique():
            values, counts = image[0, segments == s].unique(return_counts=True)
            assert len(values) == 1 or (algorithm == "slic" and counts.max() > 0.8 * counts.sum())
    assert not torch.equal(found[0], found[1])


def test_superpixels_end_to_end():
    pytest.importorskip("skimage")
    x = quarters(3)
    found = attrkit.explain(
        lambda x: x.sum((1, 2, 3)), x, "feature_ablation",
        feature_mask={"superpixels": {"algorithm": "felzenszwalb", "parameters": {"scale": 1, "sigma": 0.0, "min_size": 4}}},
    )  # fmt: skip
    for i, cut in enumerate((10, 6)):
        torch.testing.assert_close(found.values["x"][i, 0, 0, 0], x[i, :, :cut, :cut].sum())


def test_parameters_that_the_algorithm_does_not_have():
    pytest.importorskip("skimage")
    with pytest.raises(UsageError, match="skimage.segmentation.slic refuses its parameters: .*n_segment"):
        ids(quarters(3), {"superpixels": {"parameters": {"n_segment": 4}}})
    with pytest.raises(UsageTypeError, match="algorithm must be 'slic' or 'quickshift' or 'felzenszwalb', got 'watershed'"):
        ids(quarters(3), {"superpixels": {"algorithm": "watershed"}})


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(
        MissingExtra, match=r"segmenter 'superpixels' needs scikit-image, .* pip install 'attrkit\[superpixels\]'"
    ):
        ids(quarters(3), "superpixels")
