"""``attribute_future``: of a model that returns futures, a future of the attributions."""

from __future__ import annotations

import threading

import pytest
import torch

import attrkit
from attrkit.errors import UsageError, UsageTypeError
from tests.plugins.models import built, draw, mlp

CLASSES = {
    "FeatureAblation": {},
    "FeaturePermutation": {"seed": 1},
    "ShapleyValueSampling": {"n_samples": 3, "seed": 1},
    "ShapleyValues": {},
}


def later(model):
    """The model's answer in a future."""

    def forward(*inputs):
        future = torch.futures.Future()
        future.set_result(model(*inputs))
        return future

    return forward


@pytest.mark.parametrize("name", CLASSES)
def test_is_what_attribute_gives_for_the_answers(name):
    model, x, cls = built(mlp), draw(3, 6), getattr(attrkit.attr, name)
    future = cls(later(model)).attribute_future(x, target=1, **CLASSES[name])
    assert isinstance(future, torch.futures.Future)
    torch.testing.assert_close(future.wait(), cls(model).attribute(x, target=1, **CLASSES[name]))


def test_the_caller_goes_on_while_the_model_takes_its_time():
    model, open_gate = built(mlp), threading.Event()

    def forward(x):
        future = torch.futures.Future()

        def answer():
            open_gate.wait(10)
            future.set_result(model(x))

        threading.Thread(target=answer, daemon=True).start()
        return future

    future = attrkit.attr.FeatureAblation(forward).attribute_future(draw(2, 6), target=1)
    assert not future.done()
    open_gate.set()
    torch.testing.assert_close(future.wait(), attrkit.attr.FeatureAblation(model).attribute(draw(2, 6), target=1))


def test_a_model_that_returns_no_future_is_refused_at_once():
    with pytest.raises(UsageTypeError, match="returns a torch.futures.Future, it returned Tensor; use attribute"):
        attrkit.attr.FeatureAblation(built(mlp)).attribute_future(draw(2, 6), target=1)


def test_attribute_refuses_futures():
    with pytest.raises(UsageTypeError, match="the model returned a future; use attribute_future"):
        attrkit.attr.FeatureAblation(later(built(mlp))).attribute(draw(2, 6), target=1)


def test_wrong_arguments_are_refused_at_once():
    made = attrkit.attr.FeatureAblation(later(built(mlp)))
    with pytest.raises(UsageTypeError, match="has no parameter 'targets'"):
        made.attribute_future(draw(2, 6), targets=1)
    with pytest.raises(UsageError, match="feature_mask has 2 tensors"):
        made.attribute_future(draw(2, 6), target=1, feature_mask=(torch.zeros(1, 6).long(),) * 2)


def test_later_errors_are_those_of_the_future():
    calls = []

    def forward(x):
        calls.append(len(x))
        future = torch.futures.Future()
        if len(calls) > 2:
            future.set_exception(RuntimeError("out of cheese"))
        else:
            future.set_result(x.sum(1))
        return future

    future = attrkit.attr.FeatureAblation(forward).attribute_future(draw(2, 6))
    with pytest.raises(RuntimeError, match="out of cheese"):
        future.wait()
