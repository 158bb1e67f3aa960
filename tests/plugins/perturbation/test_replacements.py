"""What replaces absent features: each replacement against its definition, in every type, seeded, and its messages."""

from __future__ import annotations

import math

import pytest
import torch

import attrkit
from attrkit.errors import UsageError, UsageTypeError
from tests.plugins.models import draw


def replaced(x, replacement, *, coalitions=None, draws=None, feature_mask=None, baselines=None, seed=0):
    """The inputs that a model sees for coalitions (without: that of no feature), one per coalition."""
    seen = []

    @attrkit.method("probe", gradient=False, baseline="optional", outputs="every", stochastic=True)
    def probe(problem):
        game = problem.game(feature_mask, replacement)
        asked = torch.zeros(1, game.count, dtype=torch.bool) if coalitions is None else coalitions
        numbers = draws if draws is not None else None if isinstance(game.replacing, tuple) else torch.arange(len(asked))
        game.values(asked, numbers)
        return tuple(torch.zeros_like(x) for x in problem.point)

    def model(*tensors):
        seen.append(tuple(t.clone() for t in tensors))
        return tensors[0].flatten(1).double().sum(1)

    attrkit.explain(model, x, probe, baselines=baselines, seed=seed, internal_batch_size=10**6)
    batch = len(x[0] if isinstance(x, tuple) else x)
    tensors = max(seen, key=lambda ts: len(ts[0]))
    found = tuple(t.reshape(-1, batch, *t.shape[1:]) for t in tensors)
    return found if isinstance(x, tuple) else found[0]


def none(features, count=1):
    return torch.zeros(count, features, dtype=torch.bool)


IMAGES = draw(2, 3, 4, 5)
TABLE = draw(4, 3)
IDS = torch.tensor([[5, 7, 1], [2, 2, 9]])


def test_baseline():
    assert torch.equal(replaced(TABLE, "baseline", baselines=0.5)[0], torch.full_like(TABLE, 0.5))


def test_mean_of_channels_and_of_columns():
    torch.testing.assert_close(replaced(IMAGES, "mean")[0], IMAGES.mean((2, 3), keepdim=True).expand_as(IMAGES))
    torch.testing.assert_close(replaced(TABLE, "mean")[0], TABLE.mean(0).expand_as(TABLE))


