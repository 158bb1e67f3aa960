"""Two models as people write them: normalisation, activations in place, a residual sum; nothing prepared for attrkit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions, and the sum of what they make with what they got."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The sum, after its activation."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += x
        return F.relu(y, inplace=True)


def _stage(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class DigitNet(nn.Module):
    """A small residual network that reads digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _stage(1, 16, 1)
        self.block = Residual(16)
        self.down = _stage(16, 32, 2)
        self.block2 = Residual(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """One number per digit."""
        x = self.block2(self.down(self.block(self.stem(x))))
        found: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return found


def tumour_net() -> nn.Sequential:
    """A small network on thirty measurements; one number for malignant, one for benign."""
    return nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
