"""The model, the inputs and everything around them are left as they were."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread

import torch
from torch import nn

from attrkit.protocols import Tensors
from attrkit.testing.checks.registered import check
from attrkit.testing.models import Boom, Slow, failing, noisy, points, seeded
from attrkit.testing.snapshots import untouched
from attrkit.testing.subject import Subject, close


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


@check()
def leaves_the_model_alone_after_an_error(s: Subject) -> None:
    """The same where the model raises, at whatever module."""
    x = points(4, 5)
    for broken in (0, 2, 4):
        model = seeded(lambda broken=broken: failing(broken))  # type: ignore[misc]
        with untouched(model, x):
            try:
                s.values(model, x, layer="1" if broken else "4")
            except Boom:
                continue
            except Exception as error:
                if not isinstance(error.__cause__, Boom) and "this layer fails" not in str(error):
                    raise


@check()
def leaves_alone_what_cannot_be_copied(s: Subject) -> None:
    """The same of a model that holds something of which there is no copy, and so is run itself; also where it raises."""
    x = points(4, 5)
    for broken in (False, True):
        model = seeded(lambda: failing(4)) if broken else _delicate()
        model.lock = Lock()  # type: ignore[assignment]
        with untouched(model, x):
            try:
                s.raw(model, x, layer="1")
            except Exception:
                if not broken:
                    raise


@check()
def training_mode_survives(s: Subject) -> None:
    """A model in training mode, with dropout and batch norm, stays in it with the same statistics; a warning says so."""
    model, x = seeded(noisy).train(), points(4, 5)
    with warnings.catch_warnings(), untouched(model, x):
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
    """Two threads that explain one model get what each gets alone, and the model's own answers stay."""
    model = seeded(Slow)
    inputs = [points(3, 5, seed=i) for i in range(2)]
    one_by_one = {"layer": "inner.2", "internal_batch_size": 3}
    expected = [s.values(seeded(Slow), x, **one_by_one) for x in inputs]
    with torch.no_grad():
        answers = [model(x) for x in inputs]
    found: dict[int, Tensors] = {}
    errors: list[Exception] = []

    def work(i: int) -> None:
        try:
            found[i] = s.values(model, inputs[i], **one_by_one)
        except Exception as error:  # noqa: BLE001 - which is for the thread that asked
            errors.append(error)

    threads = [Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    with torch.no_grad():
        assert all(torch.equal(model(x), answer) for x, answer in zip(inputs, answers, strict=True)), "the model's own answers"
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    for i, values in enumerate(expected):
        close(found[i], values)


@check()
def warns_of_nothing(s: Subject) -> None:
    """An ordinary call gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s.values(seeded(), points(4, 5))
