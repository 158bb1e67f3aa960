"""What a glance at a model tells from what it was: every edit that leaves other objects, or another order, in any place."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from attrkit.runner.census import Census  # noqa: E402
from attrkit.runner.glance import Glance  # noqa: E402


class Config:
    """A plain object."""

    def __init__(self) -> None:
        self.rate = 0.5
        self.plan = {"x": 1}


class Model(nn.Module):
    """One attribute of every sort that a glance looks at in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.square = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.table = {"one": 1.0, "two": torch.ones(2)}
        self.names = {"a", "b"}
        self.listed = [1, nn.Tanh()]
        self.nested = [[1], {"deep": (2, [3])}]
        self.config = Config()
        self.empty: Any = {}
        self.last = None


def _renamed(m: Any) -> None:
    del m.last
    m.other = None  # the same object in the same place


def _renamed_module(m: Any) -> None:
    m._modules["norm2"] = m._modules.pop("norm")


def _swapped(m: Any) -> None:
    m.names, m.listed = m.listed, m.names


EDITS = {
    "an attribute under another name": _renamed,
    "a module under another name": _renamed_module,
    "two attributes swapped": _swapped,
    "an entry of a table": lambda m: m.table.update(one=2.0),
    "a further entry of a table": lambda m: m.table.update(three=1),
    "a key of a table": lambda m: m.table.update(three=m.table.pop("two")),
    "an element of a set": lambda m: m.names.add("c"),
    "an element of a list": lambda m: m.listed.append(2),
    "the order of a list": lambda m: m.listed.reverse(),
    "a list in a list": lambda m: m.nested[0].append(2),
    "a list in a tuple in a table in a list": lambda m: m.nested[1]["deep"][1].append(4),
    "an attribute of a plain object": lambda m: setattr(m.config, "rate", 1.0),
    "a table of a plain object": lambda m: m.config.plan.update(x=2),
    "something in what was empty": lambda m: m.empty.update(x=1),
    "something else than what was empty": lambda m: setattr(m, "empty", 0),
    "a parameter's memory": lambda m: setattr(m.square.weight, "data", m.square.weight.data.clone()),
    "a parameter's order": lambda m: setattr(m.square.weight, "data", m.square.weight.data.t()),
    "a parameter's shape": lambda m: setattr(m.square.weight, "data", m.square.weight.data[:2]),
    "another parameter": lambda m: setattr(m.square, "weight", nn.Parameter(m.square.weight.detach())),
    "another buffer": lambda m: setattr(m.norm, "running_mean", torch.zeros(3)),
    "a hook": lambda m: m.square.register_forward_hook(lambda *_: None),
    "a class": lambda m: setattr(m.norm, "__class__", nn.BatchNorm2d),
    "all attributes at once": lambda m: setattr(m.config, "__dict__", {"rate": 1.0, "plan": {"x": 1}}),
    "a mode": lambda m: m.norm.eval(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_every_edit_is_seen(edit: Any) -> None:
    model = Model()
    glance = Glance.of(Census(model))
    assert glance.holds()
    assert glance.holds()
    edit(model)
    assert not glance.holds()


def test_values_in_place_are_no_edit() -> None:
    model = Model()
    glance = Glance.of(Census(model))
    with torch.no_grad():
        model.square.weight.mul_(2)
        model.norm.running_mean.add_(1)
    assert glance.holds()


def test_a_glance_keeps_nothing_of_a_model_alive() -> None:
    model = Model()
    glance, ref = Glance.of(Census(model)), weakref.ref(model)
    parts = [weakref.ref(part) for part in (model.square, model.square.weight, model.listed[1], model.config)]
    del model
    gc.collect()
    assert ref() is None
    assert [part() for part in parts] == [None] * 4
    assert not glance.holds()
