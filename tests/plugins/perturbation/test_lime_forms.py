"""The forms of LIME that people know, of images, tables and texts, each against a slow program of its definition."""

from __future__ import annotations

import math

import pytest
import torch

import attrkit
from tests.plugins.models import Tokens, built, cnn, draw, smooth_mlp


def planned(z):
    return lambda count, size, generator: iter([z[1:]])


def coalitions(k, features, seed=0):
    z = torch.rand(k, features, generator=torch.Generator().manual_seed(seed)) < 0.5
    z[0] = True
    return z


def ridge(z, y, w, alpha=1.0):
    """Coefficients and the weighted R^2 of ridge regression, by its normal equations with a column for the intercept."""
    design = torch.cat([z.double(), torch.ones(len(z), 1).double()], 1)
    penalty = alpha * torch.eye(design.shape[1]).double()
    penalty[-1, -1] = 0
    x = torch.linalg.solve(design.T @ (w[:, None] * design) + penalty, design.T @ (w * y))
    middle = (w * y).sum() / w.sum()
    return x[:-1], 1 - (w * (y - design @ x) ** 2).sum() / (w * (y - middle) ** 2).sum()


SEGMENTS = {
    "patches": {"patches": {"size": (4, 2)}},
    "superpixels": {"superpixels": {"algorithm": "slic", "parameters": {"n_segments": 9, "compactness": 0.1}}},
}


@pytest.mark.parametrize("segments", SEGMENTS)
def test_images(explain, segments):
    """Segments take their mean colour; the kernel compares which of them are there, by the cosine."""
    if segments == "superpixels":
        pytest.importorskip("skimage")
    model, x = built(cnn), draw(2, 2, 8, 8)
    ids = attrkit.Problem.part("segmenters", SEGMENTS[segments], "feature_mask")((x,))[0].expand(2, -1, 8, 8)
    count = int(ids.max()) + 1
    z = coalitions(60, count)
    found = explain(model, x, "lime", target=2, feature_mask=SEGMENTS[segments], replacement="segment_mean", n_samples=60,
                    design=planned(z), kernel_space="features", kernel_width=0.25, surrogate="ridge")  # fmt: skip
    for i in range(2):
        gray = x[i].clone()
        for s in ids[i, 0].unique():
            for channel in gray:
                channel[ids[i, 0] == s] = channel[ids[i, 0] == s].mean()
        shown = torch.where(z[:, ids[i]], x[i], gray)
        kept = z.double().sum(1)
        distance = 1 - kept / (count**0.5 * kept.sqrt()).clamp_min(1e-8)
        own = ids[i, 0].unique()
        expected, r2 = ridge(z[:, own], model(shown)[:, 2].detach(), torch.exp(-(distance**2) / (2 * 0.25**2)))
        for s, value in zip(own, expected, strict=True):
            inside = found.values["input"][i][:, ids[i, 0] == s]
            torch.testing.assert_close(inside, value.expand_as(inside), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found.details["r2"][i], r2, rtol=1e-7, atol=1e-9)


def test_tables(explain):
    """Columns take values of other quartiles of a data set; the kernel is that of the paper's own program."""
    model, x, data = built(smooth_mlp), draw(3, 5), draw(50, 5, seed=4)
    option, z, width = {"quartiles": {"background": data}}, coalitions(80, 5), 0.75 * 5**0.5
    drawn = attrkit_draws(x, option, 80)
    found = explain(model, x, "lime", target=1, replacement=option, n_samples=80, design=planned(z), kernel="euclidean",
                    kernel_space="features", kernel_width=width, surrogate="ridge")  # fmt: skip
    edges = data.quantile(torch.tensor([0.25, 0.5, 0.75]).double(), 0)
    for i in range(3):
        rows = torch.where(z, x[i], drawn[:, i])
        for j in range(5):
            own = int((x[i, j] > edges[:, j]).sum())
            assert all(
                (int((v > edges[:, j]).sum()) == own) == bool(there) for v, there in zip(rows[:, j], z[:, j], strict=True)
            )
        w = torch.tensor([math.exp(-float((~row).sum()) / (2 * width**2)) for row in z]).double()
        expected, r2 = ridge(z, model(rows)[:, 1].detach(), w)
        torch.testing.assert_close(found.values["input"][i], expected, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found.details["r2"][i], r2, rtol=1e-7, atol=1e-9)


def attrkit_draws(x, option, count):
    """The values that a replacement draws, by number."""
    found = []

    @attrkit.method("probe", gradient=False, stochastic=True)
    def probe(problem):
        found.extend(problem.game(None, option).replacing(torch.arange(count)))
        return tuple(map(torch.zeros_like, problem.point))

    attrkit.explain(lambda x: x.sum(1), x, probe)
    return found[0]


def test_tables_with_distances_between_values(explain):
    """The same with distances between the rows themselves."""
    model, x, data = built(smooth_mlp), draw(2, 5), draw(50, 5, seed=4)
    option, z, width = {"quartiles": {"background": data}}, coalitions(40, 5), 0.75 * 5**0.5
    drawn = attrkit_draws(x, option, 40)
    found = explain(model, x, "lime", target=1, replacement=option, n_samples=40, design=planned(z), kernel="euclidean",
                    kernel_width=width, surrogate="ridge")  # fmt: skip
    for i in range(2):
        rows = torch.where(z, x[i], drawn[:, i])
        w = torch.exp(-((rows - x[i]).norm(dim=1) ** 2) / (2 * width**2))
        expected, _ = ridge(z, model(rows)[:, 1].detach(), w)
        torch.testing.assert_close(found.values["input"][i], expected, rtol=1e-7, atol=1e-9)


def test_texts(explain):
    """Tokens become the mask token, but for special ones."""
    model, ids, z = built(Tokens), torch.tensor([[9, 1, 2, 3, 10, 0], [9, 4, 5, 10, 0, 0]]), coalitions(40, 3)
    found = explain(model, ids, "lime", target=0, feature_mask={"tokens": {"special": (9, 10, 0)}}, n_samples=40,
                    replacement={"mask_token": {"token": 8}}, design=planned(z), kernel="cosine", kernel_space="features",
                    kernel_width=0.5, surrogate="ridge")  # fmt: skip
    for i, length in enumerate((3, 2)):
        shown = ids[i].expand(40, -1).clone()
        shown[:, 1 : 1 + length] = torch.where(z[:, :length], shown[:, 1 : 1 + length], 8)
        w = torch.exp(-((1 - (z.double().mean(1)).sqrt()) ** 2) / (2 * 0.5**2))
        expected, _ = ridge(z[:, :length], model(shown)[:, 0].detach(), w)
        torch.testing.assert_close(found.values["ids"][i, 1 : 1 + length], expected, rtol=1e-7, atol=1e-9)
        assert bool((found.values["ids"][i, 1 + length :] == 0).all())
        assert found.values["ids"][i, 0] == 0
