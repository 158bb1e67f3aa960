"""The passes that a method consists of, written by hand in plain torch: what all ratios to "raw" are to."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models import Subject

TARGET = 1


def call(subject: Subject, x: Tensor) -> Tensor:
    """The model's output for one or more copies of the batch."""
    copies = len(x) // len(subject.x)
    output: Tensor = subject.model(x, *(t.repeat(copies, *[1] * (t.dim() - 1)) for t in subject.extra))
    return output


def path(end: Tensor, steps: int) -> Tensor:
    """All points between zero and ``end`` as one batch."""
    fractions = torch.linspace(0, 1, steps, device=end.device).view(-1, *[1] * end.dim())
    return (fractions * end).flatten(0, 1)


def gradient(subject: Subject, x: Tensor) -> Tensor:
    """The output's gradient at the inputs."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(call(subject, x)[:, TARGET].sum(), x)[0]


def gradient_in_parts(subject: Subject, steps: int, rows: int) -> Tensor:
    """The gradient summed over the path to the inputs, so many rows at a time."""
    copies, total = rows // len(subject.x), torch.zeros_like(subject.x)
    fractions = torch.linspace(0, 1, steps, device=total.device).view(-1, *[1] * total.dim())
    for some in fractions.split(copies):
        found = gradient(subject, (some * subject.x).flatten(0, 1))
        total += found.view(len(some), *subject.x.shape).sum(0)
    return total


def gradients_of_targets(subject: Subject, targets: Sequence[int]) -> list[Tensor]:
    """One forward pass, and one backward pass for each target."""
    x = subject.x.detach().requires_grad_()
    output = call(subject, x)
    return [torch.autograd.grad(output[:, t].sum(), x, retain_graph=True)[0] for t in targets]


def activation(subject: Subject, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer returns."""
    with torch.no_grad():
        return _seen(subject, [layer], x)[1][0]


def gradient_at(subject: Subject, layers: list[nn.Module], x: Tensor) -> list[Tensor]:
    """The output's gradient at what layers return, from one pass for all of them."""
    output, values = _seen(subject, layers, x)
    return list(torch.autograd.grad(output[:, TARGET].sum(), values))


def gradient_of_neuron(subject: Subject, layer: nn.Module, x: Tensor) -> Tensor:
    """A neuron's gradient at the inputs."""
    x = x.detach().requires_grad_()
    value = _seen(subject, [layer], x)[1][0]
    neuron: Any = (slice(None), *subject.neuron)
    return torch.autograd.grad(value[neuron].sum(), x)[0]


def gradient_along(subject: Subject, layer: nn.Module, steps: int) -> Tensor:
    """The gradient at a layer while that goes from its value for zero to its value for the inputs."""
    start = activation(subject, layer, torch.zeros_like(subject.x))
    values = path(activation(subject, layer, subject.x) - start, steps) + start.repeat(steps, *[1] * (start.dim() - 1))
    values.requires_grad_()
    # a copy goes on, because an operation in place may follow
    handle = layer.register_forward_hook(lambda *_: values.clone())
    try:
        output = call(subject, subject.x.repeat(steps, *[1] * (subject.x.dim() - 1)))
    finally:
        handle.remove()
    return torch.autograd.grad(output[:, TARGET].sum(), values)[0]


def _seen(subject: Subject, layers: list[nn.Module], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output, and what each layer returned on the way to it."""
    values: list[Tensor] = []
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(lambda _module, _args, value: values.append(value)).remove)
        # without a graph of the inputs, parameters alone keep one, as they do for users
        return call(subject, x), values
