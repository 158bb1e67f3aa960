"""DeepLIFT: complete on every net, equal to its definition, and clear about baselines that take another way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrkit.errors import UsageError
from tests.plugins.models import Residual, Reused, TwoInputs, built, cnn, draw, mlp
from tests.plugins.propagation.nets import NETS
from tests.plugins.propagation.oracles import deeplift

FLOATING = [name for name in NETS if name != "tokens"]
nets = pytest.mark.parametrize("name", FLOATING)


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def total(tensors):
    return sum(t.flatten(1).sum(1) for t in tensors)


def outputs(model, inputs):
    with torch.no_grad():
        return model(*inputs)


@nets
@pytest.mark.parametrize("kind", ["random", "zero"])
def test_contributions_add_up_to_the_change(explain, name, kind):
    net = NETS[name]
    model, inputs = net.built(), net.inputs()
    baselines = tuple(0 * x if kind == "zero" else 0.7 * draw(*x.shape, seed=9 + i) for i, x in enumerate(inputs))
    found = explain(model, inputs, "deeplift", target=1, baselines=baselines)
    change = (outputs(model, inputs) - outputs(model, baselines))[:, 1]
    same(total(found.values.values()), change, 1e-9)
    same(found.delta, torch.zeros_like(found.delta), 1e-9)
    assert change.abs().min() > 1e-6


ALONE = [
    *("all activations", "residual", "squeeze and excite", "functional", "inception", "encoder, norm first"),
    *("attention by einsum", "multihead, time first", "gated gelu", "gru, both ways", "lstm, two layers", "two inputs"),
]


@pytest.mark.parametrize("name", ALONE)
def test_every_example_is_explained_as_if_it_were_alone(explain, name):
    net = NETS[name]
    model, inputs = net.built(), net.inputs()
    baselines = tuple(0.7 * draw(*x.shape, seed=9 + i) for i, x in enumerate(inputs))
    together = tuple(explain(model, inputs, "deeplift", target=1, baselines=baselines).values.values())
    for i in range(2):
        point, reference = (tuple(t[i : i + 1] for t in ts) for ts in (inputs, baselines))
        alone = tuple(explain(model, point, "deeplift", target=1, baselines=reference).values.values())
        same(tuple(t[i : i + 1] for t in together), alone, 1e-9)


LAYERS = {
    "mlp": ["0", "1", "2"],
    "cnn with batch norm": ["0", "1", "2", "3", "4", "12"],
    "residual": ["conv", "bn", "relu", "block1", "block2", "fc"],
    "encoder": ["layers.layers.0", "layers.layers.1", "layers"],
    "squeeze and excite": ["conv"],
}


@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name, layers in LAYERS.items() for layer in layers])
def test_it_is_complete_at_a_layer_that_everything_passes(explain, name, layer):
    net = NETS[name]
    model, inputs = net.built(), net.inputs()
    baselines = tuple(0.7 * draw(*x.shape, seed=9 + i) for i, x in enumerate(inputs))
    found = explain(model, inputs, "deeplift", target=0, baselines=baselines, layer=layer)
    change = (outputs(model, inputs) - outputs(model, baselines))[:, 0]
    same(total(found.values.values()), change, 1e-9)


def test_a_neuron_is_explained_like_an_output(explain):
    model, x, r = built(mlp), draw(3, 6), draw(3, 6, seed=4)
    found = explain(model, x, "deeplift", layer="2", neuron=3, baselines=r).values["input"]
    same(found, explain(model[:3], x, "deeplift", target=3, baselines=r).values["input"])
    same(found.sum(1), (model[:3](x) - model[:3](r))[:, 3].detach())


CHAINS = {
    "relu": (mlp, (6,)),
    "elu": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), (5,)),
    "activation first": (lambda: nn.Sequential(nn.Sigmoid(), nn.Linear(4, 4), nn.Softplus(), nn.GELU(), nn.Linear(4, 3)), (4,)),
    "max-pool of relu":
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)), (2, 6, 6)),
    "images":
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.SiLU(), nn.Flatten(), nn.Linear(18,
        3)), (2, 6, 6)),
    "max-pool":
        (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)), (2, 6, 6)),
    "max-pool, overlapping":
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.MaxPool1d(3, 2, 1), nn.Flatten(), nn.Linear(9, 3)), (2, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
@pytest.mark.parametrize("rows", ["each", "one"])
def test_it_is_what_its_definition_says(explain, name, rule, rows):
    factory, shape = CHAINS[name]
    model, x, r = built(factory), draw(3, *shape), draw(3 if rows == "each" else 1, *shape, seed=7)
    found = explain(model, x, "deeplift", target=1, baselines=r, rules=f"deeplift_{rule}").values["input"]
    same(found, deeplift.attributions(model, x, r, 1, rule=rule))


@pytest.mark.parametrize("far", [1.0, 40.0])
def test_softmax_is_taken_below_its_maximum(explain, far):
    x, r, w = far * draw(3, 5), draw(3, 5, seed=1), draw(5, seed=2)

    def model(x):
        return (torch.softmax(x, 1) * w).sum(1)

    found = explain(model, x, "deeplift", baselines=r).values["x"]
    rows = [deeplift.softmax_below_maximum(a, b, w) * (a - b) for a, b in zip(x, r, strict=True)]
    same(found, torch.stack(rows), 1e-9)
    same(found.sum(1), model(x) - model(r), 1e-12)


def test_a_product_counts_each_factor_with_the_mean_of_the_other(explain):
    x, y, x0, y0 = (draw(3, 4, seed=i) for i in range(4))
    found = explain(lambda x, y: (x * y).sum(1), (x, y), "deeplift", baselines=(x0, y0)).values
    same(found["x"], (x - x0) * (y + y0) / 2)
    same(found["y"], (y - y0) * (x + x0) / 2)


def test_multipliers_are_contributions_by_change(explain):
    model, x, r = built(cnn), draw(2, 2, 8, 8), draw(2, 2, 8, 8, seed=3)
    contributions = explain(model, x, "deeplift", target=0, baselines=r).values["input"]
    multipliers = explain(model, x, "deeplift", target=0, baselines=r, multiply_by_inputs=False).values["input"]
    same(multipliers * (x - r), contributions)


def test_without_a_change_multipliers_are_the_gradient(explain):
    pytest.importorskip("attrkit_gradients")
    model, x = built(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))), draw(2, 4)
    multipliers = explain(model, x, "deeplift", target=0, baselines=x, multiply_by_inputs=False).values["input"]
    same(multipliers, explain(model, x, "saliency", target=0, abs=False).values["input"])


class Choosing(nn.Module):
    """What takes another way for inputs below zero."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return torch.relu(self.one(x)) if float(x.detach().sum()) > 0 else torch.tanh(self.other(x))