@pytest.mark.parametrize("shape", [(1, 2, 7), (2, 1, 5, 4), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("sigma", [0.7, 3])
def test_blur_is_the_normalised_sum_of_neighbours(shape, sigma):
    x, dims = draw(*shape), shape[2:]
    places = torch.cartesian_prod(*map(torch.arange, dims)).reshape(-1, len(dims)).double()
    squares = ((places[:, None] - places) ** 2).sum(-1)
    weights = torch.exp(-squares / (2 * sigma**2))
    expected = x.flatten(2) @ (weights / weights.sum(1, keepdim=True)).T
    torch.testing.assert_close(replaced(x, {"blur": {"sigma": sigma}})[0], expected.reshape(shape), rtol=1e-10, atol=1e-10)


def test_blur_leaves_a_constant_alone():
    x = torch.full((1, 2, 6, 6), 3.0)
    seen = replaced(torch.cat([x, draw(1, 2, 6, 6).float()]), {"blur": {"sigma": 2.0}})
    torch.testing.assert_close(seen[0, :1], x)


def test_mask_token():
    for dtype in (torch.int64, torch.int32):
        found = replaced(IDS.to(dtype), {"mask_token": {"token": 3}})
        assert found.dtype is dtype
        assert torch.equal(found[0], torch.full((2, 3), 3, dtype=dtype))


def test_segment_mean_is_that_of_the_feature_in_each_channel():
    mask = torch.stack([(torch.arange(20).reshape(1, 4, 5) * f) % 3 for f in (1, 2)])
    mask[0, 0, 0, 0] = attrkit.NO_FEATURE
    found = replaced(IMAGES, "segment_mean", feature_mask=mask, coalitions=none(3))[0]
    for i in range(2):
        for c in range(3):
            for f in (0, 1, 2):
                here = mask[i, 0] == f
                torch.testing.assert_close(found[i, c][here], IMAGES[i, c][here].mean().expand(int(here.sum())))
    assert torch.equal(found[0, :, 0, 0], IMAGES[0, :, 0, 0])


def test_segment_mean_of_a_table_and_of_given_segments():
    groups = torch.tensor([[0, 0, 1]])
    found = replaced(TABLE, {"segment_mean": {"feature_mask": groups}}, coalitions=none(2))[0]
    torch.testing.assert_close(found[:, :2], TABLE[:, :2].mean(1, keepdim=True).expand(4, 2))
    assert torch.equal(found[:, 2], TABLE[:, 2])


def test_segment_mean_goes_by_the_method_s_segmenter():
    found = replaced(IMAGES, "segment_mean", feature_mask={"patches": {"size": (2, 5)}}, coalitions=none(2))[0]
    torch.testing.assert_close(
        found, IMAGES.unflatten(2, (2, 2)).mean((3, 4), keepdim=True).expand(2, 3, 2, 2, 5).flatten(2, 3)
    )


# Draws.


def test_noise_is_around_the_baseline():
    found = replaced(draw(500, 4), {"noise": {"sigma": 0.5}}, coalitions=none(4, 3), baselines=2.0)
    assert abs(float(found.mean()) - 2) < 0.03
    assert abs(float(found.std()) - 0.5) < 0.02
    assert not torch.equal(found[0], found[1])


BACKGROUND = draw(7, 3, seed=3)
DRAWN = {
    "noise": {"noise": {"sigma": 0.5}},
    "permuted": "permuted",
    "marginal": {"marginal": {"background": BACKGROUND}},
    "quartiles": {"quartiles": {"background": BACKGROUND}},
    "background": {"background": {"data": BACKGROUND}},
}


@pytest.mark.parametrize("name", DRAWN)
def test_equal_numbers_are_equal_draws_and_seeds_tell_them_apart(name):
    numbers = torch.tensor([4, 1, 4, 2])
    given = dict(coalitions=torch.tensor([[False] * 3, [False] * 3, [False, False, True], [False] * 3]), draws=numbers)
    found = replaced(TABLE, DRAWN[name], **given)
    assert torch.equal(found[0][:, :2], found[2][:, :2])
    assert torch.equal(found[2][:, 2], TABLE[:, 2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, replaced(TABLE, DRAWN[name], **given))
    if name != "background":
        assert not torch.equal(found, replaced(TABLE, DRAWN[name], **given, seed=1))


@pytest.mark.parametrize("name", ["marginal", "quartiles", "background"])
def test_a_draw_is_the_same_whichever_examples_there_are(name):
    both, alone = (replaced(x, DRAWN[name], coalitions=none(3, 5)) for x in (TABLE[[2, 2]], TABLE[[2]]))
    assert torch.equal(both[:, :1], alone)


def test_background_rows_take_turns():
    found = replaced(TABLE, DRAWN["background"], coalitions=none(3, 9), draws=torch.arange(9))
    assert torch.equal(found, BACKGROUND[torch.arange(9) % 7][:, None].expand(9, 4, 3))


def test_permuted_moves_all_tensors_together():
    x = torch.arange(4.0)[:, None].expand(4, 3), torch.arange(4)[:, None, None].expand(4, 1, 2)
    a, b = replaced(x, "permuted", coalitions=none(5, 40))
    assert torch.equal(a[..., 0].long(), b[..., 0, 0])
    orders = {tuple(order) for order in b[:, :, 0, 0].tolist()}
    assert len(orders) > 10
    assert (0, 1, 2, 3) not in orders
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_marginal_draws_each_feature_from_a_row_of_its_own():
    rows = torch.arange(6.0)[:, None] + torch.tensor([0.0, 10.0, 20.0, 30.0])
    mask = torch.tensor([[0, 0, 1, 2]])
    found = replaced(draw(2, 4), {"marginal": {"background": rows.double()}}, feature_mask=mask, coalitions=none(3, 4000))
    which = found[:, 0] - torch.tensor([0.0, 10.0, 20.0, 30.0])
    assert torch.equal(which[:, 0], which[:, 1])  # one feature, one row
    assert torch.equal(found[:, 0], found[:, 1])  # the same for all examples
    pairs = torch.bincount((which[:, 0] * 6 + which[:, 2]).long(), minlength=36) / 4000
    torch.testing.assert_close(pairs, torch.full((36,), 1 / 36), rtol=0, atol=0.012)


def test_quartiles_are_of_the_background_and_never_the_example_s_own():
    rows = draw(40, 2, seed=8)
    rows[:, 1] = torch.arange(40) % 3
    x = torch.tensor([[-0.2, 0.0], [3.0, 2.0], [0.1, 5.0]], dtype=torch.float64)
    option = {"quartiles": {"background": rows, "categorical": (1,)}}
    found = replaced(x, option, coalitions=none(2, 3000), draws=torch.arange(3000))
    edges = torch.quantile(rows[:, 0], torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    own, drawn = torch.bucketize(x[:, 0].contiguous(), edges), torch.bucketize(found[:, :, 0].contiguous(), edges)
    for i in range(3):
        others = rows[:, 0][torch.bucketize(rows[:, 0].contiguous(), edges) != own[i]]
        values, counts = found[:, i, 0].unique(return_counts=True)
        assert bool((drawn[:, i] != own[i]).all())
        assert torch.equal(values, others.sort().values)
        torch.testing.assert_close(counts / 3000, torch.full((len(others),), 1 / len(others)), rtol=0, atol=0.012)
    assert found[:, 0, 1].unique().tolist() == [1, 2]
    assert found[:, 1, 1].unique().tolist() == [0, 1]
    assert found[:, 2, 1].unique().tolist() == [0, 1, 2]  # a category that the background does not have


def test_quartiles_of_a_constant_column_are_that_constant():
    rows = torch.cat([torch.ones(9, 1, dtype=torch.float64), draw(9, 1)], 1)
    x = torch.tensor([[1.0, 0.3]], dtype=torch.float64)
    assert bool((replaced(x, {"quartiles": {"background": rows}}, coalitions=none(2, 20))[:, :, 0] == 1).all())


# Types and messages.


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("given", ["mean", {"blur": {"sigma": 1.0}}, "segment_mean", "permuted", {"noise": {"sigma": 1.0}}])
def test_types_are_kept(given, dtype):
    x = (IMAGES * 3).to(dtype)
    mask = {"patches": {"size": 2}}
    found = replaced(x, given, feature_mask=mask, coalitions=none(6))
    assert found.dtype is dtype
    assert not torch.equal(found[0], x)


@pytest.mark.parametrize("name", ["permuted", "marginal", "quartiles", "background"])
def test_integers_stay_integers(name):
    rows = torch.arange(21).reshape(7, 3)
    options = {"permuted": "permuted", "background": {"background": {"data": rows}}}
    found = replaced(IDS, options.get(name, {name: {"background": rows}}), coalitions=none(3, 4))
    assert found.dtype is torch.int64
    assert bool(torch.isin(found, torch.cat([rows.flatten(), IDS.flatten()])).all())


def test_integers_whose_mean_is_one():
    assert torch.equal(replaced(torch.tensor([[1, 4], [3, 0]]), "mean")[0], torch.tensor([[2, 2], [2, 2]]))


@pytest.mark.parametrize(
    ("x", "given", "error", "message"),
    [
        (IDS, "mean", UsageError, "replacement 'mean' gives numbers that torch.int64 cannot hold; convert"),
        (IDS[:, None], "blur", UsageError, "replacement 'blur' gives numbers that torch.int64 cannot hold"),
        (IDS, "noise", UsageError, "replacement 'noise' gives numbers that torch.int64 cannot hold"),
        (IDS.to(torch.uint8), {"mask_token": {"token": 300}}, UsageError, "'mask_token' gives numbers that torch.uint8 cannot"),
        (TABLE, {"mask_token": {"token": 1}}, UsageTypeError, "replaces token numbers, .* the input is torch.float64"),
        (IDS, "mask_token", UsageError, r"needs its option token, .* \{'mask_token': \{'token': 103\}\}"),
        (TABLE, "blur", UsageError, r"'blur' needs shape \(batch, channels, ...\) .* got \(4, 3\)"),
        (IMAGES, {"blur": {"sigma": 0.0}}, UsageError, "sigma must be a positive number of positions, got 0.0"),
        (IMAGES, {"noise": {"sigma": math.inf}}, UsageError, "sigma must be a positive number, got inf"),
        (TABLE[:1], "permuted", UsageError, "takes values from other examples of the batch, but there is only one"),
        (TABLE, "marginal", UsageError, "'marginal' needs its option background, the rows to take values from"),
        (TABLE, "quartiles", UsageError, "'quartiles' needs its option background"),
        (TABLE, "background", UsageError, "'background' needs its option data"),
        (TABLE, {"marginal": {"background": draw(5, 2)}}, UsageError, r"background has shape \(5, 2\); give one or more rows"),
        (TABLE, {"quartiles": {"background": BACKGROUND, "categorical": (3,)}}, UsageError, "categorical names column 3, but"),
        (TABLE, {"segment_mean": {"feature_mask": torch.zeros(2)}}, UsageTypeError, r"feature_mask\[0\] must be an integer"),
    ],
)  # fmt: skip
def test_messages(x, given, error, message):
    with pytest.raises(error, match=message):
        replaced(x, given)
