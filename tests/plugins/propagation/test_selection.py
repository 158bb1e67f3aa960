"""Which entry of a ruleset governs which call, as the explanation reports it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrkit.errors import AttrkitWarning
from tests.plugins.models import Residual, built, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset

IMAGES = draw(2, 3, 8, 8)


class Scaled(nn.Linear):
    """A linear map by another name."""


class Head(nn.Module):
    """Two linear maps, one of a subclass, and a functional one of its own."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 5)
        self.two = Scaled(5, 4)
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return F.linear(torch.tanh(self.two(torch.relu(self.one(x)))), self.weight)


class Deep(nn.Module):
    """Paths of several parts: stem.0, blocks.0.one, blocks.1.two, head ..."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.blocks = nn.ModuleList([nn.ModuleDict({"one": Scaled(6, 6), "two": nn.Linear(6, 6)}) for _ in range(2)])
        self.head = Head()

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block["two"](torch.relu(block["one"](x)))
        return self.head(x)


LINEARS = ["stem.0", "blocks.0.one", "blocks.0.two", "blocks.1.one", "blocks.1.two", "head.one", "head.two", "head"]


def chosen(explain, model, x, match, operation=None):
    """The paths of the calls that an entry governs, in order; everything else falls to another entry."""
    rules = ruleset(
        entry(match, "gamma", gamma=0.125),
        entry({"op": "linear_like"}, "epsilon", optional=True),
        entry({"op": "activation"}, "pass", optional=True),
    )
    report = explain(model, x, "lrp", rules=rules, target=0).rules
    assert {r["rule"] for r in report if r["entry"] == "r0"} <= {"gamma"}
    assert all(r["parameters"]["gamma"] == 0.125 for r in report if r["entry"] == "r0")
    return [r["path"] for r in report if r["entry"] == "r0"]


@pytest.mark.parametrize(
    ("match", "paths"),
    [
        ({"op": "linear"}, LINEARS),
        ({"op": "linear", "path": "stem.0"}, ["stem.0"]),
        ({"op": "linear", "path": "*"}, ["head"]),
        ({"op": "linear", "path": "**"}, LINEARS),
        ({"op": "linear", "path": "blocks.*"}, None),
        ({"op": "linear", "path": "blocks.*.one"}, ["blocks.0.one", "blocks.1.one"]),
        ({"op": "linear", "path": "blocks.**"}, LINEARS[1:5]),
        ({"op": "linear", "path": "**.one"}, ["blocks.0.one", "blocks.1.one", "head.one"]),
        ({"op": "linear", "path": "blocks.?.t*"}, ["blocks.0.two", "blocks.1.two"]),
        ({"op": "linear", "path_regex": r"(stem|blocks)\.[0-9](\.two)?"}, ["stem.0", "blocks.0.two", "blocks.1.two"]),
        ({"op": "linear", "path_regex": "head"}, ["head"]),
        ({"op": "linear", "module": "Linear"}, LINEARS[:-1]),
        ({"op": "linear", "module": "torch.nn:Linear"}, LINEARS[:-1]),
        ({"op": "linear", "module": "torch.nn.modules.linear:Linear"}, LINEARS[:-1]),
        ({"op": "linear", "module": "torch:Lin*"}, LINEARS[:-1]),
        ({"op": "linear", "module": "Linear", "exact": True}, ["stem.0", "blocks.0.two", "blocks.1.two", "head.one"]),
        ({"op": "linear", "module": "Scaled"}, ["blocks.0.one", "blocks.1.one", "head.two"]),
        ({"op": "linear", "module": "Module", "not": {"module": "Linear"}}, ["head"]),
        ({"op": "linear", "within": "Head"}, LINEARS[5:]),
        ({"op": "linear", "within": "Sequential"}, ["stem.0"]),
        ({"op": "linear", "within": "Head", "module": "Scaled"}, ["head.two"]),
        ({"op": "linear", "not": {"within": "Head"}}, LINEARS[:5]),
        ({"op": "linear", "not": {"path": "**.one", "not": {"path": "head.*"}}}, [LINEARS[i] for i in (0, 2, 4, 5, 6, 7)]),
        ({"op": "linear", "position": "first"}, LINEARS[:1]),
        ({"op": "linear", "position": "last"}, LINEARS[-1:]),
        ({"op": "linear", "position": "first", "path": "blocks.**"}, ["blocks.0.one"]),
        ({"op": "linear", "position": "last", "module": "Scaled"}, ["head.two"]),
        ({"op": "linear", "position": "input"}, LINEARS[:1]),
        ({"op": "linear", "position": {"depth": [0, 1]}}, LINEARS),
        ({"op": "linear", "position": {"depth": [0, 0.3]}}, LINEARS[:3]),
        ({"op": "linear", "position": {"depth": [0.5, 1]}}, LINEARS[4:]),
        ({"op": "linear", "position": {"depth": [0.9, 1.0]}}, LINEARS[-1:]),
        ({"op": ["linear", "conv"], "position": {"depth": [0, 0.1]}}, LINEARS[:1]),
    ],
    ids=str,
)  # fmt: skip
def test_selectors(explain, match, paths):
    if paths is None:
        with pytest.warns(AttrkitWarning, match="matched no operation of this model"):
            assert chosen(explain, built(Deep), draw(2, 6), match) == []
    else:
        assert chosen(explain, built(Deep), draw(2, 6), match) == paths


def test_the_last_linear_map_has_depth_one_whatever_comes_after_it(explain):
    model = nn.Sequential(*built(mlp), nn.Tanh())
    assert chosen(explain, model, draw(2, 6), {"op": "linear", "position": {"depth": [0.9, 1]}}) == ["4"]


@pytest.mark.parametrize("position", ["first", "last", {"depth": [0, 0.2]}])
def test_positions_are_by_execution_not_by_registration(explain, position):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(6, 6)
            self.middle = nn.Linear(6, 6)
            self.first = nn.Linear(6, 6)

        def forward(self, x):
            return self.last(self.middle(self.first(x)))

    expected = ["last"] if position == "last" else ["first"]
    assert chosen(explain, built(Backwards), draw(2, 6), {"op": "linear", "position": position}) == expected


def test_position_input_is_every_call_that_reads_an_attributed_tensor(explain):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x, y):
            return self.c(torch.relu(self.a(x) + self.b(y.flatten(1))))

    model, inputs = built(Reads), (draw(2, 4), draw(2, 2, 3))
    assert chosen(explain, model, inputs, {"op": "linear", "position": "input"}) == ["a", "b"]


def test_the_first_call_is_found_anew_in_every_pass(explain):
    model, x = built(mlp), draw(2, 6)
    match = {"op": "linear", "position": "first"}
    assert [chosen(explain, model, x, match) for _ in range(2)] == [["0"], ["0"]]


def test_a_position_is_taken_where_the_layer_attributed_to_is(explain):
    """Above a layer everything is as ever: what stands below it is still in the model."""
    rules = ruleset(
        entry({"op": "linear", "position": "first"}, "zplus"), entry({"op": "linear"}, "epsilon"), entry({"op": "relu"}, "pass")
    )
    report = explain(built(mlp), draw(2, 6), "lrp", rules=rules, target=0, layer="2").rules
    assert [(r["path"], r["rule"]) for r in report if r["operation"] == "linear"] == [
        ("0", "zplus"),
        ("2", "epsilon"),
        ("4", "epsilon"),
    ]


def test_the_first_entry_that_matches_decides(explain):
    rules = ruleset(
        entry({"op": "conv", "path": "block2.**"}, "gamma"),
        entry({"op": "conv", "position": "first"}, "wsquare"),
        entry({"op": "convolution", "within": "Block"}, "alphabeta"),
        entry({"op": ["linear", "conv"]}, "epsilon"),
        entry({"op": ["activation", "batch_norm"]}, "pass"),
    )
    report = explain(built(Residual), IMAGES, "lrp", rules=rules, target=0).rules
    assert {r["path"]: r["rule"] for r in report if r["operation"] in ("conv", "linear")} == {
        "conv": "wsquare",
        "block1.conv1": "alphabeta",
        "block1.conv2": "alphabeta",
        "block2.conv1": "gamma",
        "block2.conv2": "gamma",
        "block2.shortcut.0": "gamma",
        "fc": "epsilon",
    }


def test_every_call_is_reported_in_order_with_what_governed_it(explain):
    report = explain(built(Residual), IMAGES, "lrp", rules="epsilon_plus_flat", target=0).rules
    assert [(r["path"], r["operation"], r["rule"]) for r in report] == [
        ("conv", "conv", "flat"),
        ("bn", "batch_norm", "merged into conv"),
        ("relu", "relu", "pass"),
        ("", "max_pool", "own gradient"),
        ("block1.conv1", "conv", "zplus"),
        ("block1.bn1", "batch_norm", "merged into block1.conv1"),
        ("block1", "relu", "pass"),
        ("block1.conv2", "conv", "zplus"),
        ("block1.bn2", "batch_norm", "merged into block1.conv2"),
        ("block1", "add", "norm"),
        ("block1", "relu", "pass"),
        ("block2.conv1", "conv", "zplus"),
        ("block2.bn1", "batch_norm", "merged into block2.conv1"),
        ("block2", "relu", "pass"),
        ("block2.conv2", "conv", "zplus"),
        ("block2.bn2", "batch_norm", "merged into block2.conv2"),
        ("block2.shortcut.0", "conv", "zplus"),
        ("block2.shortcut.1", "batch_norm", "merged into block2.shortcut.0"),
        ("block2", "add", "norm"),
        ("block2", "relu", "pass"),
        ("", "avg_pool", "norm"),
        ("fc", "linear", "epsilon"),
    ]
    origins = {r["entry"]: r["origin"] for r in report if r["entry"]}
    assert origins.keys() == {"first", "convolutions", "dense", "sums", "activations"}
    assert all(origin.partition(":")[0].endswith(".yaml") for origin in origins.values())


def test_parameters_are_settled_before_anything_runs(explain):
    report = explain(
        built(Residual), IMAGES, "lrp", rules="epsilon_plus", parameters={"epsilon": 0.25, "bias": "zero"}, target=0
    ).rules
    assert [r["parameters"] for r in report if r["path"] == "fc"] == [{"epsilon": 0.25, "bias": "zero"}]
    assert [r["parameters"] for r in report if r["path"] == "conv"] == [{"stabilizer": 1e-6, "bias": "zero"}]


@pytest.mark.parametrize(
    ("canonize", "governed"), [(["merge_batch_norm"], ["merged into conv"]), ([], ["pass"])], ids=["merged", "as it is"]
)
def test_batch_norms_are_merged_only_where_the_ruleset_says_so(explain, canonize, governed):
    rules = ruleset(
        entry({"op": "linear_like"}, "epsilon"), entry({"op": ["activation", "batch_norm"]}, "pass"), canonize=canonize
    )
    report = explain(built(Residual), IMAGES, "lrp", rules=rules, target=0).rules
    assert [r["rule"] for r in report if r["path"] == "bn"] == governed


def test_the_class_prints_the_report_if_asked_for(attribute, capsys):
    model, x = built(mlp), draw(2, 6)
    attribute("LRP", model)(x, target=0)
    assert capsys.readouterr().out == ""
    attribute("LRP", model)(x, target=0, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["0", "linear", "epsilon"],
        ["1", "relu", "pass"],
        ["2", "linear", "epsilon"],
        ["3", "relu", "pass"],
        ["4", "linear", "epsilon"],
    ]
