"""Training that leaves no trace: neither on the global random generators nor on the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrkit.demo.data import Examples

_BATCH = 64
_RATE = 1e-2


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: several spend more time on meeting than such small models take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def trained(make: Callable[[], nn.Module], examples: Examples, epochs: int, seed: int) -> nn.Module:
    """A model that has learned the examples, in evaluation mode; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
    order = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(examples.inputs) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    with torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.randperm(len(examples.inputs), generator=order).split(_BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(examples.inputs[batch]), examples.classes[batch], label_smoothing=0.05).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


def predicted(model: nn.Module, inputs: Tensor) -> Tensor:
    """The class that the model finds most likely, for each example."""
    with torch.no_grad():
        found: Tensor = model(inputs).argmax(1)
    return found


def accuracy(model: nn.Module, examples: Examples) -> float:
    """The share of held-out examples that the model gets right."""
    return float((predicted(model, examples.held_out) == examples.held_out_classes).double().mean())
