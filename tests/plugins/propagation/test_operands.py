"""Rules for one tensor at operations on several, and products of which one operand is constant."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import AttrkitWarning, UsageError
from tests.plugins.models import built, draw


class Dividing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.first(x) / (1 + self.second(x) ** 2)


class Multiplying(nn.Module):
    def __init__(self):
        super().__init__()
        self.lower, self.upper = nn.Linear(4, 6), nn.Linear(5, 2)
        self.register_buffer("constant", torch.randn(6, 5))

    def forward(self, x):
        return self.upper(torch.relu(self.lower(x) @ self.constant)) + self.upper(torch.relu(x @ self.constant[:4]))


def rules(**by_operation):
    entries = [{"id": op, "match": {"op": op}, "rule": rule} for op, rule in by_operation.items()]
    fallback = {"linear": "gradient", "nonlinear": "gradient", "unknown": "gradient"}
    return {"schema": "attrkit/ruleset@1", "name": "tried", "rules": entries, "fallback": fallback}


def test_one_tensor_for_two_operands_is_refused():
    with pytest.raises(UsageError, match="rule 'pass' returned 1 tensors for div .* 2 operands depend on the input"):
        attrkit.explain(built(Dividing), draw(2, 4), "lrp", target=0, rules=rules(div="pass"))


def test_stop_stops_at_a_product_with_a_constant():
    model, x = built(Multiplying), draw(2, 4)
    with pytest.warns(AttrkitWarning, match="does not depend on layer 'lower'"):
        stopped = attrkit.explain(model, x, "lrp", target=0, layer="lower", rules=rules(matmul_const="stop", activation="pass"))
    assert float(stopped.values["lower"].abs().max()) == 0
