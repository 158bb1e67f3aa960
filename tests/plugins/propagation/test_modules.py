"""Entries about whole modules: each is governed as if it were one operation, and nothing in it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attrkit import rule
from attrkit.errors import RulesetError, UsageError
from attrkit.registry import registry
from tests.plugins.models import built, draw
from tests.plugins.propagation.oracle import entry, ruleset

X = draw(3, 4)
WEIGHTS = entry({"op": "linear"}, "epsilon", epsilon=0)


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


class Squared(nn.Module):
    """An activation that somebody wrote: no operation of its own."""

    def forward(self, x):
        return torch.relu(x) ** 2 * torch.exp(-0.1 * x)


class Net(nn.Module):
    def __init__(self, act=Squared, runs=1):
        super().__init__()
        self.lower, self.act, self.mix, self.head = nn.Linear(4, 5), act(), nn.Linear(5, 5), nn.Linear(5, 2)
        self.runs = runs

    def forward(self, x):
        y = self.act(self.lower(x))
        for _ in range(self.runs - 1):
            y = self.act(self.mix(y))
        return self.head(y)


def whole(rule="pass", **match):
    return entry({"op": "module", "module": "Squared", **match}, rule)


def explained(explain, model, *entries, x=X, **given):
    return explain(model, x, "lrp", rules=ruleset(*entries, WEIGHTS), target=1, **given)


def by_hand(model, x):
    """Relevance by contribution in linear maps, and unchanged in between, of what runs once."""
    z, y = model.lower(x), model.act(model.lower(x))
    r = y * model.head.weight[1]
    return (x * ((r / z) @ model.lower.weight)).detach()


def test_a_module_passes_relevance_as_one_operation(explain):
    model = built(Net)
    found = explained(explain, model, whole())
    same(found.values["x"], by_hand(model, X))
    report = [(r["path"], r["operation"], r["rule"]) for r in found.rules]
    assert report == [("lower", "linear", "epsilon"), ("act", "module", "pass"), ("head", "linear", "epsilon")]


def test_without_the_entry_what_is_in_it_is_found(explain):
    with pytest.raises(RulesetError, match="pow in act(.|\n)*exp in act"):
        explained(explain, built(Net), entry({"op": "activation"}, "pass", optional=True))


@pytest.mark.parametrize(("position", "count"), [(None, 3), ("first", 1), ("last", 1)])
def test_a_module_that_runs_again_is_governed_again(explain, position, count):
    match = {} if position is None else {"position": position}
    rest = [entry({"op": ["pow", "exp", "mul", "relu"]}, "gradient", optional=True)]
    report = explained(explain, built(lambda: Net(runs=3)), whole(**match), *rest).rules
    governed = [r["operation"] == "module" for r in report if r["path"] == "act" and r["operation"] in ("module", "exp")]
    assert sum(governed) == count
    assert len(governed) == 3
    if position:
        assert governed[0 if position == "first" else -1]


def test_a_module_may_keep_its_own_gradient_or_be_a_constant(explain):
    model = built(lambda: Net(runs=2))
    kept = explained(explain, model, whole("gradient")).values["x"]
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    same(kept, X * gradient)


def test_a_module_may_be_a_constant(explain):
    model = built(Net)
    found = explain(
        lambda x: model(x) + x[:, :2],
        X,
        "lrp",
        rules=ruleset(whole("stop"), WEIGHTS),
        target=1,
    )
    expected = torch.zeros_like(X)
    expected[:, 1] = X[:, 1]
    same(found.values["x"], expected)


def test_deeplift_rescales_a_module(explain):
    model, r = built(Net), draw(3, 4, seed=1)
    rules = ruleset(whole("rescale"), entry({"op": "linear"}, "gradient"))
    found = explain(model, X, "deeplift", rules=rules, target=1, baselines=r).values["x"]
    z, z0 = model.lower(X), model.lower(r)
    multiplier = model.head.weight[1] * (model.act(z) - model.act(z0)) / (z - z0)
    same(found, ((multiplier @ model.lower.weight) * (X - r)).detach())


class Writing(Squared):
    def forward(self, x):
        return torch.relu_(x)


class Pairing(Squared):
    def forward(self, x):
        return torch.relu(x), x


class Scaled(Squared):
    def forward(self, x, by=1.0, *, plus=0.0):
        return torch.relu(x) * by + plus


class Product(Squared):
    def forward(self, a, /, *, b):
        return a * b


class Listing(Squared):
    def forward(self, a, others):
        return a * others[0]


class Twofold(nn.Module):
    """A module of two tensors that both depend on the input."""

    def __init__(self, act=Product):
        super().__init__()
        self.first, self.second, self.act, self.head = nn.Linear(4, 5), nn.Linear(4, 5), act(), nn.Linear(5, 2)

    def forward(self, x):
        a, b = self.first(x), self.second(x)
        return self.head(self.act(a, [b]) if isinstance(self.act, Listing) else self.act(a, b=b))


@rule("three_to_one", operations={"module"}, returns="shares", conserves="yes")
def three_to_one(step):
    """Three quarters to the first operand, the rest to the second."""
    assert step.live == (True, True)
    return (0.75, 0.25)


@rule("for_one", operations={"module"}, returns="shares")
def for_one(step):
    """A share for the first operand alone."""
    return (0.5,)


@pytest.fixture
def registered(request):
    registry.register(request.param)
    yield request.param.name
    registry.unregister(request.param.name)


@pytest.mark.parametrize("registered", [three_to_one], indirect=True, ids=["three_to_one"])
def test_a_module_shares_among_all_of_its_tensors(explain, registered):
    model = built(Twofold)
    found = explained(explain, model, entry({"op": "module", "module": "Product"}, registered))
    a, b = model.first(X), model.second(X)
    r = a * b * model.head.weight[1]
    expected = X * ((0.75 * r / a) @ model.first.weight + (0.25 * r / b) @ model.second.weight)
    same(found.values["x"], expected.detach())


def test_all_tensors_of_a_stopped_module_are_stopped(explain):
    class Beside(Twofold):
        def forward(self, x):
            return super().forward(x) + x[:, :2]

    found = explained(explain, built(Beside), entry({"op": "module", "module": "Product"}, "stop"))
    expected = torch.zeros_like(X)
    expected[:, 1] = X[:, 1]
    same(found.values["x"], expected)


@pytest.mark.parametrize("registered", [for_one], indirect=True, ids=["for_one"])
def test_shares_for_some_operands_alone_are_refused(explain, registered):
    with pytest.raises(
        UsageError, match="'for_one' returned 1 shares for module at 'act', which has 2 operands; return one for"
    ):
        explained(explain, built(Twofold), entry({"op": "module", "module": "Product"}, registered))


def test_sharing_among_tensors_in_a_list_is_refused(explain):
    with pytest.raises(
        RulesetError, match="module in act: no rule can govern it as a whole: it is called with tensors in a list"
    ):
        explained(explain, built(lambda: Twofold(Listing)), entry({"op": "module", "module": "Listing"}, "stop"))


def test_a_module_that_writes_into_its_input_is_refused(explain):
    with pytest.raises(RulesetError, match="module in act: no rule can govern it as a whole: it writes into its input"):
        explained(explain, built(lambda: Net(Writing)), whole())


def test_a_module_that_returns_several_is_refused(explain):
    class Picking(Net):
        def forward(self, x):
            return self.head(self.act(self.lower(x))[0])

    with pytest.raises(RulesetError, match="module in act: no rule can govern it as a whole: it returns tuple, not a tensor"):
        explained(explain, built(lambda: Picking(Pairing)), whole())


def test_a_module_takes_further_arguments(explain):
    class More(Net):
        def forward(self, x):
            return self.head(self.act(self.lower(x), 2.0, plus=1.0))

    model, seen = built(lambda: More(Scaled)), []
    model.act.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    found = explained(explain, model, whole("gradient")).values["x"]
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    same(found, X * gradient)
    rules = ruleset(whole("rescale"), entry({"op": "linear"}, "gradient"))
    r = draw(3, 4, seed=1)
    contributions = explain(model, X, "deeplift", rules=rules, target=1, baselines=r).values["x"]
    same(contributions.sum(1), (model(X) - model(r))[:, 1].detach())


def test_a_module_that_fails_is_reported_and_left(explain):
    class Failing(Squared):
        def forward(self, x):
            message = "no"
            raise ValueError(message)

    model = built(lambda: Net(Failing))
    with pytest.raises(Exception, match="no"):
        explained(explain, model, whole())
    model.act = Squared()
    same(explained(explain, model, whole()).values["x"], by_hand(model, X))


def test_a_module_in_a_closed_module_is_not_asked(explain):
    class Outer(Squared):
        def __init__(self):
            super().__init__()
            self.inner = Squared()

        def forward(self, x):
            return self.inner(x) + 0.5 * x

    model = built(lambda: Net(Outer))
    report = explained(explain, model, whole()).rules
    assert [r["path"] for r in report if r["operation"] == "module"] == ["act"]
    same(explained(explain, model, whole()).values["x"], by_hand(model, X))
