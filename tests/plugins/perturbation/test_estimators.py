"""Designs and estimators as what they are: samples whose distribution is known, and estimates that say how sure they are."""

from __future__ import annotations

import math
import tracemalloc
import warnings

import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import AttrkitWarning, UsageError
from attrkit_perturbation.asking.samples import Sample
from attrkit_perturbation.designs.shapley import antithetic, kernel, leverage
from attrkit_perturbation.estimators import regression
from attrkit_perturbation.estimators.odd_kernel import OddKernel
from attrkit_perturbation.estimators.permutations import _Orders
from attrkit_perturbation.estimators.regression import _Design, fitted
from tests.plugins.models import built, draw, mlp, smooth_mlp
from tests.plugins.perturbation.tabulated import coalitions, model_of, shapley_of, table

DESIGNS = {"leverage": leverage, "kernel": kernel, "antithetic": antithetic}


def same(found, expected, digits=1e-11):
    torch.testing.assert_close(found, expected, rtol=digits, atol=digits)


def drawn(design, count, size, seed=0):
    blocks = list(DESIGNS[design].function(count, size, torch.Generator().manual_seed(seed)))
    return torch.cat(blocks) if blocks else torch.empty(0, count, dtype=torch.bool)


# Designs.


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 16, 40])
@pytest.mark.parametrize("size", [0, 1, 2, 5, 64, 500])
def test_designs_keep_to_the_size_and_leave_out_all_and_none(design, count, size):
    found = drawn(design, count, size)
    assert found.shape[1] == count
    assert found.dtype is torch.bool
    assert len(found) <= size
    assert not found.all(1).any()
    assert found.any(1).all()
    if design != "kernel":
        assert torch.equal(found[::2], ~found[1::2])
    if design == "leverage" and count > 1:
        assert len(found) == min(size // 2 * 2, 2**count - 2)
        assert len(found.unique(dim=0)) == len(found)
    assert torch.equal(found, drawn(design, count, size))
    if len(found) > 20:
        assert not torch.equal(found, drawn(design, count, size, seed=1))


@pytest.mark.parametrize("count", [5, 6, 13, 16, 30])
def test_all_parts_of_a_leverage_design_have_all_sizes_alike(count):
    found = drawn("leverage", count, 2000)
    half = count // 2
    for length in (count * 2, 200, len(found)):
        sizes = torch.bincount(found[:length].sum(1), minlength=count + 1)[1 : half + 1]
        free = [n for s, n in enumerate(sizes.tolist(), 1) if n < math.comb(count, s)]
        odd = free[: -1 if count % 2 == 0 else None]  # but for the middle, of which both of a pair are
        assert not odd or max(odd) - min(odd) <= 1
        assert all(n == math.comb(count, s) for s, n in enumerate(sizes.tolist(), 1) if n < max(free, default=0) - 2)
    assert torch.equal(drawn("leverage", count, 2 * count), found[: min(2 * count, len(found))])


def test_seeds_choose_among_a_few_leverage_designs_and_which_feature_has_which_column():
    found = [drawn("leverage", 20, 200, seed) for seed in range(60)]
    assert len({design.numpy().tobytes() for design in found}) == 60
    sorted_columns = {tuple(sorted(column.numpy().tobytes() for column in design.T)) for design in found}
    assert len(sorted_columns) == 4


@pytest.mark.parametrize("count", [5, 12, 30])
@pytest.mark.parametrize("size", [24, 300])
def test_equations_that_are_remembered_are_those_of_the_coalitions(count, size, monkeypatch):
    game = torch.randn(2, generator=torch.Generator().manual_seed(1)).double()
    for seed in range(12):  # of four designs
        asked = drawn("leverage", count, size, seed)
        values = torch.randn(len(asked), 2, generator=torch.Generator().manual_seed(seed)).double()
        sample = Sample(asked, values, game, -game)
        remembered = fitted(sample)
        with monkeypatch.context() as patch:
            patch.setattr(regression, "_design", _Design.of)
            afresh = fitted(sample)
        for a, b in zip(remembered, afresh, strict=True):
            assert a == b if a is None or isinstance(a, int) else torch.allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("design", "size"), [("leverage", 14), ("leverage", 60), ("kernel", 14), ("antithetic", 14)])
