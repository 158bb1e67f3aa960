"""Ranks as scipy or pandas make them, their mean, and how far methods agree."""

from __future__ import annotations

from itertools import permutations

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - torch may be missing
from attrkit.errors import UsageError  # noqa: E402
from attrkit.registry import registry  # noqa: E402
from tests.plugins.ensembles import planted  # noqa: E402
from tests.plugins.models import TwoInputs, built, cnn, draw, smooth_mlp  # noqa: E402

X = draw(4, 5, seed=1)


@pytest.fixture
def model():
    return built(smooth_mlp)


def agreed(*methods):
    return registry.wrapper("rank_agreement").around(*methods)


def says(*rows):
    """A method that says what it is told of each example."""

    @attrkit.method("planted_words", gradient=False, objective=False, forward_passes="0")
    def words(problem):
        """What it is told."""
        return tuple(torch.tensor(rows, dtype=x.dtype)[problem.example_rows].reshape(x.shape) for x in problem.point)

    return words


def only(explanation):
    (values,) = explanation.values.values()
    return values


def by_hand(row):
    """The rank of each entry: how many are less, and half of those that are equal."""
    return [sum(b < a for b in row) + (sum(b == a for b in row) + 1) / 2 for a in row]


def test_ranks_are_those_by_hand_with_ties_shared(explain):
    rows = ([3.0, -1.0, 2.0, 2.0], [0.0, 0.0, -5.0, 0.0])
    x = torch.zeros(2, 4).double()
    method = agreed(says(*rows), says(*rows))
    for absolute in (True, False):
        expected = torch.tensor([by_hand([abs(v) if absolute else v for v in row]) for row in rows]).double() / 4
        torch.testing.assert_close(only(explain(lambda x: x.sum(1), x, method, absolute=absolute)), expected)


def test_ranks_are_those_of_scipy(explain, model):
    stats = pytest.importorskip("scipy.stats")
    images, net = draw(3, 2, 8, 8, seed=4), built(cnn)
    found = explain(net, images, agreed(planted.gradient, planted.product), target=1)
    each = [
        torch.from_numpy(stats.rankdata(only(explain(net, images, m, target=1)).abs().flatten(1).numpy(), axis=1))
        for m in (planted.gradient, planted.product)
    ]
    torch.testing.assert_close(only(found).flatten(1), (each[0] + each[1]) / 2 / 128)
    for row in range(3):  # of two methods without ties, W is half of Spearman's correlation plus one half
        rho = stats.spearmanr(each[0][row], each[1][row]).statistic
        assert float(found.details["agreement"][row]) == pytest.approx((rho + 1) / 2, abs=1e-12)


def test_agreement_is_kendall_s_w(explain):
    orders = list(permutations([1.0, 2.0, 3.0]))
    x = torch.zeros(1, 3).double()

    def agreement(*rows):
        found = explain(lambda x: x.sum(1), x, agreed(*(says(row) for row in rows)))
        return float(found.details["agreement"])

    assert agreement(*[orders[1]] * 3) == pytest.approx(1)
    assert agreement(orders[0], orders[-1]) == pytest.approx(0)
    # 12 S / (m^2 (n^3 - n)) of rank sums 4, 7, 7
    assert agreement([1, 2, 3], [1, 3, 2], [2.0, 2.0, 2.0]) == pytest.approx(1.5 / 2 * 2 / 3)
    assert torch.isnan(torch.tensor(agreement([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])))


def test_an_input_of_which_no_method_tells_entries_apart_does_not_count(explain):
    inputs = (torch.zeros(2, 3).double(), torch.zeros(2, 1).double())

    def saying(row):
        @attrkit.method("planted_words", gradient=False, objective=False, forward_passes="0")
        def words(problem):
            return tuple(torch.tensor(row[: x.shape[1]]).double().expand_as(x).clone() for x in problem.inputs)

        return words

    found = explain(lambda a, b: a.sum(1) + b.sum(1), inputs, agreed(saying([1, 2, 3]), saying([1, 3, 2])))
    assert found.details["agreement"].tolist() == pytest.approx([0.75, 0.75])


def test_ties_are_corrected_for(explain):
    """Kendall's W with ties: S over (m^2 (n^3 - n) - m T) / 12."""
    rows = [[1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 2.0, 2.0], [4.0, 1.0, 2.0, 3.0]]
    sums = torch.tensor([by_hand(row) for row in rows]).sum(0)
    s, t = float(((sums - sums.mean()) ** 2).sum()), (2**3 - 2) + (3**3 - 3)
    found = explain(lambda x: x.sum(1), torch.zeros(1, 4).double(), agreed(*map(says, rows)))
    assert float(found.details["agreement"]) == pytest.approx(12 * s / (9 * (4**3 - 4) - 3 * t))


def test_ranks_do_not_depend_on_scale_or_on_other_examples(explain, model):
    method = agreed(planted.gradient, planted.product)
    whole = only(explain(model, X, method, target=0))
    torch.testing.assert_close(only(explain(model, X, method, target=0, scale=1e-3)), whole)
    torch.testing.assert_close(only(explain(model, X[1:2], method, target=0)), whole[1:2])


def test_each_input_and_each_layer_has_ranks_of_its_own(explain, model):
    inputs, two = (draw(3, 4, seed=5), draw(3, 6, seed=6)), built(TwoInputs)
    method = agreed(planted.gradient, planted.product)
    found = explain(two, inputs, method, target=0)
    for values in found.values.values():
        torch.testing.assert_close(values.mean(1), torch.full((3,), (values.shape[1] + 1) / 2 / values.shape[1]).double())
    assert found.details["agreement"].shape == (3,)
    both = explain(model, X, method, target=1, layer=["0", "2"])
    for layer in ("0", "2"):
        torch.testing.assert_close(both.values[layer], only(explain(model, X, method, target=1, layer=layer)))


def test_several_targets_of_the_same_passes(model):
    method = agreed(planted.gradient, planted.product)
    for found, target in zip(attrkit.explain_each(model, X, method, targets=[0, 2]), (0, 2), strict=True):
        alone = attrkit.explain(model, X, method, target=target)
        torch.testing.assert_close(only(found), only(alone))
        torch.testing.assert_close(found.details["agreement"], alone.details["agreement"])


def test_what_methods_note_is_not_the_ensemble_s(explain, model):
    @attrkit.method("planted_notes", forward_passes="0")
    def notes(problem):
        """Notes errors and details."""
        problem.errors, problem.details["mine"] = problem.point, 1
        return problem.point

    found = explain(model, X, agreed(notes, planted.gradient), target=0)
    assert found.errors == {}
    assert set(found.details) == {"agreement"}


def test_shapes_that_differ_are_refused(explain):
    @attrkit.method("planted_map")
    def summed(problem):
        """One number for each place."""
        return tuple(g.sum(1, keepdim=True) for g in problem.value_and_grad()[1])

    with pytest.raises(UsageError, match=r"shapes \[\(3, 1, 8, 8\)\] and \[\(3, 2, 8, 8\)\], whose ranks do not compare"):
        explain(built(cnn), draw(3, 2, 8, 8), agreed(summed, planted.gradient), target=0)


def test_a_wrapper_of_several_methods_has_no_class():
    assert not hasattr(attrkit.attr, "RankAgreement")
