"""The truth that the benchmarks of coalition methods compare with."""

from __future__ import annotations

import itertools

import pytest
import torch

from benchmarks.games import Leaves, Perceptron, Tabulated, coalitions, leaves, shapley, shapley_by_halves, shapley_of_leaves


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def by_orders(values, count):
    """The mean over all orders in which the players may join."""
    total = torch.zeros(count, dtype=torch.float64)
    orders = list(itertools.permutations(range(count)))
    for order in orders:
        joined = 0
        for player in order:
            total[player] += values[joined | 1 << player] - values[joined]
            joined |= 1 << player
    return total / len(orders)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_table_has_the_shapley_values_of_all_orders():
    table = drawn(2**5)
    same(shapley(table), by_orders(table, 5))


def test_a_table_is_read_at_each_coalition():
    table = drawn(2**6)
    same(Tabulated(table)(coalitions(6)), table)


def test_leaves_have_the_shapley_values_of_their_table():
    needs = torch.randint(-1, 2, (40, 7), generator=torch.Generator().manual_seed(0))
    game = Leaves(needs, drawn(40))
    same(shapley_of_leaves(game), shapley(game(coalitions(7))))


@pytest.mark.parametrize("count", [6, 7])
def test_halves_have_the_shapley_values_of_the_table(count):
    net = Perceptron(drawn(count, 5), drawn(5), 3 * drawn(5), 0.3)
    same(shapley_by_halves(net, torch.float64), shapley(net(coalitions(count))))


def test_the_leaves_of_a_forest_say_what_it_says():
    ensemble = pytest.importorskip("sklearn.ensemble")
    x = drawn(200, 5).float().numpy()
    model = ensemble.RandomForestRegressor(n_estimators=3, max_depth=4, random_state=0).fit(x, x[:, 0] * x[:, 1] + x[:, 2])
    game = leaves([one.tree_ for one in model.estimators_], lambda tree: tree.value[:, 0, 0] / 3, x[0], x[1])
    mixed = torch.where(coalitions(5).bool(), torch.from_numpy(x[0]), torch.from_numpy(x[1]))
    same(game(coalitions(5)), torch.from_numpy(model.predict(mixed.numpy())))