def test_coalitions_of_one_size_are_equally_likely(design, size):
    counts = torch.zeros(2**6)
    times = 1500
    for seed in range(times):
        number = (drawn(design, 6, size, seed) * 2 ** torch.arange(6)).sum(1)
        counts.index_add_(0, number, torch.ones(len(number)))
    sizes = coalitions(6).sum(1)
    for s in range(1, 6):
        of_size = counts[sizes == s] / times
        chance = of_size.mean()
        assert (of_size - chance).abs().max() < 5 * (chance * (1.01 - chance.clamp(max=1)) / times).sqrt() + 0.02


def test_sizes_of_the_kernel_design():
    found = torch.bincount(drawn("kernel", 10, 20_000).sum(1), minlength=11)[1:10] / 20_000
    sizes = torch.arange(1, 10)
    expected = 1.0 / (sizes * (10 - sizes))
    assert (found - expected / expected.sum()).abs().max() < 0.02


@pytest.mark.parametrize("design", DESIGNS)
def test_designs_of_many_features_come_in_blocks(design):
    tracemalloc.start()
    rows = 0
    for block in DESIGNS[design].function(100_000, 60, torch.Generator().manual_seed(0)):
        assert block.numel() <= 2**20
        rows += len(block)
    tracemalloc.stop()
    assert rows == 60


