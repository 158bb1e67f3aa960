"""The gradient of the objective at what was captured, zeros and a warning where it does not depend on that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageTypeError
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.runner.calls import Calls
from attrkit.runner.columns import columns
from attrkit.runner.taps import Tap, leaf_of


def input_leaf(name: str, tensor: Tensor) -> Tensor:
    """An input at which gradients are collected. Raises UsageTypeError for one that holds integers."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise UsageTypeError(
            f"inputs: {name!r} has dtype {tensor.dtype}, at which no gradient can be taken; attribute to a layer (for tokens, "
            "layer= the embedding), or use a method that needs no gradient, like feature_ablation"
        )
    return leaf_of((tensor.clone() if tensor.is_inference() else tensor).detach())


def check_floating(layers: Iterable[tuple[str, Tensors]]) -> None:
    """Raise UsageTypeError for a layer whose value is integers, at which no gradient can be taken."""
    for name, value in layers:
        if not any(t.is_floating_point() for t in value):
            dtypes = ", ".join({str(t.dtype) for t in value})
            raise UsageTypeError(
                f"layer {name}: its value has dtype {dtypes}, at which no gradient can be taken; "
                "attribute to what comes out of it, or use a method that needs no gradient, like feature_ablation"
            )


def differentiated(calls: Calls, problem: Problem, value: Tensor, at: Tensors, neurons: list[Tap]) -> Tensors:
    """The gradient of an objective ``value`` at ``at``, as far as it goes through the neuron where the problem wants that.

    Raises:
        UsageError: the objective does not depend on the inputs in a way that torch can differentiate.
    """
    if not value.requires_grad and problem.layers:
        names = ", ".join(repr(str(layer)) for layer in problem.layers)
        reason = f"the objective does not depend on layer {names} in a way that torch can differentiate"
        calls.warn_once(names, f"{reason}: its attributions are 0")
        zeros = tuple(map(torch.zeros_like, at))
        return tuple(torch.stack([z] * value.shape[1], 1) for z in zeros) if value.dim() > 1 else zeros
    if not value.requires_grad:
        what = "neuron: what is explained" if neurons else "the model's output"
        raise UsageError(
            f"{what} does not depend on the inputs in a way that torch can differentiate (detached, computed "
            "under no_grad, or by operations on integers); use a method that needs no gradient, like feature_ablation"
        )
    if value.dim() > 1:
        site = tuple((layer.key, layer.io, layer.call) for layer in problem.layers)
        found = columns(value, at, calls.learnt, site)
        if not all(g.sum().item() or bool(g.any()) for g in found):  # there may be some on which nothing depends
            _filled(calls, problem, at, torch.autograd.grad(value.sum(), at, allow_unused=True))
        return found
    options = {"allow_unused": True, **calls.grad_options}
    if not (problem.through and neurons):
        return _filled(calls, problem, at, torch.autograd.grad(value, at, torch.ones_like(value), **options))
    seen = neurons[0].captured()
    ones = torch.ones_like(value)
    upper = torch.autograd.grad(value, seen, ones, retain_graph=True, allow_unused=True, materialize_grads=True)
    seeds = zip(seen, problem.through.mask(seen), upper, strict=True)
    lower = [(v, mask * g) for v, mask, g in seeds if v.requires_grad]
    if not lower:
        return tuple(map(torch.zeros_like, at))
    outputs, cotangents = zip(*lower, strict=True)
    return _filled(calls, problem, at, torch.autograd.grad(outputs, at, cotangents, **options))


def _filled(calls: Calls, problem: Problem, at: Tensors, gradient: tuple[Tensor | None, ...]) -> Tensors:
    """Zeros, and a warning, where the objective does not depend on a tensor."""
    if all(g is not None for g in gradient):
        return cast("Tensors", gradient)
    if problem.layers:
        counts = [(str(layer), calls.sizes[layer]) for layer in problem.layers]
        each = [name if count == 1 else f"{name}[{i}]" for name, count in counts for i in range(count)]
        names = [f"layer {name!r}" for name in each]
    else:
        names = [f"input {name!r}" for name in problem.arguments.names]
    for name, g in zip(names, gradient, strict=True):
        if g is None:
            calls.warn_once(name, f"the objective does not depend on {name}: its attributions are 0")
    return tuple(torch.zeros_like(a) if g is None else g for a, g in zip(at, gradient, strict=True))
