"""Backward passes through chains of modules, step by step: what guided and smoothed gradients and whole rulesets are.

``backward(model, x, upper, {type: back})`` walks an ``nn.Sequential`` from its end: ``back(module, x, y, upper)`` turns what
there is at a module's output into what there is at its input. ``upper`` is that of the output of the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.plugins.propagation.oracles import linear
from tests.plugins.propagation.oracles.linear import map_of

Back = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
VIEWS = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)


def backward(model: nn.Sequential, x: Tensor, upper: Tensor, backs: Mapping[type | tuple[type, ...], Back]) -> Tensor:
    """What arrives at x; views are undone, and any other module needs an entry."""
    values = [x]
    with torch.no_grad():
        for module in model:
            values += [module(values[-1])]
    for module, before, after in reversed(list(zip(model, values[:-1], values[1:], strict=True))):
        back = next((back for kinds, back in backs.items() if isinstance(module, kinds)), None)
        if back is None and not isinstance(module, VIEWS):
            raise NotImplementedError(type(module).__name__)
        upper = upper.reshape(after.shape)
        upper = (upper if back is None else back(module, before, after, upper)).reshape(before.shape)
    return upper.detach()


def one_hot(model: nn.Sequential, x: Tensor, target: int, *, value: bool = False) -> Tensor:
    """What to start with: one at the target (for gradients), or the output there (for relevance), and zero elsewhere."""
    with torch.no_grad():
        output = model(x)
    chosen = torch.zeros_like(output)
    chosen[:, target] = output[:, target] if value else 1
    return chosen


def transposed(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """The gradient of a linear map."""
    return upper.flatten(1) @ map_of(module, x.shape[1:]).matrix


def winners(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """Of a max-pool, each window's to its largest entry."""
    take = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.dim()]
    options = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    where = take(x, *options, return_indices=True)[1]
    return torch.zeros_like(x).flatten(2).scatter_add(2, where.flatten(2), upper.flatten(2))


def guided(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """ReLU in guided backpropagation (arXiv:1412.6806): what is positive, where it was active."""
    return torch.where((x > 0) & (upper > 0), upper, 0)


def deconvnet(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """ReLU in a deconvnet (arXiv:1311.2901): what is positive, whatever was active."""
    return torch.where(upper > 0, upper, 0)


def active(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """ReLU's own gradient."""
    return torch.where(x > 0, upper, 0)


def beta_smooth(beta: float = 10.0) -> Back:
    """ReLU with the derivative of softplus (arXiv:1906.07983): ``1 / (1 + exp(-beta x))``."""
    return lambda module, x, _, upper: upper / (1 + torch.exp(-beta * x))


def passed(module: nn.Module, x: Tensor, _: Tensor, upper: Tensor) -> Tensor:
    """Relevance through a function of each entry."""
    return upper


def by(rule: Callable[..., Tensor], **options) -> Back:
    """Relevance by a rule of ``oracles.linear`` with its options."""
    return lambda module, x, _, upper: rule(map_of(module, x.shape[1:]), x, upper, **options)


def gradient(model: nn.Sequential, x: Tensor, target: int, relu: Back = active) -> Tensor:
    """The gradient of the output at target, of a chain of linear maps, max-pools and ReLU with another backward pass."""
    backs = {nn.ReLU: relu, (*WEIGHTED, *AVERAGES): transposed, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d): winners}
    return backward(model, x, one_hot(model, x, target), backs)


def relevance(model: nn.Sequential, x: Tensor, target: int, rule: Back, *, average: Back | None = None) -> Tensor:
    """Of the output at target, by one rule at what has weights; averages share by contribution and activations pass."""
    backs = {
        WEIGHTED: rule,
        AVERAGES: average or by(linear.epsilon),
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d): winners,
        (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU): passed,
    }
    return backward(model, x, one_hot(model, x, target, value=True), backs)


def excitation(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Excitation backprop (arXiv:1608.00507): from a probability of one at the target, by positive contributions all over."""
    backs = {
        (*WEIGHTED, *AVERAGES): by(linear.excitation),
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d): winners,
        (nn.ReLU, nn.Tanh, nn.Sigmoid): passed,
    }
    return backward(model, x, one_hot(model, x, target), backs)
