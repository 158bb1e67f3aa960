"""Small models that the tests of plugins share: float64, in evaluation mode, with the same weights every time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


def draw(*shape, seed=0):
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(factory, seed=0):
    """A model with the weights that ``seed`` gives; batch norms have seen data of another mean and scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory().double()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for values, low, high in (
                    (module.running_mean, -0.5, 0.5),
                    (module.running_var, 0.5, 2),
                    (module.weight.data, 0.5, 1.5),
                    (module.bias.data, -0.5, 0.5),
                ):
                    values.uniform_(low, high)
    return model.eval()


class Polynomials(nn.Module):
    """``v = x B``, then a linear form, a quadratic form and a product of v, then a linear head with two outputs."""

    class Forms(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(3))
            self.A = nn.Parameter(torch.randn(3, 3))

        def forward(self, v):
            return torch.stack([v @ self.w, ((v @ self.A) * v).sum(1), v.prod(1)], dim=1)

    def __init__(self):
        super().__init__()
        self.lower = nn.Linear(4, 3, bias=False)
        self.forms = self.Forms()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.forms(self.lower(x)))


def smooth_mlp(inputs=5, hidden=6, outputs=3):
    """Two hidden layers, differentiable everywhere."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Softplus(), nn.Linear(hidden, outputs)
    )


def mlp(inputs=6, outputs=3, *, bias=True):
    """Two hidden layers of ReLU."""
    return nn.Sequential(
        nn.Linear(inputs, 8, bias=bias), nn.ReLU(), nn.Linear(8, 7, bias=bias), nn.ReLU(), nn.Linear(7, outputs, bias=bias)
    )


def cnn(*, batch_norm=False):
    """Convolutions and poolings over 2 channels of 8 x 8, in the style of VGG: all of it modules."""
    norm = nn.BatchNorm2d if batch_norm else lambda _: nn.Identity()
    layers = [
        nn.Conv2d(2, 4, 3, padding=1), norm(4), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), norm(5), nn.ReLU(),
        nn.Conv2d(5, 5, 3, padding=1), norm(5), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 6), nn.ReLU(),
        nn.Linear(6, 3),
    ]  # fmt: skip
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))


class Block(nn.Module):
    """A residual block as people write it: batch norms, functional and in-place ReLU, ``+=``."""

    def __init__(self, into, out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        same = stride == 1 and into == out
        self.shortcut = None if same else nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


class Residual(nn.Module):
    """Two blocks over 3 channels of 8 x 8, with functional pooling and ``torch.flatten`` around them."""

    def __init__(self, block=Block):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.block1 = block(4, 4)
        self.block2 = block(4, 6, 2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = F.max_pool2d(self.relu(self.bn(self.conv(x))), 2)
        x = F.adaptive_avg_pool2d(self.block2(self.block1(x)), 1)
        return self.fc(torch.flatten(x, 1))


class TwoInputs(nn.Module):
    """Two tensors of different shapes that meet in a sum; the second may be left out of the sum by ``scale``."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(4, 5)
        self.right = nn.Linear(6, 5)
        self.act = nn.Tanh()
        self.head = nn.Linear(5, 3)

    def forward(self, a, b, scale=1.0):
        return self.head(self.act(self.left(a) + scale * self.right(b.flatten(1))))


class Tokens(nn.Module):
    """Token numbers, an embedding, a convolution over time: what a small text classifier is."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.conv = nn.Conv1d(4, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(self.relu(self.conv(self.embedding(ids).transpose(1, 2))).mean(2))


class Reused(nn.Module):
    """One linear map and one ReLU, each run twice."""

    def __init__(self, *, bias=True):
        super().__init__()
        self.mix = nn.Linear(4, 4, bias=bias)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 2, bias=bias)

    def forward(self, x):
        return self.head(self.relu(self.mix(self.relu(self.mix(x)))))


@dataclass
class Pair:
    """What some layers pass on."""

    first: torch.Tensor
    second: torch.Tensor
    count: int = 2


PACKERS = {
    "tuple": lambda a, b: (a, b),
    "dict": lambda a, b: {"first": a, "count": 2, "second": b},
    "dataclass": Pair,
}


class Several(nn.Module):
    """A layer that passes on two tensors, in a tuple, a dictionary or a dataclass, and one that takes them."""

    class Pack(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind

        def forward(self, x):
            return PACKERS[self.kind](torch.tanh(x[:, :2]), x[:, 2:] ** 2)

    class Unpack(nn.Module):
        def forward(self, pair):
            if isinstance(pair, tuple):
                first, second = pair
            else:
                first, second = (pair["first"], pair["second"]) if isinstance(pair, dict) else (pair.first, pair.second)
            return torch.cat([first * second, first], dim=1)

    def __init__(self, kind="tuple"):
        super().__init__()
        self.mix = nn.Linear(3, 4)
        self.pack = self.Pack(kind)
        self.unpack = self.Unpack()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.unpack(self.pack(self.mix(x))))
