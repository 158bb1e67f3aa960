"""What the author of a plugin writes: one line for each method."""

import torch

import attrkit
from attrkit.testing import conformance

test_noise = conformance(
    "noise",
    expected={
        "missing_target_says_so": "noise never looks at the output",
        "ignored_feature_gets_zero": "noise is noise",
    },
)


def model() -> torch.nn.Module:
    """Two linear maps, without biases, so that relevance is conserved but for what the rule loses."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5, bias=False), torch.nn.ReLU(), torch.nn.Linear(5, 2, bias=False)).double()


def test_half_hands_on_a_share() -> None:
    """Two linear maps keep a quarter."""
    net, x = model(), torch.rand(3, 4, dtype=torch.float64)
    halves = {
        "schema": "attrkit/ruleset@1",
        "name": "halves",
        "rules": [
            {"id": "weights", "match": {"op": "linear_like"}, "rule": "half"},
            {"id": "activations", "match": {"op": "activation"}, "rule": "pass"},
        ],
    }
    relevance = next(iter(attrkit.explain(net, x, method="lrp", target=0, rules=halves).values.values()))
    torch.testing.assert_close(relevance.sum(1), net(x)[:, 0].detach() / 4)
