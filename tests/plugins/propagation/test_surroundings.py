"""Propagation among what else goes on: checkpoints, autocast, compilation, threads, memory."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import attrkit
from tests.plugins.models import Residual, built, draw, mlp
from tests.plugins.propagation.nets import NETS

X, R = draw(3, 6), draw(3, 6, seed=1)


class Blocks(nn.Module):
    """Blocks with a norm, a gate and a sum, each computed again in the backward pass where it is said."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.up, self.gate, self.down = nn.LayerNorm(6), nn.Linear(6, 7), nn.Linear(6, 7), nn.Linear(7, 6)
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.norm(x)
            return x + self.down(self.act(self.up(y)) * torch.sigmoid(self.gate(y)))

    def __init__(self, *, again=True, shared=False):
        super().__init__()
        self.first = self.Block()
        self.second = self.first if shared else self.Block()
        self.head, self.again = nn.Linear(6, 3), again

    def forward(self, x):
        for block in (self.first, self.second):
            x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
        return self.head(x)


WAYS = {
    "attnlrp": ("lrp", {"rules": "attnlrp"}),
    "cp_lrp": ("lrp", {"rules": "cp_lrp"}),
    "deeplift": ("deeplift", {"baselines": R}),
    "deeplift, reveal_cancel": ("deeplift", {"baselines": R, "rules": "deeplift_reveal_cancel"}),
    "guided_backprop": ("guided_backprop", {}),
}
ways = pytest.mark.parametrize("way", WAYS)


@ways
@pytest.mark.parametrize("shared", [False, True])
def test_what_is_computed_again_is_governed_as_at_first(explain, way, shared):
    method, options = WAYS[way]
    found = [
        explain(built(lambda again=again: Blocks(again=again, shared=shared)), X, method, target=1, **options).values["x"]
        for again in (True, False)
    ]
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rules", ["epsilon_plus", "epsilon_plus_flat", "captum_default"])
def test_checkpoints_of_a_net_with_convolutions(explain, rules):
    class Checked(Residual):
        def forward(self, x):
            x = F.max_pool2d(self.relu(self.bn(self.conv(x))), 2)
            x = checkpoint(self.block2, checkpoint(self.block1, x, use_reentrant=False), use_reentrant=False)
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    x = draw(2, 3, 8, 8)
    found = [explain(built(net), x, "lrp", target=1, rules=rules).values["x"] for net in (Checked, Residual)]
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", ["attnlrp", "cp_lrp", "deeplift"])
def test_under_autocast_it_is_about_the_same(explain, way):
    method, options = WAYS[way]
    options = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    model = built(lambda: Blocks(again=False)).float()
    exact = explain(model, X.float(), method, target=1, **options).values["x"]
    with torch.autocast("cpu", torch.bfloat16):
        found = explain(model, X.float(), method, target=1, **options).values["x"]
    assert found.dtype is torch.float32
    assert (found - exact).norm() < 0.05 * exact.norm()
    assert not torch.equal(found, exact)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("rules", ["attnlrp", "epsilon_plus"])
def test_a_model_of_less_precision(explain, dtype, rules):
    model = built(mlp)
    exact = explain(model, X, "lrp", target=1, rules=rules).values["input"]
    found = explain(built(mlp).to(dtype), X.to(dtype), "lrp", target=1, rules=rules).values["input"]
    assert found.dtype is dtype
    assert (found.double() - exact).norm() < 0.05 * exact.norm()


