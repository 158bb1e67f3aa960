import pytest
import torch

import attrkit
from attrkit.errors import UsageError

W = torch.tensor([1.0, -2.0, 0.5, 3.0]).double()


def data(rows=40):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 4, generator=generator).double() * torch.tensor([1.0, 10.0, 0.1, 3.0]).double()


def examples(count):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1)).double()


def linear(x):
    return x @ W


def nearest(rows, x, k):
    """The rows in the order of their standardised distance, one after another, those that equal the example left out."""
    scale = [float(column.std(correction=0)) or 1.0 for column in rows.T]
    ranked = [
        (sum(((float(a) - float(b)) / s) ** 2 for a, b, s in zip(r, x, scale, strict=True)), i) for i, r in enumerate(rows)
    ]
    return [i for distance, i in sorted(ranked) if distance > 0][:k]


@pytest.mark.parametrize("k", [1, 3, 40])
def test_absent_features_are_the_mean_of_the_nearest_rows(k):
    """Of a linear model, ablation gives weight times what the value differs from that mean."""
    rows, x = data(), examples(5)
    replacement = {"neighbours": {"data": rows, "k": k}}
    found = attrkit.explain(linear, x, "feature_ablation", replacement=replacement).values["x"]
    expected = [W * (e - rows[nearest(rows, e, k)].mean(0)) for e in x]
    torch.testing.assert_close(found, torch.stack(expected))


def test_an_example_of_the_data_is_no_neighbour_of_itself():
    rows = data()
    replacement = {"neighbours": {"data": rows, "k": 2}}
    found = attrkit.explain(linear, rows[:6], "feature_ablation", replacement=replacement).values["x"]
    expected = [W * (e - rows[nearest(rows, e, 2)].mean(0)) for e in rows[:6]]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_column_without_variation_has_no_unit():
    rows = data()
    rows[:, 1] = 7.0
    x = torch.tensor([[0.0, 7.0, 0.0, 0.0]]).double()
    found = attrkit.explain(linear, x, "feature_ablation", replacement={"neighbours": {"data": rows}}).values["x"]
    torch.testing.assert_close(found[0], W * (x[0] - rows[nearest(rows, x[0], 5)].mean(0)))


def test_examples_do_not_depend_on_those_beside_them():
    rows, x = data(), examples(4)
    options = {"replacement": {"neighbours": {"data": rows, "draw": True}}, "n_samples": 64}
    together = attrkit.explain(lambda x: linear(x).sin(), x, "kernel_shap", **options).values["x"]
    alone = attrkit.explain(lambda x: linear(x).sin(), x[:1], "kernel_shap", **options).values["x"]
    torch.testing.assert_close(together[:1], alone)


def test_draws_are_the_neighbours_in_equal_parts():
    """Without features, the objective is that of one of the three nearest rows, each as often as the others."""
    rows, x, seen = data(), torch.zeros(1, 4).double(), []

    @attrkit.method("empty_coalitions", gradient=False, stochastic=True)
    def empty_coalitions(problem):
        game = problem.game(None, {"neighbours": {"data": rows, "k": 3, "draw": True}})
        seen.append(game.values(torch.zeros(600, 4, dtype=torch.bool), torch.arange(600))[:, 0])
        return problem.zeros()

    attrkit.explain(linear, x, empty_coalitions)
    expected = rows[nearest(rows, x[0], 3)] @ W
    counts = torch.tensor([int((seen[0] - e).abs().lt(1e-9).sum()) for e in expected])
    assert counts.sum() == 600
    assert counts.min() > 200 - 4 * (600 * 2 / 9) ** 0.5  # four standard deviations


def test_shapley_values_average_over_draws():
    """Of a linear model they are those of the mean, within four standard errors."""
    rows, x = data(), examples(2)
    found = attrkit.explain(
        linear, x, "shapley_value_sampling", replacement={"neighbours": {"data": rows, "k": 4, "draw": True}}, n_samples=2000
    )
    expected = torch.stack([W * (e - rows[nearest(rows, e, 4)].mean(0)) for e in x])
    assert ((found.values["x"] - expected).abs() <= 4 * found.errors["x"] + 1e-12).all()
    assert found.errors["x"].max() < 0.1 * expected.abs().max()


def test_tensors_of_one_example_go_together():
    """The nearest row is that of all tensors together, not one of each."""
    rows, x = data(), examples(3)
    whole = attrkit.explain(linear, x, "feature_ablation", replacement={"neighbours": {"data": rows, "k": 2}}).values["x"]
    parts = attrkit.explain(
        lambda a, b: linear(torch.cat((a, b), 1)),
        (x[:, :1], x[:, 1:]),
        "feature_ablation",
        replacement={"neighbours": {"data": (rows[:, :1], rows[:, 1:]), "k": 2}},
    ).values
    torch.testing.assert_close(torch.cat((parts["a"], parts["b"]), 1), whole)


def test_integers_are_drawn():
    rows, x = torch.tensor([[1, 2], [5, 9], [6, 9]]), torch.tensor([[5, 8]])
    draw = {"neighbours": {"data": rows, "k": 1, "draw": True}}
    found = attrkit.explain(lambda x: (x * torch.tensor([1.0, 10.0])).sum(1), x, "feature_ablation", replacement=draw)
    torch.testing.assert_close(found.values["x"], torch.tensor([[0.0, -10.0]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data"),
        ({"data": data()[:, :3]}, r"\(40, 4\).*\(40, 3\)"),
        ({"data": (data(), data())}, "data"),
        ({"data": data(), "k": 0}, "k must be from 1 to 40"),
        ({"data": data(), "k": 41}, "k must be from 1 to 40"),
        ({"data": torch.full((9, 4), torch.nan).double()}, "k must be from 1 to 0"),
        ({"data": data()[:0]}, "rows like an example"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        attrkit.explain(linear, examples(2), "feature_ablation", replacement={"neighbours": options})


def test_integers_have_no_mean():
    with pytest.raises(UsageError, match="draw=True"):
        attrkit.explain(
            lambda x: x.double().sum(1),
            torch.tensor([[1, 2]]),
            "feature_ablation",
            replacement={"neighbours": {"data": torch.tensor([[3, 4], [5, 6]]), "k": 1}},
        )
