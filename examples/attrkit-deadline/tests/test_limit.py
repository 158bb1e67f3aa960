import threading
import time

import attrkit_deadline
import pytest
import torch
from attrkit_deadline import Deadline, limit
from torch import nn

import attrkit
from attrkit.errors import UsageError


class Clock:
    """A clock that the model moves: each pass takes a second."""

    now = 0.0

    @classmethod
    def monotonic(cls):
        return cls.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(attrkit_deadline, "time", Clock)
    monkeypatch.setattr(Clock, "now", 0.0)
    return Clock


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 1).double()

    def forward(self, x):
        Clock.now += 1  # not of this model: what runs may be a copy
        return self.linear(x).tanh()


X = torch.linspace(-1, 1, 16).double().reshape(2, 8)


def explained(model, method="integrated_gradients", **options):
    return attrkit.explain(model, X, method, target=0, internal_batch_size=2, **options)


def test_no_pass_starts_when_the_time_is_up(clock):
    model = Model()
    with pytest.raises(TimeoutError, match="not ready in time"), limit(10.5):
        explained(model, n_steps=200)
    assert clock.now == 11  # the pass that ran when the time was up is the last


@pytest.mark.usefixtures("clock")
def test_what_is_ready_in_time_is_the_same():
    model = Model()
    expected = explained(model, n_steps=20)
    with limit(1000):
        found = explained(model, n_steps=20)
    assert torch.equal(found.values["x"], expected.values["x"])
    assert found.passes == expected.passes


def test_shapley_values_are_those_of_the_time_there_was(clock):
    """They come with larger standard errors, a warning, and the promise to add up."""
    model = Model()
    whole = explained(model, "kernel_shap", n_samples=200)
    started = clock.now
    with limit(60), pytest.warns(UserWarning, match="interrupted after .* of 200 evaluations"):
        part = explained(model, "kernel_shap", n_samples=200)
    assert clock.now - started <= 61
    assert part.errors["x"].max() > whole.errors["x"].max()
    torch.testing.assert_close(part.delta, torch.zeros(2).double(), atol=1e-12, rtol=0)


@pytest.mark.usefixtures("clock")
def test_the_model_is_left_alone():
    model = Model()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TimeoutError), limit(0.5):
        explained(model, layer="linear", n_steps=50)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model.linear._forward_hooks
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("outer", "inner"), [(5.5, 1000), (1000, 5.5)])
def test_of_two_limits_the_first_to_come_counts(clock, outer, inner):
    with pytest.raises(TimeoutError), limit(outer), limit(inner):
        explained(Model())
    assert clock.now == 6


@pytest.mark.usefixtures("clock")
def test_a_limit_is_over_after_its_block():
    model = Model()
    with limit(1000):
        with limit(3.5):
            explained(model, n_steps=2)
        explained(model, n_steps=20)
    explained(model, n_steps=20)


def test_ctrl_c_stays_ctrl_c():
    with pytest.raises(KeyboardInterrupt), limit(60):
        raise KeyboardInterrupt


def test_other_threads_have_no_limit():
    found = []
    with limit(1e-9):
        thread = threading.Thread(target=lambda: found.extend(Deadline(None).run([1, 2], str)))
        thread.start()
        thread.join()
    assert found == ["1", "2"]


def test_goes_around_the_executor_that_is_offered():
    """And takes no more work to it when the time is up; with the real clock."""

    class Two:
        def run(self, work, do):
            for piece in work:
                yield do(piece), "two"

    assert list(Deadline(Two()).run([1, 2], abs)) == [(1, "two"), (2, "two")]
    with pytest.raises(TimeoutError), limit(0.02):
        list(Deadline(Two()).run(range(100), lambda _: time.sleep(0.01)))


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_seconds_are_positive(seconds):
    with pytest.raises(UsageError, match="seconds"), limit(seconds):
        pass
