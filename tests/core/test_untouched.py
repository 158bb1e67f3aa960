"""The fixture ``untouched`` sees every kind of trace, and names it. A promise is worth what its test can see."""

import gc
import os
import random
import sys
import threading
import warnings
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - after the skip

torch_modules = torch.nn.modules.module


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
        self.tied = self.layer1[0]
        self.head = torch.nn.Linear(3, 2)
        self.memory = {"seen": []}
        self.config = SimpleNamespace(inner=SimpleNamespace(depth=1))
        self.generator = torch.Generator()
        self.table = numpy.zeros(2)
        self.calls = 0

    def forward(self, x):
        return self.head(self.tied(self.layer1(x)))


class Onward(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def set_grad(x):
    x.grad = torch.ones_like(x)


def replace(module, name):
    setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().clone()))


def put_back(x):
    with torch.no_grad():
        x.add_(1).sub_(1)


TRACES = {
    "layer1.0._forward_hooks": lambda net, x: net.layer1[0].register_forward_hook(print),
    "layer1.1._forward_pre_hooks": lambda net, x: net.layer1[1].register_forward_pre_hook(print),
    "head._backward_hooks": lambda net, x: net.head.register_full_backward_hook(print),
    "head._backward_pre_hooks": lambda net, x: net.head.register_full_backward_pre_hook(print),
    "head._state_dict_hooks": lambda net, x: net.head._register_state_dict_hook(print),
    "head._state_dict_pre_hooks": lambda net, x: net.head.register_state_dict_pre_hook(print),
    "head._load_state_dict_pre_hooks": lambda net, x: net.head.register_load_state_dict_pre_hook(print),
    "head._load_state_dict_post_hooks": lambda net, x: net.head.register_load_state_dict_post_hook(print),
    "head._forward_hooks_with_kwargs": lambda net, x: net.head.register_forward_hook(print, with_kwargs=True),
    "head.weight._backward_hooks": lambda net, x: net.head.weight.register_hook(print),
    "head.weight._post_accumulate_grad_hooks": lambda net, x: net.head.weight.register_post_accumulate_grad_hook(print),
    "head.weight.values": lambda net, x: net.head.weight.data.mul_(2),
    "head.weight.requires_grad": lambda net, x: net.head.weight.requires_grad_(False),
    "head.weight.grad": lambda net, x: net(x).sum().backward(),
    "head.bias": lambda net, x: replace(net.head, "bias"),
    "tied.weight": lambda net, x: replace(net.tied, "weight"),
    "head.bias.data_ptr()": lambda net, x: setattr(net.head.bias, "data", net.head.bias.data.clone()),
    "layer1.1.num_batches_tracked.values": lambda net, x: net(x),
    "layer1.1.running_mean": lambda net, x: setattr(net.layer1[1], "running_mean", torch.zeros(3)),
    "layer1.1.training": lambda net, x: net.layer1.eval(),
    "head.__class__": lambda net, x: setattr(net.head, "__class__", torch.nn.Identity),
    "head.__dict__": lambda net, x: setattr(net.head, "rule", None),
    "head.forward": lambda net, x: setattr(net.head, "forward", torch.relu),
    "memory['seen']": lambda net, x: net.memory["seen"].append(1),
    "config.inner.depth": lambda net, x: setattr(net.config.inner, "depth", 2),
    "generator.state": lambda net, x: torch.rand(1, generator=net.generator),
    "table.values": lambda net, x: net.table.fill(1),
    "names of class Net": lambda net, x: setattr(Net, "traced", True),
    "calls": lambda net, x: setattr(net, "calls", 1),
    "inputs[0].values": lambda net, x: x.add_(1),
    "inputs[0]._version": lambda net, x: put_back(x),
    "inputs[0].requires_grad": lambda net, x: x.requires_grad_(),
    "inputs[0].grad": lambda net, x: set_grad(x),
    "torch's generator": lambda net, x: torch.rand(1),
    "numpy's generator": lambda net, x: numpy.random.rand(),
    "Python's generator": lambda net, x: random.random(),
    "torch.nn.modules.module._global_forward_hooks": lambda net, x: torch_modules.register_module_forward_hook(print),
    "torch.nn.modules.module._global_backward_hooks": lambda net, x: torch_modules.register_module_full_backward_hook(print),
    "function modes": lambda net, x: torch.overrides.BaseTorchFunctionMode().__enter__(),
    "dispatch modes": lambda net, x: OPENED.enter_context(Onward()),
    "saved tensors' hooks": lambda net, x: torch.autograd.graph.saved_tensors_hooks(print, print).__enter__(),
    "level of forward-mode derivatives": lambda net, x: torch.autograd.forward_ad.enter_dual_level(),
    "grad mode": lambda net, x: torch.autograd.grad_mode.set_grad_enabled(mode=False),
    "inference mode": lambda net, x: OPENED.enter_context(torch.inference_mode()),
    "anomaly mode": lambda net, x: torch.autograd.set_detect_anomaly(True),
    "autocast on cpu": lambda net, x: torch.set_autocast_enabled("cpu", True),
    "default dtype": lambda net, x: torch.set_default_dtype(torch.float64),
    "default device": lambda net, x: torch.set_default_device("meta"),
    "deterministic algorithms": lambda net, x: torch.use_deterministic_algorithms(True),
    "backends' flags": lambda net, x: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "threads of torch": lambda net, x: torch.set_num_threads(torch.get_num_threads() + 1),
    "names of torch.nn.functional": lambda net, x: setattr(torch.nn.functional, "relu", torch.relu),
    "names of Module": lambda net, x: setattr(torch.nn.Module, "__call__", print),
    "warnings' filters": lambda net, x: warnings.simplefilter("ignore"),
    "numpy's handling of errors": lambda net, x: numpy.seterr(over="ignore"),
    "threads": lambda net, x: threading.Thread(target=LEFT.wait, daemon=True).start(),
    "limit of recursion": lambda net, x: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "garbage collection": lambda net, x: gc.disable(),
    "environment": lambda net, x: os.environ.__setitem__("ATTRKIT_LEFT", "1"),
}
OPENED, LEFT = ExitStack(), threading.Event()


