"""DeepLIFT from its definitions (arXiv:1704.02685): multipliers of differences from a reference, for chains of modules.

A multiplier m says that a difference d at a place moved the output by m d; at the input, multiplier times difference is
the attribution, and the attributions sum to the difference of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as cartesian

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.plugins.propagation.oracles.linear import Map, map_of

Function = Callable[[Tensor], Tensor]
NEAR = 1e-10  # differences below this are none: there the derivative takes the quotient's place, as in Captum


def derivative(function: Function, x: Tensor) -> Tensor:
    """Of a function of each entry."""
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def slope(function: Function, x: Tensor, reference: Tensor) -> Tensor:
    """What a function of each entry rises by between two points, by their difference; without a difference, its derivative."""
    near = (x - reference).abs() < NEAR
    quotient = (function(x) - function(reference)) / torch.where(near, 1, x - reference)
    return torch.where(near, derivative(function, x), quotient)


def rescale(function: Function, x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    """The rescale rule (section 3.5.2) at a function of each entry."""
    return multiplier * slope(function, x, reference)


def averaged_product(a: Tensor, a0: Tensor, b: Tensor, b0: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """At ``a * b``: the average over both orders of exchanging the factors, which is their Shapley value: nothing is left."""
    return tuple((multiplier * t).sum_to_size(s.shape) for t, s in (((b + b0) / 2, a), ((a + a0) / 2, b)))


def averaged_matrix_product(a: Tensor, a0: Tensor, b: Tensor, b0: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """The same at ``a @ b``, of matrices."""
    return multiplier @ ((b + b0) / 2).T, ((a + a0) / 2).T @ multiplier


def softmax(x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    """At a softmax over a vector, taken apart: exp by its slope, sum, reciprocal by its slope, averaged product.

    What both are shifted by before exp cancels in the result if it is one number for both: that keeps exp finite. What
    cancels between the parts grows with the exponential of the difference of the two maxima: 16 digits are used up at 36.
    """
    shift = torch.maximum(x, reference).max()
    return _apart(x - shift, reference - shift, multiplier)


def _apart(x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    up, up0 = x.exp(), reference.exp()
    over, over0 = 1 / up.sum(), 1 / up0.sum()
    of_up, of_over = averaged_product(up, up0, over.reshape(1), over0.reshape(1), multiplier)
    return rescale(torch.exp, x, reference, of_up - of_over * over * over0)


def softmax_below_maximum(x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    """The same of ``x - max(x)``, each below its own maximum, which moves as in a max-pool: nothing large cancels.

    It is complete too, but another attribution: taken apart, a softmax is no longer blind to a shift of all its inputs.
    """
    top, top0 = x.max(), reference.max()
    found = _apart(x - top, reference - top0, multiplier)
    winner = (x if top >= top0 else reference).argmax()
    difference = (x - reference)[winner]
    if difference != 0:
        found[winner] -= found.sum() * (top - top0) / difference
    return found


def max_pool(pool: nn.Module, x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    """As Captum has it: a window's rise is its largest input's, a fall that of the reference's largest input.

    Exact for one example without channels mixed: (channels, ...) flat windows are found by index.
    """
    take = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[x.dim() - 1]
    options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    (top, where), (top0, where0) = (take(t.unsqueeze(0), *options, return_indices=True) for t in (x, reference))
    contribution, top, top0 = torch.zeros_like(x), top[0], top0[0]
    for place in cartesian(*map(range, top.shape)):
        winner = (where if top[place] >= top0[place] else where0)[0][place]
        contribution[place[0]].view(-1)[winner] += multiplier[place] * (top - top0)[place]
    difference = x - reference
    return torch.where(difference == 0, 0, contribution / torch.where(difference == 0, 1, difference))


def reveal_cancel(known: Map, function: Function, x: Tensor, reference: Tensor, multiplier: Tensor) -> Tensor:
    """RevealCancel (section 3.5.3) at a function of each output of a linear map, both at once; all flat, one example.

    The positive and negative contributions to an output are added one after the other, in both orders, to what the
    reference gives: each has the average of what it moves the function by. A linear map hands the multipliers of the two on
    by the sign of each contribution (section 3.5.1), and half of either where an input does not differ.
    """
    difference, before = x - reference, known.matrix @ reference + known.bias
    parts = known.matrix * difference
    up, down = parts.clamp(min=0).sum(1), parts.clamp(max=0).sum(1)
    of_up = (slope(function, before + up, before) + slope(function, before + up + down, before + down)) / 2
    of_down = (slope(function, before + down, before) + slope(function, before + up + down, before + up)) / 2
    m_up, m_down = (multiplier * of_up)[:, None], (multiplier * of_down)[:, None]
    chosen = torch.where(parts > 0, m_up, torch.where(parts < 0, m_down, (m_up + m_down) / 2))
    return (known.matrix * chosen).sum(0)


ELEMENTWISE = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


def attributions(model: nn.Sequential, x: Tensor, reference: Tensor, target: int, *, rule: str = "rescale") -> Tensor:
    """Of a chain of linear maps, functions of each entry, max-pools and softmax, example by example; one reference row each.

    With the rule ``reveal_cancel``, a function that follows a linear map directly is taken together with it.
    """
    return torch.stack([_attribution(model, a, b, target, rule) for a, b in zip(x, reference.expand_as(x), strict=True)])


def _attribution(model: nn.Sequential, x: Tensor, reference: Tensor, target: int, rule: str) -> Tensor:
    modules, values = list(model), [(x, reference)]
    with torch.no_grad():
        for module in modules:
            values.append(tuple(module(t.unsqueeze(0))[0] for t in values[-1]))
    multiplier = torch.zeros_like(values[-1][0])
    multiplier[target] = 1
    at = len(modules)
    while at > 0:
        at -= 1
        module, (here, there) = modules[at], values[at]
        multiplier = multiplier.reshape(values[at + 1][0].shape)
        together = rule == "reveal_cancel" and isinstance(module, ELEMENTWISE) and at > 0 and _linear(modules[at - 1])
        if together:
            at -= 1
            here, there = values[at]
            known = map_of(modules[at], here.shape)
            multiplier = reveal_cancel(known, module, here.flatten(), there.flatten(), multiplier.flatten())
        else:
            multiplier = _through(module, here, there, multiplier)
    return multiplier.reshape(x.shape) * (x - reference)


def _linear(module: nn.Module) -> bool:
    return not isinstance(module, (*ELEMENTWISE, *POOLS, nn.Softmax))


def _through(module: nn.Module, here: Tensor, there: Tensor, multiplier: Tensor) -> Tensor:
    if isinstance(module, ELEMENTWISE):
        return rescale(module, here, there, multiplier)
    if isinstance(module, POOLS):
        return max_pool(module, here, there, multiplier)
    if isinstance(module, nn.Softmax):
        return softmax(here, there, multiplier)
    return map_of(module, here.shape).matrix.T @ multiplier.flatten()
