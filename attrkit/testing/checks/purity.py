"""The model, the inputs and everything around them are left as they were."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

import torch
from torch import Tensor, nn

from attrkit.protocols import Tensors
from attrkit.testing.checks.registered import check
from attrkit.testing.models import Boom, Slow, failing, noisy, points, seeded
from attrkit.testing.snapshots import untouched
from attrkit.testing.subject import Subject, close
from attrkit.wrapping import Wrapped

_SAID = "this layer fails"


def _delicate() -> nn.Module:
    """A model with gradients, frozen parameters and a module in training mode."""
    model = seeded()
    first, second, *_, last = model.children()
    second.train()
    for name, p in first.named_parameters():
        p.grad = torch.ones_like(p) if name == "weight" else None
    for p in last.parameters():
        p.requires_grad_(False)  # noqa: FBT003 - torch's own signature
    return model


@contextmanager
def _ordinary() -> Iterator[None]:
    """Settings of torch as they are at first, which an earlier check of the same method may have moved."""
    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    anomaly = torch.is_anomaly_enabled()
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)  # noqa: FBT003 - torch's own signature
    torch.autograd.set_detect_anomaly(False)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        torch.autograd.set_detect_anomaly(anomaly)


@check()
def leaves_the_model_alone(s: Subject) -> None:
    """No hook, attribute, flag, buffer, gradient, input or random state differs afterwards."""
    model, x = _delicate(), points(4, 5)
    with _ordinary(), untouched(model, x):
        s.raw(model, x)


class _Refusing(torch.autograd.Function):
    """Passes a value on, and raises where its gradient would be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 - torch's own signature
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 - as above # pyright: ignore[reportIncompatibleMethodOverride]
        raise Boom(_SAID)


class _Backward(nn.Module):
    """Raises in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        passed: Tensor = _Refusing.apply(x)  # type: ignore[no-untyped-call]
        return passed


def _broken() -> Iterator[tuple[nn.Module, str]]:
    """Models of which each module in turn raises, and one whose backward pass does; with a layer that has its say."""
    for place in range(5):
        yield seeded(lambda place=place: failing(place)), "0" if place else "4"  # type: ignore[misc]
    model = seeded()
    model[1] = _Backward()  # type: ignore[operator]
    yield model, "2"


@contextmanager
def _may_fail() -> Iterator[None]:
    """A block that may raise what broken models raise."""
    try:
        yield
    except Boom:
        pass
    except Exception as error:
        if not isinstance(error.__cause__, Boom) and _SAID not in str(error):
            raise


@check()
def leaves_the_model_alone_after_an_error(s: Subject) -> None:
    """The same where the model raises, at whatever module, or in its backward pass."""
    x = points(4, 5)
    for model, layer in _broken():
        with untouched(model, x), _may_fail():
            s.values(model, x, layer=layer)


@check()
def leaves_alone_what_cannot_be_copied(s: Subject) -> None:
    """The same of a model that holds something of which there is no copy, and so is run itself; also where it raises."""
    x = points(4, 5)
    model = _delicate()
    model.lock = Lock()  # type: ignore[assignment]
    with untouched(model, x):
        s.raw(model, x, layer="1")
    for broken, layer in _broken():
        broken.lock = Lock()  # type: ignore[assignment]
        with untouched(broken, x), _may_fail():
            s.raw(broken, x, layer=layer)


@check()
def training_mode_survives(s: Subject) -> None:
    """A model in training mode, with dropout and batch norm, stays in it with the same statistics; a warning says so."""
    model, x = seeded(noisy).train(), points(4, 5)
    with untouched(model, x), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s.values(model, x)


@check()
def surrounding_modes_change_nothing(s: Subject) -> None:
    """The same under ``no_grad`` and ``inference_mode``, for frozen parameters, and for inputs that require gradients."""
    expected = s.values(seeded(), points(3, 5))
    with torch.no_grad():
        close(s.values(seeded(), points(3, 5)), expected)
    model, x = seeded(), points(3, 5)
    with torch.inference_mode():
        close(s.values(model, x), expected)
    close(s.values(seeded().requires_grad_(False), points(3, 5)), expected)  # noqa: FBT003 - torch's own signature
    close(s.values(seeded(), points(3, 5).requires_grad_()), expected)


@check()
def threads_do_not_meet(s: Subject) -> None:
    """Two threads that explain one model get the bits that each gets alone, and so do three that use it meanwhile."""
    model = seeded(Slow)
    inputs = [points(3, 5, seed=i) for i in range(2)]
    one_by_one = {"layer": "inner.2", "internal_batch_size": 3}
    expected = [s.values(seeded(Slow), x, **one_by_one) for x in inputs]
    answer = _used(model, inputs[0])
    found: dict[int, Tensors] = {}
    errors: list[Exception] = []
    wrong: list[Tensor] = []
    done = Event()

    def explain(i: int) -> None:
        try:
            found[i] = s.values(model, inputs[i], **one_by_one)
        except Exception as error:  # noqa: BLE001 - which is for the thread that asked
            errors.append(error)

    def use() -> None:
        while not wrong and not done.wait(1e-3):
            wrong.extend(a for a, b in zip(_used(model, inputs[0]), answer, strict=True) if not torch.equal(a, b))

    explaining, using = [Thread(target=explain, args=(i,)) for i in range(2)], [Thread(target=use) for _ in range(3)]
    for thread in (*using, *explaining):
        thread.start()
    for thread in explaining:
        thread.join()
    done.set()
    for thread in using:
        thread.join()
    if errors:
        raise errors[0]
    assert not wrong, "what the model says to others, or its gradient, changed meanwhile"
    for i, values in enumerate(expected):
        close(found[i], values)
        same = isinstance(s.spec, Wrapped) or all(map(torch.equal, found[i], values))  # its first calls try two ways
        assert same, "another thread changed the last bits"


def _used(model: nn.Module, x: Tensor) -> Tensors:
    """What a thread that trains or asks a model sees of it: its output, and the gradient of a weight."""
    output = model(x)
    return output.detach(), *torch.autograd.grad(output.sum(), next(model.parameters()))


@check()
def warns_of_nothing(s: Subject) -> None:
    """An ordinary call gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s.values(seeded(), points(4, 5))
