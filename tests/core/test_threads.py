"""Threads that use a model, or train it, while others explain it: each gets the bits that it gets alone."""

from __future__ import annotations

import copy
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - after the skip
from attrkit.errors import AttrkitWarning  # noqa: E402

nn = torch.nn
X = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
FAMILIES = {
    "gradients": ("saliency", {}),
    "paths": ("integrated_gradients", {"n_steps": 9}),
    "layers": ("conductance", {"n_steps": 9, "layer": "1"}),
    "propagation": ("lrp", {}),
    "references": ("deeplift", {"baselines": torch.zeros_like(X[:1])}),
    "coalitions": ("kernel_shap", {"n_samples": 24}),
    "ablation at a layer": ("feature_ablation", {"layer": "1"}),
    "wrappers": ("noise_tunnel(saliency)", {"nt_samples": 5}),
}
DEVICES = [None, ["cpu", "cpu"]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def net() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3)).double().eval()


def values(model: Any, family: str, **more: Any) -> list[Any]:
    method, options = FAMILIES[family]
    found = attrkit.explain(model, X, method, target=1, internal_batch_size=8, **{**options, **more})
    return list(found.values.values())


@contextmanager
def threads(*each: Callable[[], None]) -> Iterator[None]:
    """Run each of these in a thread, over and over, during the block; what one of them raises, this raises."""
    done, errors = threading.Event(), []

    def over_and_over(do: Callable[[], None]) -> None:
        try:
            while not done.is_set():
                do()
                time.sleep(1e-4)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    running = [threading.Thread(target=over_and_over, args=(do,)) for do in each]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in running:
            thread.join(60)
    for error in errors:
        raise error
    assert not any(thread.is_alive() for thread in running)
    assert not [t for t in threading.enumerate() if t.name.startswith("attrkit")]


def used(model: Any) -> list[Any]:
    """What a thread sees of a model, with gradients and without."""
    output = model(X)
    with torch.no_grad():
        again = model(X)
    return [again, output.detach(), *torch.autograd.grad(output.square().sum(), list(model.parameters()))]


FORMS: dict[str, Callable[[Any], Any]] = {"module": lambda m: m, "function": lambda m: lambda x: m(x)}


@pytest.mark.parametrize("devices", DEVICES, ids=["here", "two"])
@pytest.mark.parametrize("family", FAMILIES)
def test_three_threads_that_use_a_model_and_two_that_explain_it_do_not_meet(family: str, devices: Any, untouched: Any) -> None:
    judge_use(net(), values(net(), family), untouched, lambda m: values(m, family, device=devices))


@pytest.mark.parametrize("family", ["gradients", "paths", "coalitions", "wrappers"])
def test_nor_where_it_is_called_by_a_function(family: str, untouched: Any) -> None:
    expected = values(lambda x: copied(x), family) if (copied := net()) else []
    judge_use(net(), expected, untouched, lambda m: values(lambda x: m(x), family))


def judge_use(model: Any, expected: list[Any], untouched: Any, explain: Callable[[Any], list[Any]]) -> None:
    answer = used(model)

    def use() -> None:
        assert all(map(torch.equal, used(model), answer)), "another thread sees another model"

    def explained() -> None:
        assert all(map(torch.equal, explain(model), expected)), "another explanation"

    with untouched(model, X), threads(use, use, use, explained):
        for _ in range(4):
            explained()


class Trainer:
    """Trains a model on batches that torch's own generator draws."""

    def __init__(self) -> None:
        self.model = net().train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2, momentum=0.9)
        self.steps = 0

    def step(self) -> None:
        self.optimizer.zero_grad()
        x = torch.randn(4, 5, dtype=torch.float64)
        self.model(x).square().sum().backward()
        self.optimizer.step()
        self.steps += 1

    def bits(self) -> list[Any]:
        return [t.detach().clone() for t in (*self.model.state_dict().values(), *(p.grad for p in self.model.parameters()))]


@pytest.mark.parametrize("devices", DEVICES, ids=["here", "two"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_goes_on_as_if_nobody_explained(family: str, devices: Any) -> None:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # of training mode
        torch.manual_seed(3)
        trainer = Trainer()
        with threads(trainer.step, lambda: None):
            for _ in range(4):
                assert all(v.isfinite().all() for v in values(trainer.model, family, device=devices))
            while trainer.steps < 10:
                time.sleep(1e-3)
        torch.manual_seed(3)
        alone = Trainer()
        for _ in range(trainer.steps):
            alone.step()
        assert all(map(torch.equal, trainer.bits(), alone.bits()))
        after = values(trainer.model.eval(), family, device=devices)
        assert all(map(torch.equal, after, values(copy.deepcopy(trainer.model), family)))


def test_what_other_threads_draw_is_not_put_back() -> None:
    models = {family: net() for family in FAMILIES}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        drawn: list[Any] = []
        with threads(lambda: drawn.append(torch.rand(7))):
            for family, model in models.items():
                values(model, family)  # the first call of each, when nothing is known of the model
        torch.manual_seed(5)
        assert torch.equal(torch.stack(drawn), torch.stack([torch.rand(7) for _ in drawn]))


DRAWS: dict[str, Callable[[Any], Any]] = {
    "rand": lambda x: x * torch.rand(()),
    "randn_like": lambda x: x + torch.randn_like(x),
    "dropout": lambda x: nn.functional.dropout(x, 0.5),
    "dropout2d": lambda x: nn.functional.dropout2d(x[None, None], 0.5)[0, 0],
    "uniform_": lambda x: x + torch.empty_like(x).uniform_(),
    "bernoulli": lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "rrelu": lambda x: nn.functional.rrelu(x, training=True),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5)[0],
    "gumbel": lambda x: nn.functional.gumbel_softmax(x),
}
DRAWS_NOT: dict[str, Callable[[Any], Any]] = {
    "own generator": lambda x: x * torch.rand((), generator=torch.Generator().manual_seed(1)),
    "dropout": lambda x: nn.functional.dropout(x, 0.5, training=False),
    "rrelu": lambda x: nn.functional.rrelu(x),
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None])[0],
}


class Doing(nn.Module):
    def __init__(self, do: Callable[[Any], Any]) -> None:
        super().__init__()
        self.linear, self.do = nn.Linear(5, 3).double(), do

    def forward(self, x: Any) -> Any:
        return self.linear(self.do(x))


@contextmanager
def another_thread() -> Iterator[None]:
    """As in a notebook."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DRAWS)
def test_what_a_model_draws_is_put_back_though_other_threads_run(name: str, form: str, untouched: Any) -> None:
    model = Doing(DRAWS[name]).eval()
    with another_thread(), untouched(model, X):
        values(FORMS[form](model), "paths")


class Disturbed(nn.Module):
    """While it runs, another thread draws."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        super().__init__()
        self.inner = Doing(do)

    def forward(self, x: Any) -> Any:
        drawing = threading.Thread(target=torch.rand, args=(1,))
        drawing.start()
        drawing.join()
        return self.inner(x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DRAWS_NOT)
def test_a_model_that_does_not_draw_leaves_the_generators_to_others(name: str, form: str) -> None:
    model = Disturbed(DRAWS_NOT[name]).eval()
    with torch.random.fork_rng(devices=[]), another_thread():
        before = torch.get_rng_state()
        for _ in range(2):
            values(FORMS[form](model), "paths")
            assert not torch.equal(torch.get_rng_state(), before), "what another thread drew was put back"
            before = torch.get_rng_state()
