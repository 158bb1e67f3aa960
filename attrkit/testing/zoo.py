"""The networks that rulesets are tried on: small ones of every kind, with inputs."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrkit.testing.models import points, seeded


class _Residual(nn.Module):
    """Two convolutions with batch norms, beside a connection that skips them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(n, 8, 3, padding=1) for n in (3, 8, 8))
        self.norm, self.other, self.head = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        x = F.relu(self.stem(x))
        y = self.other(self.second(F.relu(self.norm(self.first(x)))))
        logits: Tensor = self.head(F.relu(x + y).mean((2, 3)))
        return logits


class _Attention(nn.Module):
    """A transformer's block, norm first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.other, self.qkv, self.out = nn.LayerNorm(6), nn.LayerNorm(6), nn.Linear(6, 18), nn.Linear(6, 6)
        self.wide, self.act, self.narrow, self.head = nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v))
        x = x + self.narrow(self.act(self.wide(self.other(x))))
        logits: Tensor = self.head(x.mean(1))
        return logits


class _Recurrent(nn.Module):
    """An LSTM, and a readout of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 3)."""
        states, _ = self.cells(x)
        logits: Tensor = self.head(states[:, -1])
        return logits


def _dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


def _convolutional() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 3))


@attrs.frozen(eq=False)
class Net:
    """What makes a network, and the shape of one example."""

    factory: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def built(self, *, bias: bool = True) -> nn.Module:
        """A new one, with fixed weights; with or without anything that layers add."""
        model = seeded(self.factory)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.full_like(module.weight, 0.2)
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if not bias and ("bias" in name or name == "running_mean"):
                    tensor.data.zero_()
        return model

    def inputs(self, rows: int = 3) -> Tensor:
        """Examples."""
        return points(rows, *self.shape, seed=8)


NETS: dict[str, Net] = {
    "dense": Net(_dense, (6,)),
    "convolutional": Net(_convolutional, (3, 8, 8)),
    "residual": Net(_Residual, (3, 6, 6)),
    "attention": Net(_Attention, (4, 6)),
    "recurrent": Net(_Recurrent, (4, 4)),
}
