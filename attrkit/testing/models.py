"""Small models with known properties: float64, the same weights every time, built afresh for every check."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Dense(nn.Linear):
    """A linear map of features; of images at each place."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Shape (batch, features, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1) if x.dim() > 2 else super().forward(x)


class Readout(Dense):
    """The same, averaged over places."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, features)."""
        return super().forward(x).flatten(2).mean(2) if x.dim() > 2 else super().forward(x)


class Norm(nn.BatchNorm1d):
    """Batch norm of features; of images at each place."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's own signature
        """Any number of dimensions will do."""


class TwoInputs(nn.Module):
    """Two tensors in, three classes out; the last feature of the second is ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.middle = Dense(4, 6), Dense(3, 6), Dense(6, 6)
        self.act, self.head = nn.Tanh(), Readout(6, 3)
        with torch.no_grad():
            self.right.weight[:, -1] = 0

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        hidden: Tensor = self.head(self.act(self.middle(self.act(self.left(a) + self.right(b)))))
        return hidden


class Swapped(nn.Module):
    """A model of two tensors that takes them the other way round."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, b: Tensor, a: Tensor) -> Tensor:
        """What the model says."""
        logits: Tensor = self.inner(a, b)
        return logits


class Summed(nn.Module):
    """The sum of two models of the same kind."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Logits of both together."""
        total: Tensor = self.first(x) + self.second(x)
        return total


class Symmetric(nn.Module):
    """A model to which its first two features are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = smooth()

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        mean = x[:, :2].mean(1, keepdim=True)
        logits: Tensor = self.inner(torch.cat([mean, x[:, :1] * x[:, 1:2], x[:, 2:]], 1))
        return logits


class Reusing(nn.Module):
    """One module that runs twice, one that never does, and one that returns several tensors, as ``kind`` says."""

    def __init__(self, kind: str = "tuple") -> None:
        super().__init__()
        self.twice, self.never, self.head = Dense(5, 5), Dense(5, 5), Readout(10, 3)
        self.several = Several(kind)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        found = self.several(x)
        logits: Tensor = self.head(torch.cat(list(found.values() if isinstance(found, dict) else found), 1))
        return logits


class Several(nn.Module):
    """Returns two tensors in a tuple, or in a dictionary."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | dict[str, Tensor]:
        """The input, and its square."""
        return (x, x**2) if self.kind == "tuple" else {"value": x, "square": x**2}


class Scaled(nn.Module):
    """A model that takes a further argument with a row for each example, and one for the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = smooth()

    def forward(self, x: Tensor, scale: Tensor, power: int) -> Tensor:
        """Logits, times ``scale`` (batch, 1) raised to ``power``."""
        logits: Tensor = self.inner(x) * scale**power
        return logits


class Slow(nn.Module):
    """A model that lets other threads run at each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = relu()

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        time.sleep(1e-4)
        logits: Tensor = self.inner(x)
        return logits


class Boom(RuntimeError):
    """What a failing module raises."""


class Failing(nn.Module):
    """Raises."""

    def forward(self, _: Tensor) -> Tensor:
        """Raise."""
        raise Boom("this layer fails")


def relu() -> nn.Sequential:
    """A network of rectifiers; layer ``2`` is in the middle."""
    return nn.Sequential(Dense(5, 8), nn.ReLU(), Dense(8, 8), nn.ReLU(), Readout(8, 3))


def failing(place: int) -> nn.Sequential:
    """The same with a module that raises in place of one."""
    model = relu()
    model[place] = Failing()
    return model


def unbiased() -> nn.Sequential:
    """The same without biases: its outputs are those of its inputs alone."""
    layers = [Dense(5, 8, bias=False), nn.ReLU(), Dense(8, 8, bias=False), nn.ReLU(), Readout(8, 3, bias=False)]
    return nn.Sequential(*layers)


def smooth() -> nn.Sequential:
    """A network without kinks, which would hide mistakes behind the error of quadrature."""
    return nn.Sequential(Dense(5, 8), nn.Tanh(), Dense(8, 8), nn.Tanh(), Readout(8, 3))


def noisy() -> nn.Sequential:
    """A network with dropout and batch norm."""
    return nn.Sequential(Dense(5, 8), Norm(8), nn.ReLU(), nn.Dropout(0.5), Readout(8, 3))


def seeded(build: Callable[[], nn.Module] = relu) -> nn.Module:
    """A model in evaluation mode, with weights so large that a wrong answer is no small number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build().double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    return model


def points(*shape: int, seed: int = 3) -> Tensor:
    """Standard normal numbers, float64, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