def test_orders_of_many_features_come_in_blocks(monkeypatch):
    seen = []
    problem_game = attrkit.Game.values

    def watched(game, asked, draws=None, *, partial=False):
        seen.append(asked.numel())
        return problem_game(game, asked, draws, partial=partial)

    monkeypatch.setattr("attrkit_perturbation.asking.samples._KEPT", 2**16)
    monkeypatch.setattr(attrkit.Game, "values", watched)
    x, weights = draw(1, 300), draw(300, seed=1)
    streamed = attrkit.explain(lambda x: (x @ weights).tanh(), x, "shapley_value_sampling", n_samples=5)
    assert not seen
    monkeypatch.undo()
    kept = attrkit.explain(lambda x: (x @ weights).tanh(), x, "shapley_value_sampling", n_samples=5)
    same(streamed.values["x"], kept.values["x"])
    same(streamed.errors["x"], kept.errors["x"])
    assert streamed.details["evaluations"] == 2 + 5 * 299

    class Blocks:
        count, replacing, rows = 100_000, (), 1

        def generator(self, number):
            return torch.Generator().manual_seed(number)

        def blocks(self, total, each=1):
            step = max(1, 10 // each)
            return (range(low, min(low + step, total)) for low in range(0, total, step))

    orders = iter(_Orders.drawn(Blocks(), 4, 2).coalitions())
    block = next(orders)
    assert block.sum(1).tolist() == list(range(1, 11))
    assert (block[:-1] <= block[1:]).all()


# Estimates.


class Rough(nn.Module):
    """A small network on features that are there or not."""

    def __init__(self, count):
        super().__init__()
        self.net = built(lambda: smooth_mlp(count, 12, 1), seed=3)

    def forward(self, x):
        return self.net(3 * x)[:, 0]


def game_of(kind, count=10):
    """A model on 0 and 1, and its Shapley values."""
    model = (
        Rough(count) if kind == "network" else model_of(table(count, outputs=1, seed=2) + coalitions(count) @ draw(count, 1))
    )
    with torch.no_grad():
        values = model(coalitions(count)).reshape(2**count, 1)
    return model, shapley_of(values)[:, 0]


def repeated(kind, times, count=10, **options):
    """Errors of scores, standard errors and whether intervals cover, for different seeds."""
    model, truth = game_of(kind, count)
    off, errors, cover = [], [], []
    for seed in range(times):
        found = attrkit.explain(model, torch.ones(1, count).double(), "kernel_shap", seed=seed, **options)
        (name,) = found.values
        low, high = found.interval(0.95)[name]
        off.append(found.values[name].flatten() - truth)
        errors.append(found.errors[name].flatten())
        cover.append(((low.flatten() <= truth + 1e-9) & (truth - 1e-9 <= high.flatten())).double())
    return torch.stack(off), torch.stack(errors), torch.stack(cover)


@pytest.mark.parametrize("kind", ["network", "table"])
@pytest.mark.parametrize("estimator", ["antithetic", "permutation"])
def test_orders_are_unbiased(kind, estimator):
    off, _, _ = repeated(kind, 150, estimator=estimator, n_samples=60)
    assert (off.mean(0).abs() <= 4 * off.std(0) / 150**0.5 + 1e-12).all()


@pytest.mark.parametrize(("kind", "estimator", "n_samples"), [
    ("network", "leverage", 100), ("table", "leverage", 100), ("network", "leverage", 300), ("table", "leverage", 300),
    ("network", "odd_gp", 100), ("table", "odd_gp", 100), ("network", "odd_gp", 300), ("table", "odd_gp", 300),
    ("network", "antithetic", 400), ("table", "antithetic", 400), ("table", "permutation", 400),
])  # fmt: skip
def test_intervals_cover(kind, estimator, n_samples):
    off, errors, cover = repeated(kind, 40, estimator=estimator, n_samples=n_samples)
    assert 0.88 <= cover.mean() <= 0.995
    ratio = errors.square().mean().sqrt() / off.square().mean().sqrt()
    assert 0.85 <= ratio <= 1.35


def test_what_is_known_of_a_network_beats_random_orders():
    estimators = ("permutation", "leverage", "odd_gp")
    plain, paired, process = (repeated("network", 12, estimator=e, n_samples=200)[0].square().mean().sqrt() for e in estimators)
    assert plain > 2 * paired > 2 * 1.3 * process


def test_an_order_without_its_reverse_counts_half():
    model, _ = game_of("table", 8)
    x = torch.ones(1, 8).double()

    def run(n):
        return attrkit.explain(model, x, "shapley_value_sampling", n_samples=n, seed=5)

    two, three, one = run(2).values["input"], run(3), run(1)
    assert not one.errors
    assert three.details["orders"] == 3
    assert three.details["degrees_of_freedom"] == 2
    last = 3 * three.values["input"] - 2 * two
    assert not torch.allclose(last, two)
    variances = (4 / 9 * (two - last)) ** 2
    same(three.errors["input"], ((variances + variances.mean()) / 2).sqrt(), 1e-9)


class Saturated(nn.Module):
    """What most features add is nothing in most orders, so that two orders often agree."""

    def forward(self, x):
        return torch.sigmoid(8 * (x @ torch.linspace(0.2, 1.5, x.shape[1], dtype=x.dtype)) - 8)


@pytest.mark.parametrize(
    ("method", "n_samples"),
    [("shapley_value_sampling", 4), ("shapley_value_sampling", 6), ("owen", 50), ("owen", 100), ("shapley_interactions", 200)],
)
def test_intervals_of_few_repetitions_cover(method, n_samples):
    model, ones = Saturated(), torch.ones(1, 10).double()
    truth = next(
        iter(
            attrkit.explain(
                model, ones, method, n_samples=2**10 if method != "shapley_value_sampling" else 5000, seed=9
            ).values.values()
        )
    )
    inside = []
    for seed in range(60):
        low, high = attrkit.explain(model, ones, method, n_samples=n_samples, seed=seed).interval(0.95)["x"]
        inside.append((low <= truth) & (truth <= high))
    assert torch.stack(inside).double().mean() > 0.9


@pytest.mark.parametrize("method", ["kernel_shap", "shapley_value_sampling"])
def test_auto_stops_when_errors_are_small_enough(method):
    model, x = built(lambda: mlp(inputs=14)), draw(2, 14)

    def run(tol):
        return attrkit.explain(model, x, method, target=0, n_samples="auto", tol=tol)

    spent = []
    for tol in (0.2, 0.05, 0.02):
        found = run(tol)
        ranges = found.values["input"].amax(1) - found.values["input"].amin(1)
        assert (found.errors["input"].amax(1) <= tol * ranges).all()
        spent.append(found.details["evaluations"])
    assert spent[0] < spent[-1]
    assert spent[-1] < 2**14


def test_growing_budgets_ask_for_nothing_twice():
    model, _ = game_of("table", 12)
    asked = []

    def noted(x):
        asked.extend((x * 2 ** torch.arange(12)).sum(1).tolist())
        return model(x)

    x = torch.ones(1, 12).double()
    found = attrkit.explain(noted, x, "kernel_shap", n_samples="auto", tol=0.03, estimator="leverage", internal_batch_size=1)
    assert found.details["evaluations"] == len(asked) == len(set(asked))
    assert len(asked) in (242, 484, 968, 1936)


def test_a_budget_that_is_not_enough_is_warned_about():
    x = torch.ones(1, 16).double()
    with pytest.warns(AttrkitWarning, match=r"'auto': \d+ evaluations did not reach tol=1e-06; the largest standard error is"):
        found = attrkit.explain(model_of(table(16)), x, "shapley_value_sampling", n_samples="auto", tol=1e-6)
    assert 8000 < found.details["evaluations"] <= 16_001


@pytest.mark.parametrize("estimator", ["auto", "leverage", "odd_gp", "antithetic", "permutation", "captum"])
@pytest.mark.parametrize("background", [None, draw(3, 12, seed=5)], ids=["baseline", "background"])
def test_an_interrupt_gives_what_there_is(estimator, background):
    model, x = built(lambda: mlp(inputs=12)), draw(1, 12)

    def run(most, **options):
        done = 0

        def forward(x):
            nonlocal done
            done += len(x)
            if done > most:
                raise KeyboardInterrupt
            return model(x)[:, 0]

        options = {"estimator": estimator, "background": background, "internal_batch_size": 1, "n_samples": 400} | options
        return attrkit.explain(forward, x, "kernel_shap", **options)

    with pytest.raises(KeyboardInterrupt):
        run(2)
    with pytest.warns(AttrkitWarning, match=r"interrupted after \d+ of \d+ evaluations; the estimate is made of these"):
        found = run(181)
    assert found.details["evaluations"] == 181
    truth = attrkit.explain(lambda x: model(x)[:, 0], x, "shapley_values", background=background)
    assert (found.values["x"] - truth.values["x"]).norm() < 0.5 * truth.values["x"].norm()
    same(found.values["x"].sum(), truth.values["x"].sum(), 1e-2 if estimator == "captum" else 1e-9)


def test_an_interrupt_ends_auto():
    model, x, done = built(lambda: mlp(inputs=14)), draw(1, 14), 0

    def forward(x):
        nonlocal done
        done += len(x)
        if done > 200:
            raise KeyboardInterrupt
        return model(x)[:, 0]

    with pytest.warns(AttrkitWarning, match="interrupted after") as caught:
        found = attrkit.explain(forward, x, "kernel_shap", n_samples="auto", tol=1e-9, internal_batch_size=1)
    assert len(caught) == 1
    assert found.details["evaluations"] == 200


@pytest.mark.parametrize("background", [None, draw(3, 40, seed=5)], ids=["baseline", "background"])
def test_an_interrupt_of_what_is_streamed(monkeypatch, background):
    monkeypatch.setattr("attrkit_perturbation.asking.samples._KEPT", 2**10)
    x, weights, done = draw(1, 40), draw(40, seed=2), 0

    def run(most):
        def forward(x):
            nonlocal done
            done += len(x)
            if done > most:
                raise KeyboardInterrupt
            return x @ weights

        return attrkit.explain(forward, x, "shapley_value_sampling", n_samples=6, background=background, internal_batch_size=1)

    with pytest.warns(AttrkitWarning, match=r"interrupted after \d+ of \d+ evaluations"):
        found = run(180)
    assert found.details["orders"] == 4
    done = 0
    mean = torch.zeros(40) if background is None else background.mean(0)
    same(run(10**6).values["x"], weights * (x - mean))
    done = 0
    with pytest.raises(KeyboardInterrupt):
        run(60)


@pytest.mark.parametrize("method", ["kernel_shap", "shapley_value_sampling"])
@pytest.mark.parametrize("n_samples", [4, 9])
def test_one_feature_with_a_background(method, n_samples):
    x, rows = draw(2, 1), draw(5, 1, seed=3)
    found = attrkit.explain(lambda x: x[:, 0] ** 3, x, method, background=rows, n_samples=n_samples)
    assert found.details["evaluations"] <= 10
    replaced = x**3 - values_of_some(found, x)
    assert (rows**3).min() <= replaced.min() <= replaced.max() <= (rows**3).max()
    same(replaced[0], replaced[1])


def values_of_some(found, x):
    """The one result, shaped like the input."""
    return found.values["x"].reshape(x.shape)


def test_exact_values_are_not_made_of_parts():
    done = 0

    def forward(x):
        nonlocal done
        done += len(x)
        if done > 200:
            raise KeyboardInterrupt
        return x.sum(1)

    with pytest.raises(KeyboardInterrupt):
        attrkit.explain(forward, draw(1, 10), "shapley_values", internal_batch_size=1)


# What estimators are made of.


def test_a_regression_on_all_coalitions_is_exact_and_sure():
    count = 8
    game = table(count)
    asked = drawn("leverage", count, 2**count)
    found, variances, _ = fitted(sampled(asked, game))
    same(found, shapley_of(game))
    assert variances.abs().max() < 1e-20


@pytest.mark.parametrize("design", ["leverage", "kernel", "antithetic"])
def test_a_regression_on_any_design(design):
    count = 9
    game = table(count, outputs=1) + 3 * coalitions(count) @ draw(count, 1)
    x = torch.ones(1, count).double()
    estimator = {"leverage": {"design": design}}
    off = []
    for seed in range(20):
        found = attrkit.explain(model_of(game), x, "kernel_shap", n_samples=300, estimator=estimator, seed=seed)
        off.append(found.values["input"].flatten() - shapley_of(game)[:, 0])
    off = torch.stack(off)
    assert (off.mean(0).abs() < 5 * off.std(0) / 20**0.5).all()


def test_regressions_are_exact_for_games_of_pairs():
    count = 7
    z = coalitions(count)
    game = ((z @ draw(count, count)) * z).sum(1, keepdim=True)
    x = torch.ones(1, count).double()
    found = attrkit.explain(model_of(game), x, "kernel_shap", n_samples=30, estimator="leverage")
    same(found.values["input"][0], shapley_of(game).T)


def test_the_kernel_of_odd_games_against_its_definition():
    count, tau = 6, 0.7
    rho = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.8
    every = coalitions(count) * 2 - 1
    kernel = OddKernel(rho, tau)

    def odd(a, b):
        products = [(1 + sign * rho * a[:, None] * b).prod(-1) for sign in (1, -1)]
        return (products[0] - products[1]) / 2

    ones = torch.ones(1, count).double()
    expected = every @ every.T / count + tau * odd(every, every) / odd(ones, ones)
    same(kernel.covariance(every, every), expected)
    same(kernel.shapley(every), shapley_of(expected).T)
    twice = shapley_of(shapley_of(expected).T)
    same(kernel.variance(), twice.diagonal())


def test_kernels_of_many_features_stay_finite():
    kernel = OddKernel(torch.full((3000,), 0.1).double(), 1.0)
    z = drawn("leverage", 3000, 40).double() * 2 - 1
    for found in (kernel.covariance(z, z), kernel.shapley(z)):
        assert found.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounded_values_are_not_interpolated_for_what_they_are_not(dtype):
    model, truth = game_of("network", 10)
    x = torch.ones(1, 10).double()
    found = attrkit.explain(lambda x: (model(x) + 100 * (dtype is torch.float32)).to(dtype), x, "kernel_shap", n_samples=200)
    assert (found.values["x"].flatten().double() - truth).norm() < 0.2 * truth.norm()


def test_outputs_that_never_change_do_not_spoil_others():
    model, truth = game_of("network", 10)
    x = torch.ones(1, 10).double()
    found = attrkit.explain(lambda x: torch.stack([model(x), x[:, 0] * 0 + 1], 1), x, "kernel_shap", n_samples=200)
    same(found.values["x"][0, 1], torch.zeros(10).double())
    assert (found.values["x"][0, 0] - truth).norm() < 0.2 * truth.norm()
    alone = attrkit.explain(model, x, "kernel_shap", n_samples=200)
    same(found.values["x"][0, 0], alone.values["x"][0])


def test_a_part_of_ones_own():
    @attrkit.estimator("everything")
    def everything(game, budget, *, share: float = 1.0):
        """All to the first feature."""
        assert budget == 7
        scores = torch.zeros(game.count, *game.full.shape).double()
        scores[0] = share * (game.full - game.empty)
        return attrkit.Estimate(scores)

    x = draw(2, 3)
    for estimator in (everything, lambda game, budget: everything.function(game, budget, share=1.0)):
        found = attrkit.explain(lambda x: x.sum(1), x, "kernel_shap", estimator=estimator, n_samples=7)
        same(found.values["x"], torch.stack([x.sum(1), torch.zeros(2), torch.zeros(2)], 1).double())
    with pytest.raises(UsageError, match="no design 'nothing'"), warnings.catch_warnings():
        attrkit.explain(
            lambda x: x.sum(1), draw(2, 9), "kernel_shap", estimator={"leverage": {"design": "nothing"}}, n_samples=50
        )


def sampled(asked, game):
    """What a game of all coalitions says of some."""
    return Sample(asked, game[(asked * 2 ** torch.arange(asked.shape[1])).sum(1)], game[-1], game[0])


@pytest.mark.parametrize("paired", [True, False])
def test_errors_are_of_what_is_predicted_without_the_equation(paired):
    """HC3 by its meaning: an equation's residual is that of the fit to all the others."""
    count, game = 6, table(6)
    asked = drawn("leverage" if paired else "kernel", count, 24)
    _, variances, _ = fitted(sampled(asked, game))
    design = _Design.of(asked)
    y = design.beyond(sampled(asked, game), game[-1] - game[0])
    missed = torch.zeros_like(y)
    for i in range(len(y)):
        others = torch.arange(len(y)) != i
        x, w = design.x[others], design.weights[others, None]
        missed[i] = y[i] - design.x[i] @ torch.linalg.pinv(w.sqrt() * x) @ (w.sqrt() * y[others])
    same(variances, design.solving**2 @ (design.left[:, None] * missed**2), 1e-9)
    assert (variances > 0).any()


@pytest.mark.parametrize("count", range(4, 12))
def test_features_that_always_go_together_share_evenly(count):
    asked = drawn("leverage", count, 200)
    asked[:, 1] = asked[:, 0]
    inner = asked[asked.any(1) & ~asked.all(1)]
    scores, variances, _ = fitted(sampled(inner, table(count)))
    assert variances is None
    same(scores[0], scores[1], 1e-8)
    same(scores.sum(0), table(count)[-1] - table(count)[0], 1e-8)


def test_a_process_of_few_pairs_is_not_sure_that_the_game_is_linear():
    model, x = Rough(12).double(), torch.ones(1, 12).double()
    truth = attrkit.explain(model, x, "shapley_values").values["x"]
    inside = []
    for seed in range(20):
        found = attrkit.explain(model, x, "kernel_shap", n_samples=24, estimator="odd_gp", seed=seed)
        low, high = found.interval(0.95)["x"]
        inside.append((low <= truth) & (truth <= high))
    assert torch.stack(inside).double().mean() > 0.9


def test_no_coalitions_have_no_values():
    found = []

    @attrkit.method("probe", gradient=False, baseline="optional")
    def probe(problem):
        """Asks for nothing, then for something, then for nothing."""
        game = problem.game()
        asked = torch.ones(2, game.count, dtype=torch.bool)
        found.extend(game.values(block) for block in (asked[:0], asked, asked[:0]))
        return problem.zeros()

    attrkit.explain(lambda x: x.sum(1), torch.ones(1, 3), probe)
    assert [len(values) for values in found] == [0, 2, 0]
