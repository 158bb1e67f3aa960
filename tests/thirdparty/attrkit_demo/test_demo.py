"""What the author of a plugin tests."""

import torch

import attrkit


def model() -> torch.nn.Module:
    """Two linear maps, without biases, so that relevance is conserved but for what the rule loses."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5, bias=False), torch.nn.ReLU(), torch.nn.Linear(5, 2, bias=False)).double()


def test_noise_follows_its_seed() -> None:
    """The same twice, different when asked, for inputs and layers."""
    net, x = model(), torch.rand(3, 4, dtype=torch.float64)
    for layer in (None, "0"):
        first, again, other = (attrkit.explain(net, x, "noise", target=0, layer=layer, seed=s).values for s in (1, 1, 2))
        (name,) = first
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


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
