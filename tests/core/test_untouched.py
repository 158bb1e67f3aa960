"""The fixture ``untouched`` sees every kind of trace, and names it. A promise is worth what its test can see."""

import random

import pytest

numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
        self.tied = self.layer1[0]
        self.head = torch.nn.Linear(3, 2)
        self.memory = {"seen": []}
        self.calls = 0

    def forward(self, x):
        return self.head(self.tied(self.layer1(x)))


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
    "head._forward_hooks_with_kwargs": lambda net, x: net.head.register_forward_hook(print, with_kwargs=True),
    "head.weight._backward_hooks": lambda net, x: net.head.weight.register_hook(print),
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
    "calls": lambda net, x: setattr(net, "calls", 1),
    "inputs[0].values": lambda net, x: x.add_(1),
    "inputs[0]._version": lambda net, x: put_back(x),
    "inputs[0].requires_grad": lambda net, x: x.requires_grad_(),
    "inputs[0].grad": lambda net, x: set_grad(x),
    "torch's generator": lambda net, x: torch.rand(1),
    "numpy's generator": lambda net, x: numpy.random.rand(),
    "Python's generator": lambda net, x: random.random(),
    "torch.nn.modules.module._global_forward_hooks": lambda net, x: torch.nn.modules.module.register_module_forward_hook(print),
    "function modes": lambda net, x: torch.overrides.BaseTorchFunctionMode().__enter__(),
    "grad mode": lambda net, x: torch.autograd.grad_mode.set_grad_enabled(mode=False),
    "autocast on cpu": lambda net, x: torch.set_autocast_enabled("cpu", True),
}


@pytest.fixture
def restored():
    """Puts torch's own state back after a test that moves it."""
    yield
    torch.set_grad_enabled(mode=True)
    torch.set_autocast_enabled("cpu", False)
    torch.nn.modules.module._global_forward_hooks.clear()
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