@pytest.fixture
def restored(monkeypatch):
    """Puts everything back after a test that moves it."""
    monkeypatch.setattr(torch.nn.functional, "relu", torch.nn.functional.relu)
    monkeypatch.setattr(torch.nn.Module, "__call__", torch.nn.Module.__call__)
    monkeypatch.setattr(Net, "traced", False, raising=False)
    monkeypatch.setenv("ATTRKIT_LEFT", "0")
    LEFT.clear()
    threads, benchmark, limit = torch.get_num_threads(), torch.backends.cudnn.benchmark, sys.getrecursionlimit()
    errors, filters = numpy.geterr(), list(warnings.filters)
    yield
    OPENED.close()
    LEFT.set()
    warnings.filters[:] = filters
    numpy.seterr(**errors)
    sys.setrecursionlimit(limit)
    gc.enable()
    torch.backends.cudnn.benchmark = benchmark
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.autograd.set_detect_anomaly(False)
    torch.set_grad_enabled(mode=True)
    torch.set_autocast_enabled("cpu", False)
    torch_modules._global_forward_hooks.clear()
    torch_modules._global_backward_hooks.clear()
    if torch.autograd.forward_ad._current_level >= 0:
        torch.autograd.forward_ad.exit_dual_level()
    if torch._C._autograd._top_saved_tensors_default_hooks(True):
        torch._C._autograd._pop_saved_tensors_default_hooks()
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()


@pytest.mark.parametrize("place", TRACES)
@pytest.mark.usefixtures("restored")
def test_every_trace_is_named(untouched, place):
    net, x = Net(), torch.zeros(2, 3)
    with pytest.raises(AssertionError) as caught, untouched(net, x):
        TRACES[place](net, x)
    assert any(line.startswith(f"  {place}: ") for line in str(caught.value).splitlines()), caught.value


def test_what_leaves_no_trace_passes(untouched):
    net, x = Net().eval(), torch.zeros(2, 3)
    with untouched(net, {"x": x, "mask": None}):
        handle = net.head.register_forward_hook(lambda *_: None)
        net(x)
        handle.remove()
        torch.autograd.grad(net(x).sum(), [net.head.weight])


def test_a_block_that_raises_is_checked_and_its_error_kept(untouched):
    net = Net()
    with pytest.raises(ZeroDivisionError), untouched(net):
        _ = 1 / 0
    with pytest.raises(AssertionError, match="head.training: was True, is False") as caught, untouched(net):
        net.head.eval()
        _ = 1 / 0
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_nan_equals_itself(untouched):
    with untouched(Net(), torch.tensor(float("nan"))):
        pass
