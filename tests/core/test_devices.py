"""Several replicas at once: the same bits as one, errors once, no thread and no trace left."""

from __future__ import annotations

import contextvars
import copy
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - after the skip
from attrkit.errors import AttrkitWarning, UsageError, UsageTypeError  # noqa: E402
from attrkit.hookspecs import hookimpl  # noqa: E402
from attrkit.registry import registry  # noqa: E402

nn = torch.nn
GPUS = torch.cuda.device_count()
X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
METHODS = [
    ("saliency", {}, None),
    ("integrated_gradients", {"n_steps": 40}, None),
    ("integrated_gradients", {"n_steps": 40}, "1"),
    ("conductance", {"n_steps": 40}, "1"),
    ("gradient_shap", {"n_samples": 20, "baselines": torch.zeros(3, 5)}, None),
    ("noise_tunnel(saliency)", {"nt_samples": 20}, None),
    ("noise_tunnel(integrated_gradients)", {"nt_samples": 5, "n_steps": 9}, None),
    ("deeplift_shap", {"baselines": torch.randn(9, 5, generator=torch.Generator().manual_seed(2))}, None),
    ("lrp", {}, None),
    ("feature_ablation", {}, None),
    ("feature_ablation", {}, "1"),
    ("shapley_value_sampling", {"n_samples": 9}, None),
    ("kernel_shap", {"n_samples": 24}, None),
    ("lime", {"n_samples": 30}, None),
    ("occlusion", {"sliding_window_shapes": (2,)}, None),
]


def net(dtype: Any = torch.float32) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3)).to(dtype).eval()


