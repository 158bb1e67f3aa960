"""Averages over seeds are the averages of runs with these seeds, wherever and however they are asked for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - torch may be missing
from attrkit.errors import UsageError  # noqa: E402
from attrkit.registry import registry  # noqa: E402
from tests.plugins.ensembles import planted  # noqa: E402
from tests.plugins.models import TwoInputs, built, draw, smooth_mlp  # noqa: E402

X = draw(4, 5, seed=1)


@pytest.fixture
def model():
    return built(smooth_mlp)


def averaged(method=planted.noisy):
    return registry.wrapper("seed_average").around(method)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "place", [{"target": 1}, {"target": [0, 2, 1, 1]}, {"target": 1, "layer": "2"}, {"layer": "2", "neuron": 3}]
)
def test_it_is_the_mean_of_runs_with_its_seeds(explain, model, place):
    found = explain(model, X, averaged(), n_seeds=6, n_draws=3, seed=4, **place)
    seeds = found.details["seeds"]
    assert len(set(seeds)) == 6
    runs = torch.stack([only(explain(model, X, planted.noisy, n_draws=3, seed=seed, **place)) for seed in seeds])
    same(only(found), runs.mean(0))
    (errors,) = found.errors.values()
    same(errors, runs.std(0) / 6**0.5)


def test_it_costs_what_the_runs_cost(explain, model):
    assert explain(model, X, averaged(), n_seeds=6, n_draws=3, target=0).passes == {"forward": 18, "backward": 18}
    assert explain(model, X, averaged(), n_seeds=6, n_draws=3, target=0, layer="2").passes["forward"] <= 6 * 4 + 1


def test_every_input_has_its_mean_and_errors(explain):
    inputs, model = (draw(3, 4, seed=5), draw(3, 6, seed=6)), built(TwoInputs)
    found = explain(model, inputs, averaged(), target=0, n_seeds=3)
    runs = [explain(model, inputs, planted.noisy, target=0, seed=seed) for seed in found.details["seeds"]]
    for name, values in found.values.items():
        each = torch.stack([run.values[name] for run in runs])
        same(values, each.mean(0))
        same(found.errors[name], each.std(0) / 3**0.5)


def test_more_seeds_begin_with_the_same(explain, model):
    few, many = (explain(model, X, averaged(), target=0, n_seeds=n, seed=2).details["seeds"] for n in (3, 40))
    assert many[:3] == few
    other = explain(model, X, averaged(), target=0, n_seeds=40, seed=3).details["seeds"]
    assert not set(other) & set(many)


def test_standard_errors_are_those_of_the_mean(explain, model):
    """Of many averages over few seeds, the spread is what each of them says it is."""
    found = [explain(model, X[:1], averaged(), target=0, n_seeds=8, seed=seed) for seed in range(80)]
    spread = torch.stack([only(e) for e in found]).var(0)
    said = torch.stack([next(iter(e.errors.values())) ** 2 for e in found]).mean(0)
    assert ((spread / said - 1).abs() < 0.7).all()
    low, high = found[0].interval(0.95)[next(iter(found[0].values))]
    width = (high - low) / 2 / next(iter(found[0].errors.values()))
    same(width, torch.full_like(width, 2.364624), 1e-5)  # Student's, of 7 degrees


def test_examples_have_the_same_whatever_shares_their_batch(explain, model):
    whole = only(explain(model, X, averaged(), target=0))
    same(only(explain(model, X[:2], averaged(), target=0)), whole[:2])
    same(only(explain(model, X, averaged(), target=0, internal_batch_size=1)), whole)


def test_several_targets_of_the_same_passes(model):
    each = attrkit.explain_each(model, X, averaged(), targets=[0, 2])
    for found, target in zip(each, (0, 2), strict=True):
        alone = attrkit.explain(model, X, averaged(), target=target)
        same(only(found), only(alone))
        same(next(iter(found.errors.values())), next(iter(alone.errors.values())))


def test_a_method_that_draws_nothing_is_refused():
    message = (
        "'seed_average' takes methods that draw random numbers, and 'planted_gradient' does not: every run of it would say"
    )
    with pytest.raises(UsageError, match=message):
        averaged(planted.gradient)


@pytest.mark.parametrize("n_seeds", [1, 0, -3])
def test_one_seed_is_refused(model, n_seeds):
    with pytest.raises(UsageError, match=f"n_seeds must be at least 2, got {n_seeds}: one seed has no spread"):
        attrkit.explain(model, X, averaged(), target=0, n_seeds=n_seeds)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_mask_for_each_example_stays_with_it_however_wrappers_are_nested(model, rows):
    """Around methods whose rows are copies of some of the examples."""
    masks = torch.arange(20).reshape(4, 5).double()
    wrapped = around_twice(averaged(), averaged(around_copies(planted.noisy)))
    for method in wrapped:
        found = only(attrkit.explain(model, X, method, target=0, feature_mask=masks, internal_batch_size=rows))
        plain = only(attrkit.explain(model, X, method, target=0, internal_batch_size=rows))
        same(found, plain * masks)


def around_copies(method):
    return copied.around(method)


def around_twice(*methods):
    return [copied.around(m) for m in methods] + [copied.around(copied.around(m)) for m in methods]


@attrkit.wrapper("planted_copies", times="copies")
def copied(problem, inner, *, copies: int = 3):
    """The mean over copies of the inputs, each alone in its turn."""
    moved = (tuple(x + 0.1 * k for x in problem.inputs) for k in range(copies))
    found = list(problem.attributions(inner, moved, copies, 1))
    return tuple(torch.stack(each).mean(0) for each in zip(*found, strict=True))


def test_its_class(model):
    torch.manual_seed(0)
    registry.register(planted.noisy)
    try:
        made = attrkit.attr.SeedAverage(attrkit.attr.PlantedNoisy(model))
        found = made.attribute(X, 4, target=1, n_draws=3, seed=9)
    finally:
        registry.unregister("planted_noisy")
    same(found, only(attrkit.explain(model, X, averaged(), n_seeds=4, target=1, n_draws=3, seed=9)))
