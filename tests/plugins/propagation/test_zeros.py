"""Relevance of what is exactly 0, which no multiple of it can carry: in the middle of a net it survives all the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.plugins.models import built, draw
from tests.plugins.propagation.oracle import entry, ruleset

RULES = {
    "flat": {},
    "wsquare": {},
    "zbox": {"low": -3.0, "high": 3.0},
}
NONE = {"stabilizer": 0}


class Net(nn.Module):
    """A convolution, what makes zeros, a convolution that is shared by a rule in relevance, and what is between."""

    def __init__(self, middle, channels=4, features=None):
        super().__init__()
        self.first, self.middle = nn.Conv2d(2, 4, 3, padding=1, bias=False), middle
        self.second = nn.Conv2d(channels, 3, 1, bias=False) if features is None else nn.Linear(features, 3, bias=False)
        self.head = nn.LazyLinear(2, bias=False).double()

    def forward(self, x):
        y = self.second(self.middle(self.first(x)))
        return self.head(y.flatten(1))


def halves(y):
    return torch.cat([F.relu(y), F.relu(-y)], 1)


def gated(y):
    return F.relu(y) * torch.sigmoid(y)


MIDDLES = {
    "relu": (F.relu, {}),
    "relu in place": (lambda y: F.relu_(y), {}),
    "clamp": (lambda y: F.relu6(y), {}),
    "two relus": (lambda y: F.relu(F.relu(y)), {}),
    "max-pool": (lambda y: F.max_pool2d(F.relu(y), 2), {}),
    "max-pool of a max-pool": (lambda y: F.max_pool2d(F.max_pool2d(F.relu(y), 2), 2, 1), {}),
    "average": (lambda y: F.avg_pool2d(F.relu(y), 2), {}),
    "reshaped": (lambda y: F.relu(y).flatten(1), {"features": 64}),
    "transposed": (lambda y: F.relu(y).permute(0, 2, 3, 1).reshape(2, 16, 4), {"features": 4}),
    "padded": (lambda y: F.pad(F.relu(y), (1, 1, 1, 1)), {}),
    "scaled": (lambda y: F.relu(y) * 0.5, {}),
    "scaled by channel": (lambda y: F.relu(y) * torch.tensor([1.0, 2.0, 0.5, 3.0]).double()[:, None, None], {}),
    "dropout": (lambda y: F.dropout(F.relu(y), 0.5, training=False), {}),
    "indexed": (lambda y: F.relu(y)[:, :, :3, 1:], {}),
    "cat": (halves, {"channels": 8}),
    "gate": (gated, {}),
    "chunk": (lambda y: torch.cat(F.relu(y).chunk(2, 1), 1), {}),
    "clone": (lambda y: F.relu(y).clone(), {}),
    "stacked": (lambda y: torch.stack([F.relu(y), F.relu(y)], 1).flatten(1, 2), {"channels": 8}),
    "upsampled": (lambda y: F.interpolate(F.relu(y), scale_factor=2), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_sums_are_kept(explain, name, rule):
    middle, given = MIDDLES[name]

    class Middle(nn.Module):
        def forward(self, y):
            return middle(y)

    x = draw(2, 2, 4, 4)
    net = Net(Middle(), **given).double()
    net(x)
    model = built(lambda: net)
    for i, p in enumerate(model.parameters()):
        p.data = draw(*p.shape, seed=20 + i)
    rules = ruleset(
        entry({"path": "second"}, rule, **NONE, **RULES[rule]),
        entry({"path": "first"}, "flat", **NONE),
        entry({"op": "linear_like"}, "epsilon", epsilon=0),
        entry({"op": "activation"}, "pass", optional=True),
        entry({"op": "mul"}, "gated", optional=True),
        entry({"op": "sums"}, "epsilon", epsilon=0, optional=True),
    )
    found = explain(model, x, "lrp", rules=rules, target=1)
    total = found.values["x"].flatten(1).sum(1)
    torch.testing.assert_close(total, found.output, rtol=1e-9, atol=1e-9)