class Longer(nn.Module):
    """What repeats a step as often as its input is large."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        for _ in range(1 + int(x.detach().abs().max())):
            x = torch.tanh(self.mix(x))
        return x


@pytest.mark.parametrize(
    ("factory", "baseline"), [(Choosing, -1.0), (Longer, 0.1), (Longer, 9.0)], ids=["other", "fewer", "more"]
)
def test_a_baseline_that_takes_another_way_is_refused(explain, factory, baseline):
    x = torch.full((2, 4), 3.0).double()
    with pytest.raises(UsageError, match="baselines: .* give baselines that take the same way through the model"):
        explain(built(factory), x, "deeplift", target=0, baselines=baseline)


@pytest.mark.parametrize("rows", [1, 2])
def test_chunked_it_is_the_same(explain, rows):
    net = NETS["encoder"]
    model, (x,) = net.built(), net.inputs()
    x, r = torch.cat([x, 2 * x, x - 1]), draw(6, 5, 8, seed=8)
    whole = explain(model, x, "deeplift", target=[0, 1, 2, 0, 1, 2], baselines=r).values["x"]
    chunked = explain(model, x, "deeplift", target=[0, 1, 2, 0, 1, 2], baselines=r, internal_batch_size=rows).values["x"]
    same(chunked, whole, 1e-12)


def test_one_baseline_row_serves_the_whole_batch(explain):
    model, x, r = built(Residual), draw(3, 3, 8, 8), draw(1, 3, 8, 8, seed=2)
    one = explain(model, x, "deeplift", target=1, baselines=r).values
    each = explain(model, x, "deeplift", target=1, baselines=r.expand(3, -1, -1, -1).clone()).values
    same(one["x"], each["x"], 1e-12)


@pytest.mark.parametrize(
    "given", [None, 0, 0.5, (0.5, 0), (draw(3, 4, seed=6), 0.25)], ids=["none", "0", "number", "pair", "mixed"]
)
def test_baselines_of_several_kinds(explain, given):
    model, inputs = built(TwoInputs), (draw(3, 4), draw(3, 2, 3, seed=1))
    pair = (given, given) if not isinstance(given, tuple) else given
    full = tuple(b if isinstance(b, torch.Tensor) else torch.full_like(x, b or 0) for b, x in zip(pair, inputs, strict=True))
    found = explain(model, inputs, "deeplift", target=1, baselines=given)
    expected = explain(model, inputs, "deeplift", target=1, baselines=full)
    assert all(map(torch.equal, found.values.values(), expected.values.values()))
    same(total(found.values.values()), (model(*inputs) - model(*full))[:, 1].detach())


def test_the_class_is_the_method(attribute):
    model, x, r = built(Reused), draw(3, 4), draw(3, 4, seed=1)
    found, delta = attribute("DeepLift", model)(x, r, target=1, return_convergence_delta=True)
    same(found.sum(1), (model(x) - model(r))[:, 1].detach())
    same(delta, torch.zeros(3).double())


def test_the_model_is_as_it_was_after_a_baseline_that_was_refused(explain):
    model, x = built(Choosing), torch.full((2, 4), 3.0).double()
    before = explain(model, x, "deeplift", target=0, baselines=1.0).values["x"]
    with pytest.raises(UsageError):
        explain(model, x, "deeplift", target=0, baselines=-1.0)
    assert torch.equal(explain(model, x, "deeplift", target=0, baselines=1.0).values["x"], before)


def test_in_place_operations_keep_what_they_overwrite(explain):
    model, x, r = built(mlp), draw(3, 6), draw(3, 6, seed=1)

    def written(x):
        y = F.relu_(model[0](x))
        y.mul_(2).add_(y.tanh()).sub_(0.5)
        y *= torch.sigmoid(y)
        return model[4](F.gelu(model[2](y)))

    found = explain(written, x, "deeplift", target=0, baselines=r)
    same(found.values["x"].sum(1), (written(x) - written(r))[:, 0].detach(), 1e-9)


@pytest.mark.parametrize("name", ["cnn", "encoder", "multihead, time first", "gru, time first", "attention by einsum"])
def test_one_baseline_row_stands_for_all(explain, name):
    """Also where the model has time first, and a row of the baseline is no row of every operation."""
    net = NETS[name]
    model, (x,) = net.built(), net.inputs()
    row = 0.3 * draw(1, *x.shape[1:], seed=9)
    found = explain(model, x, "deeplift", target=1, baselines=row)
    (together,) = found.values.values()
    for i in range(2):
        (alone,) = explain(model, x[i : i + 1], "deeplift", target=1, baselines=row).values.values()
        same(together[i : i + 1], alone)
    assert float(found.delta.abs().max()) < 1e-12


class ByRows(nn.Module):
    """Does with several examples what it does not with one."""

    def __init__(self):
        super().__init__()
        self.below, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        y = torch.tanh(self.below(x))
        return self.head(torch.sigmoid(y) if len(x) > 1 else y)


def test_a_model_that_goes_by_the_number_of_rows(explain):
    found = explain(built(ByRows), draw(3, 6), "deeplift", target=1)
    with torch.no_grad():
        expected = built(ByRows)(torch.zeros(3, 6).double())[:, 1]
    same(found.baseline_output, expected)
    assert float(found.delta.abs().max()) < 1e-12