@ways
def test_threads_do_not_disturb_one_another(way):
    method, options = WAYS[way]
    model, found, errors, stop = built(lambda: Blocks(again=False)), [], [], threading.Event()
    expected = attrkit.explain(model, X, method, target=1, **options).values["x"]
    plain = model(X).detach()

    def explains():
        try:
            found.extend(attrkit.explain(model, X, method, target=1, **options).values["x"] for _ in range(5))
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    def infers():
        while not stop.is_set():
            with torch.no_grad():
                if not torch.equal(model(X), plain):
                    errors.append("another output")

    threads = [threading.Thread(target=explains) for _ in range(3)]
    beside = threading.Thread(target=infers)
    for thread in (beside, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    beside.join()
    assert not errors
    assert len(found) == 15
    assert all(torch.equal(f, expected) for f in found)


class Writing(nn.Module):
    """Operations in place of every kind."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        y = torch.relu_(self.one(x))
        z = F.silu(self.other(y), inplace=True)
        z = z.mul_(torch.sigmoid(z)).add_(y)
        z += 1
        return self.head(z)


def tensors():
    gc.collect()
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


@ways
def test_nothing_is_kept(way):
    method, options = WAYS[way]
    model = built(Writing)
    for _ in range(3):
        attrkit.explain(model, X, method, target=1, **options)
    before = tensors()
    for _ in range(8):
        attrkit.explain(model, X, method, target=1, **options)
    assert tensors() <= before
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["attnlrp", "deeplift"])
def test_a_compiled_model_is_explained_as_it_is(way):
    method, options = WAYS[way]
    model = built(lambda: Blocks(again=False))
    expected = attrkit.explain(model, X, method, target=1, **options).values["x"]
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(attrkit.explain(compiled, X, method, target=1, **options).values["x"], expected)
        torch.testing.assert_close(compiled(X), model(X))


PLAIN = ["captum_default", "epsilon_plus", "epsilon_plus_flat", "attnlrp", "cp_lrp", "attnlrp_vit"]
SAMPLED = ["mlp", "residual", "squeeze and excite", "functional", "pools", "encoder",
           "attention, causal", "lstm", "gated silu", "upsampling"]  # fmt: skip


@pytest.mark.parametrize("rules", PLAIN)
@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.filterwarnings("ignore::attrkit.errors.AttrkitWarning")
def test_every_example_is_explained_as_if_it_were_alone(explain, name, rules):
    net = NETS[name]
    model, (x,) = net.built(), net.inputs()
    document = {"schema": "attrkit/ruleset@1", "name": "any", "extends": [rules], "rules": [],
                "fallback": {"linear": "gradient", "nonlinear": "gradient", "unknown": "gradient"}}  # fmt: skip
    together = next(iter(explain(model, x, "lrp", rules=document, target=1).values.values()))
    for i in range(2):
        alone = next(iter(explain(model, x[i : i + 1], "lrp", rules=document, target=1).values.values()))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rules", ["epsilon", "epsilon_plus", "lrp_0"])
@pytest.mark.parametrize("also", [False, True])
def test_a_relu_in_place_finds_the_output_that_a_rule_needs(explain, rules, also):
    class Net(nn.Module):
        def __init__(self, *, inplace):
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.Linear(8, 3)

        def forward(self, x):
            y = self.conv(x)
            both = [y.mean((2, 3))] if also else []
            return self.fc(torch.cat([*both, *[self.relu(y).mean((2, 3))] * (2 - len(both))], 1))

    options = {"epsilon": 1e-2} if rules.startswith("epsilon") else {}
    x = draw(2, 3, 6, 6)
    found = [
        explain(built(lambda i=i: Net(inplace=i)), x, "lrp", target=1, rules=rules, parameters=options).values["x"]
        for i in (True, False)
    ]
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_what_entries_are_about_is_known_from_call_to_call_and_their_rules_are_not(explain):
    model, x = built(lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))), X

    def rules(rule):
        return {
            "schema": "attrkit/ruleset@1",
            "name": "one",
            "rules": [{"id": "maps", "match": {"op": "linear"}, "rule": rule}],
        }

    rows = [[row["rule"] for row in explain(model, x, "lrp", target=1, rules=rules(r)).rules] for r in ("zplus", "epsilon")]
    assert [row[0] for row in rows] == ["zplus", "epsilon"]
    model[1] = nn.Linear(7, 7).double()
    assert len(explain(model, x, "lrp", target=1, rules=rules("zplus")).rules) == 3
