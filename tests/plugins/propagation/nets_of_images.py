"""Small nets over images, volumes and signals, each in a style that people use; ``nets`` has them with inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def classified(*layers, features=4):
    """Layers over images, averaged and classified."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 3))


class Separable(nn.Module):
    """Inverted bottlenecks as in MobileNet: a convolution of each channel between two of single pixels, and a sum."""

    class Block(nn.Module):
        def __init__(self, into, out, stride):
            super().__init__()
            wide = 2 * into
            self.same = stride == 1 and into == out
            self.layers = nn.Sequential(
                nn.Conv2d(into, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
                nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(inplace=True),
                nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out),
            )  # fmt: skip

        def forward(self, x):
            return x + self.layers(x) if self.same else self.layers(x)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.Hardswish())
        self.blocks = nn.Sequential(self.Block(4, 4, 1), self.Block(4, 6, 2))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 3))

    def forward(self, x):
        return self.classifier(self.blocks(self.stem(x)).mean([2, 3]))


class SqueezeExcite(nn.Module):
    """Channels weighed by what all of them are like; ``gate`` may be a hard sigmoid, as in MobileNetV3."""

    def __init__(self, gate=nn.Sigmoid):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.squeeze, self.excite, self.gate = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1), gate()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = F.relu(self.conv(x))
        scale = self.gate(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return self.head((y * scale).mean((2, 3)))


class Dense(nn.Module):
    """A block as in DenseNet: every layer reads all before it, norm and ReLU first; then a transition."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 2 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 + 2 * i, 2, 3, padding=1, bias=False) for i in range(3))
        self.norm, self.transition = nn.BatchNorm2d(10), nn.Conv2d(10, 5, 1, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        y = self.transition(F.relu(self.norm(torch.cat(features, 1)), inplace=True))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(F.avg_pool2d(y, 2), (1, 1)), 1))


class Inception(nn.Module):
    """Branches of several sizes side by side, concatenated."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 2, 1)
        self.three = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1))
        self.flat = nn.Sequential(nn.Conv2d(3, 2, (1, 3), padding=(0, 1)), nn.ReLU(), nn.Conv2d(2, 2, (3, 1), padding=(1, 0)))
        self.pooled = nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(9, 3)

    def forward(self, x):
        pooled = self.pooled(F.max_pool2d(x, kernel_size=3, stride=1, padding=1))
        y = F.relu(torch.cat([self.one(x), self.three(x), self.flat(x), pooled], 1))
        return self.head(F.max_pool2d(y, 3, 2, ceil_mode=True).mean(dim=(2, 3)))


class Functional(nn.Module):
    """No module but the parameters: functions, methods, operators, in place and not."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(0.4 * torch.randn(8, 3, 3, 3))
        self.weights = nn.ParameterList(0.4 * torch.randn(8, 8) for _ in range(3))
        self.bias, self.head = nn.Parameter(0.1 * torch.randn(8)), nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        y = F.relu_(F.conv2d(x, self.kernel, self.bias, padding=1))
        y = F.max_pool2d(y, 2).mean((-1, -2))
        y = torch.addmm(self.bias, y, self.weights[0]).relu_()
        y = y @ self.weights[1]
        y += self.bias
        y.mul_(0.5).tanh_()
        y = torch.matmul(y, self.weights[2]).sub(self.bias - 1).clamp(min=0)
        return F.linear(y / 2, self.head)


class Adjacent(nn.Module):
    """Non-linearities one after the other, of the same tensor and on two ways."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.more = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Sigmoid(), nn.Tanh())
        self.conv2, self.head = nn.Conv2d(4, 4, 2), nn.Linear(8, 3)

    def forward(self, x):
        y = self.pool(self.relu(self.conv(x)))
        y = self.conv2(y)
        return self.head(torch.cat([self.more(y).amax((2, 3)), self.relu(self.pool(y)).sum((2, 3))], 1))


class Pools(nn.Module):
    """Every pooling, and reductions over places, side by side over two dimensions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pools = nn.ModuleList([
            nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, dilation=2), nn.AdaptiveMaxPool2d(3),
            nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d(3),
            nn.LPPool2d(2, 2),
        ])  # fmt: skip
        self.head = nn.Linear(52, 3)

    def forward(self, x):
        y = self.conv(x)
        pooled = [pool(y).relu().mean((2, 3)) for pool in self.pools]
        over = [y.amax((2, 3)), y.flatten(2).max(2).values, y.mean((2, 3)), y.sum((2, 3)) / 64]
        return self.head(torch.cat(pooled + over, 1))


class Upsampling(nn.Module):
    """Down and up again, in the ways that people go up, with what was before the way down beside it."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.up = nn.ModuleList([
            nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ConvTranspose2d(4, 4, 2, 2),
            nn.Sequential(nn.Conv2d(4, 16, 1), nn.PixelShuffle(2)),
        ])  # fmt: skip
        self.mix, self.head = nn.Conv2d(23, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, x):
        y = F.relu(self.down(x))
        ways = [up(y) for up in self.up]
        resized = F.interpolate(y, size=x.shape[-2:], mode="bicubic", align_corners=False)
        return self.head(F.relu(self.mix(torch.cat([x, *ways, resized], 1))).mean((2, 3)))


class Normed(nn.Module):
    """A convolution, a norm over it, and ReLU."""

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), norm(), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(F.relu(self.conv2(F.relu(self.norm(self.conv(x))))).mean((2, 3)))


def conv1d():
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, padding=2, dilation=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(4, 4, 3, padding="same", padding_mode="replicate"), nn.ELU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def conv3d():
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(4, 4, 2, groups=2), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def transposed():
    return classified(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, padding=1, bias=False), nn.Softplus(),
    )  # fmt: skip


def weight_normed():
    return classified(weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), weight_norm(nn.Conv2d(4, 4, 3)), nn.SiLU())


def padded():
    """Padding of every kind, as a layer and in a convolution."""
    return classified(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ZeroPad2d((1, 0, 1, 0)),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(),
        nn.Conv2d(4, 4, 2, padding="same", padding_mode="reflect"), nn.PReLU(), nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 4, 3),
    )  # fmt: skip
