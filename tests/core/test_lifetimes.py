"""What is dropped is freed, and what is kept does not grow."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - after the skip
from attrkit.runner import Forward, learnt  # noqa: E402
from attrkit.runner.replica import Replica, _pools  # noqa: E402
from tests.core.test_threads import FAMILIES, X, net, one_thread, values  # noqa: E402

__all__ = ["one_thread"]  # a fixture
CALLS = 200
FEW = 10  # which may belong to whatever else runs
PAGES = Path("/proc/self/statm")
DEVICES = [None, ["cpu", "cpu"], pytest.param(["cpu", "cuda"], marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def only_new() -> Iterator[None]:
    """The collector looks at what is made from here on, which is much faster."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def objects() -> int:
    """How many objects there are, now that nothing waits to be collected."""
    while gc.collect():  # what dies may leave more behind
        pass
    return len(gc.get_objects())


def resident() -> int:
    """Bytes, of which torch's are a part; 0 where the system does not say."""
    return int(PAGES.read_text().split()[1]) * 4096 if PAGES.exists() else 0


def left_by(call: Callable[[], Any], times: int) -> int:
    """How many objects some calls leave behind, once everything is learnt; and no more memory than that of chance."""
    for _ in range(8):
        call()
    before, bytes_before = objects(), resident()
    for _ in range(times):
        call()
    left = objects() - before
    assert resident() - bytes_before < 2**25
    return left


@pytest.mark.parametrize("form", ["module", "function", "two devices"])
@pytest.mark.parametrize("family", FAMILIES)
def test_calls_leave_nothing_behind(family: str, form: str) -> None:
    model = net()
    asked = (lambda x: model(x)) if form == "function" else model
    devices = ["cpu", "cpu"] if form == "two devices" else None
    place = {"layer": model[1]} if "layer" in FAMILIES[family][1] else {}
    assert left_by(lambda: values(asked, family, device=devices, **place), CALLS if form == "module" else 25) < FEW


@pytest.mark.parametrize("form", ["module", "function", "two devices"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_call_held_is_freed_without_the_collector(family: str, form: str) -> None:
    model = net()
    asked = (lambda x: model(x)) if form == "function" else model
    place = {"layer": model[1]} if "layer" in FAMILIES[family][1] else {}
    devices = ["cpu", "cpu"] if form == "two devices" else None
    for _ in range(4):
        values(asked, family, device=devices, **place)
    gc.collect()
    gc.disable()
    try:
        values(asked, family, device=devices, **place)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        held = {type(o).__name__ for o in gc.garbage if isinstance(o, torch.Tensor | torch.nn.Module | Forward | Replica)}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not held


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_that_raises_leaves_nothing_behind(family: str) -> None:
    model = net()
    model[3].forward = _fail

    def call() -> None:
        with pytest.raises(ArithmeticError):
            values(model, family)

    assert left_by(call, 20) < FEW


def _fail(_: Any) -> Any:
    raise ArithmeticError


@pytest.mark.parametrize("family", FAMILIES)
def test_ever_new_models_leave_nothing_behind(family: str) -> None:
    assert left_by(lambda: values(net(), family), 20) < FEW


def test_ever_new_functions_leave_nothing_behind() -> None:
    model = net()
    assert left_by(lambda: values(lambda x: model(x), "paths"), 50) < FEW


def test_ever_new_functions_of_neurons_leave_little_behind() -> None:
    model = net()

    def call() -> None:
        attrkit.explain(model, X, "saliency", layer="1", neuron=lambda t: t[:, 0])

    assert left_by(call, 50) < 50 * 20  # of the habits of each, which are bounded


def test_what_is_learnt_of_ever_new_shapes_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(learnt, "_MOST", 5)
    model = net()
    for rows in range(1, 12):
        for layer in (None, "1", "0"):
            x = X[:1].expand(rows, 5)
            found = attrkit.explain(model, x, "integrated_gradients", target=1, n_steps=3, layer=layer)
            expected = attrkit.explain(net(), x, "integrated_gradients", target=1, n_steps=3, layer=layer)
            for a, b in zip(found.values.values(), expected.values.values(), strict=True):
                torch.testing.assert_close(a, b)
    known = _pools[model].learnt
    sizes = {name: len(getattr(known, name)) for name in ("sizes", "habits", "calls", "decides", "further", "races")}
    assert max(sizes.values()) == 5, sizes


@pytest.fixture
def model() -> Iterator[list[Any]]:
    """A model in a list, whose test takes it out; afterwards it is gone, and so are its replicas."""
    held = [net()]
    dead = weakref.ref(held[0])
    yield held
    held.clear()
    gc.collect()
    assert dead() is None, "the model is still there"


@pytest.mark.parametrize("devices", DEVICES, ids=["here", "two", "gpu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_replicas_die_with_their_model(family: str, devices: Any, model: list[Any]) -> None:
    values(model[0], family, device=devices)
    replicas = [weakref.ref(r.root) for each in _pools[model[0]].waiting.values() for r in each]
    assert len(replicas) == (len(devices) if devices else 1)
    model.clear()
    gc.collect()
    assert not any(replica() for replica in replicas)


def test_an_explanation_does_not_keep_the_model(model: list[Any], request: pytest.FixtureRequest) -> None:
    kept = [attrkit.explain(model[0], X, "conductance", target=1, layer=model[0][1], n_steps=4) for _ in range(2)]
    request.addfinalizer(kept.clear)


def test_a_neuron_of_the_callers_does_not_keep_the_model(model: list[Any]) -> None:
    attrkit.explain(model[0], X, "saliency", layer="1", neuron=lambda t, m=model[0]: t[:, m[0].in_features])


def test_an_input_that_refers_to_the_model_does_not_keep_it(model: list[Any]) -> None:
    class Taking(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Any, other: Any) -> Any:
            return self.inner(x) + other(x)

    taking = Taking().eval()
    attrkit.explain(taking, X, "saliency", target=1, additional_forward_args=(model[0],))
    model.append(taking)


def test_a_function_of_the_callers_does_not_keep_the_model(model: list[Any]) -> None:
    inner = model[0]
    attrkit.explain(lambda x: inner(x), X, "saliency", target=1)


def test_a_class_of_the_other_door_does_not_keep_the_model(model: list[Any]) -> None:
    attrkit.attr.LayerConductance(model[0], model[0][1]).attribute(X, target=1, n_steps=4)
    attrkit.attr.LRP(model[0]).attribute(X, target=1)


def test_an_error_does_not_keep_the_model_longer_than_it_lives(model: list[Any]) -> None:
    model[0][3].forward = _fail
    with pytest.raises(ArithmeticError) as raised:
        values(model[0], "coalitions")
    del raised