def values(model: Any, method: str, options: dict[str, Any], layer: str | None, **more: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # of too few samples, the same on all devices
        found = attrkit.explain(model, X.to(next(model.parameters()).dtype), method, target=1, layer=layer, **options, **more)
    return list(found.values.values())


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"], ["cpu"] * 3], ids=len)
@pytest.mark.parametrize(("method", "options", "layer"), METHODS)
def test_replicas_give_the_same_bits_as_one(method: str, options: Any, layer: Any, devices: Any, untouched: Any) -> None:
    expected = values(net(), method, options, layer, internal_batch_size=4)
    model = net()
    with untouched(model, X):
        found = values(model, method, options, layer, internal_batch_size=4, device=devices)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not [t for t in threading.enumerate() if t.name.startswith("attrkit")]


def test_pieces_of_work_run_at_the_same_time() -> None:
    barrier, seen = threading.Barrier(2), set()

    def meeting(x: Any) -> Any:
        barrier.wait(20)
        seen.add(threading.get_ident())
        return x

    class Met(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return self.linear(meeting(x))

    model = Met().eval()
    found = attrkit.explain(
        model, X[:1], "integrated_gradients", target=0, n_steps=8, internal_batch_size=1, device=["cpu"] * 2
    )
    assert len(seen) > 1
    torch.testing.assert_close(found.values["x"], X[:1] * model.linear.weight[:1])


class Short(nn.Module):
    """Runs out of memory, as torch says it on a CPU, for more rows than it has room for."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.net, self.room, self.most = net(), room, [0]

    def forward(self, x: Any) -> Any:
        self.most[0] = max(self.most[0], len(x))
        if len(x) > self.room:
            raise RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {len(x)} rows")
        return self.net(x)

    def __deepcopy__(self, memo: Any) -> Short:
        other = Short(self.room)
        other.net, other.most = copy.deepcopy(self.net, memo), self.most
        return other.double().eval()


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]], ids=["one", "two"])
@pytest.mark.parametrize("room", [1, 4, 20])
@pytest.mark.parametrize(("method", "options", "layer"), METHODS)
def test_what_runs_out_of_memory_is_done_again_in_halves(
    method: str, options: Any, layer: Any, room: int, devices: Any
) -> None:
    layer = layer and f"net.{layer}"
    expected = values(Short(999).double().eval(), method, options, layer)
    short = Short(room).double().eval()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = attrkit.explain(short, X.double(), method, target=1, layer=layer, device=devices, **options)
    said = [w for w in warned if "memory ran out in a pass over" in str(w.message)]
    assert len(said) == (short.most[0] > room)
    for a, b in zip(found.values.values(), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_parts_of_a_batch_go_to_whichever_replica_is_free() -> None:
    threads: set[int] = set()
    barrier = threading.Barrier(2)

    class Met(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            barrier.wait(20)
            threads.add(threading.get_ident())
            return self.linear(x)

    model, x = Met().eval(), torch.randn(64, 5)
    found = attrkit.explain(model, x, "saliency", target=0, abs=False, device=["cpu", "cpu"])  # 32 rows each
    assert len(threads) > 1
    torch.testing.assert_close(found.values["x"], model.linear.weight[:1].expand(64, 5))


class Failing(nn.Module):
    """Fails at one of the calls of all its copies."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.net, self.at = net(), at

    def forward(self, x: Any) -> Any:
        with LOCK:
            CALLS[0] += 1
            failed = CALLS[0] == self.at
        if failed:
            raise ArithmeticError("the planted error")
        return self.net(x)


LOCK, CALLS = threading.Lock(), [0]


@pytest.mark.parametrize("at", [1, 9])  # between them, what finds out whether points may share a pass may fail
@pytest.mark.parametrize(("method", "options", "layer"), METHODS[:5])
def test_an_error_is_raised_once_with_its_device_and_leaves_nothing(
    method: str, options: Any, layer: Any, at: int, untouched: Any
) -> None:
    model, CALLS[0] = Failing(at).eval(), 0
    layer = layer and f"net.{layer}"
    if method == "saliency" and at > 1:
        pytest.skip("it makes one pass over so few examples")
    with untouched(model, X), pytest.raises(ArithmeticError, match="the planted error") as raised:
        values(model, method, options, layer, internal_batch_size=6, device=["cpu"] * 2)
    assert raised.value.__notes__ == ["attrkit: raised on cpu"]
    assert not [t for t in threading.enumerate() if t.name.startswith("attrkit")]


def test_what_holds_for_the_callers_thread_holds_on_every_replica() -> None:
    seen: list[Any] = []

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            out = self.linear(x)
            seen.append((out.dtype, torch.is_inference_mode_enabled(), VARIABLE.get()))
            return out

    token = VARIABLE.set("the caller's")
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            attrkit.explain(
                Looking().eval(), X, "integrated_gradients", target=0, n_steps=30, internal_batch_size=6, device=["cpu"] * 3
            )
    finally:
        VARIABLE.reset(token)
    assert len(seen) > 3
    assert set(seen) == {(torch.bfloat16, False, "the caller's")}


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


class InThreads:
    """An executor of somebody else's, which knows nothing of replicas."""

    def run(self, work: Any, do: Any) -> Iterator[Any]:
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(do, work)


@pytest.mark.parametrize(("method", "options", "layer"), METHODS)
def test_threads_of_an_executor_of_somebody_elses_each_have_a_replica(
    method: str, options: Any, layer: Any, untouched: Any
) -> None:
    class Offers:
        @hookimpl(tryfirst=True)
        def attrkit_executor(self, model: Any, devices: Any) -> Any:
            return InThreads()

    expected = values(net(), method, options, layer, internal_batch_size=4)
    offers, model = Offers(), net()
    registry.manager.register(offers, "threads")
    try:
        with untouched(model, X):
            found = values(model, method, options, layer, internal_batch_size=4)
    finally:
        registry.manager.unregister(offers)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_function_is_run_where_it_is_with_a_warning() -> None:
    model = net()
    expected = values(model, "integrated_gradients", {"n_steps": 20}, None, internal_batch_size=6)
    with pytest.warns(AttrkitWarning, match="it cannot be copied: it is a function"):
        found = attrkit.explain(
            lambda x: model(x), X, "integrated_gradients", target=1, n_steps=20, internal_batch_size=6, device=["cpu"] * 2
        )
    torch.testing.assert_close(found.values["x"], expected[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [
        ([], UsageError, "names no device"),
        (3.5, UsageTypeError, "got 3.5"),
        (["cpu", None], UsageTypeError, "got None"),
        ("warp", UsageError, "torch knows no device 'warp'"),
        ("meta", UsageError, "hold no values"),
        (f"cuda:{GPUS + 7}", UsageError, f"no 'cuda:{GPUS + 7}' on this machine, which has {GPUS} CUDA devices"),
    ],
)
def test_a_device_that_is_none_is_refused(device: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"^device.*{message}"):
        attrkit.explain(net(), X, "saliency", target=0, device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="there is no CUDA device")
@pytest.mark.parametrize(("method", "options", "layer"), METHODS)
@pytest.mark.parametrize("devices", [["cuda:0"], ["cuda:0", "cuda:0"], ["cpu", "cuda:0"]], ids=["gpu", "twice", "both"])
def test_replicas_on_a_gpu_give_the_same_up_to_rounding(
    method: str, options: Any, layer: Any, devices: Any, untouched: Any
) -> None:
    expected, model = values(net(torch.float64), method, options, layer, internal_batch_size=4), net(torch.float64)
    with untouched(model, X):
        found = values(model, method, options, layer, internal_batch_size=4, device=devices)
    for a, b in zip(found, expected, strict=True):
        assert a.device == X.device
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="there is no CUDA device")
def test_a_replica_on_a_gpu_follows_the_original_and_real_shortage_is_survived() -> None:
    model = nn.Sequential(nn.Linear(5, 2**16), nn.GELU(), nn.Linear(2**16, 1)).eval()
    free = torch.cuda.mem_get_info()[0]
    rows = int(3 * free // (2**16 * 4))  # which do not fit all at once
    x = torch.randn(1, 5).expand(rows, 5)
    with pytest.warns(AttrkitWarning, match="memory ran out"):
        found = attrkit.explain(model, x, "saliency", device="cuda:0", internal_batch_size=rows)
    before = attrkit.explain(model, x[:1], "saliency", device="cuda:0").values["x"]
    torch.testing.assert_close(found.values["x"][:1], before, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        model[2].weight.mul_(2)
    after = attrkit.explain(model, x[:1], "saliency", device="cuda:0").values["x"]
    torch.testing.assert_close(after, 2 * before, rtol=1e-3, atol=1e-5)
