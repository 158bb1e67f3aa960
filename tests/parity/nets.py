"""Nets that the peers can explain: every operation a module of a type that they know."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tests.plugins.models import Block, Residual


class Pipeline(nn.Module):
    """Convolutions, poolings and dense layers, as in VGG; flattened by a function, because Captum knows no Flatten."""

    def __init__(self, *, batch_norm=False):
        super().__init__()
        norm = (lambda n: [nn.BatchNorm2d(n)]) if batch_norm else (lambda n: [])
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), *norm(4), nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1), *norm(4), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1), *norm(6), nn.ReLU(),
            nn.AvgPool2d(2),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


class ModularBlock(Block):
    """The block with a module for every operation; ``add`` makes the one that adds."""

    def __init__(self, *args, add):
        super().__init__(*args)
        self.relu1, self.add, self.relu2 = nn.ReLU(), add(), nn.ReLU()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(self.add(y, x if self.shortcut is None else self.shortcut(x)))


class ModularResidual(Residual):
    """The residual net with a module for every operation; it takes the plain one's weights."""

    def __init__(self, add):
        super().__init__(partial(ModularBlock, add=add))
        self.relu = nn.ReLU()
        self.pool, self.average = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.pool(self.relu(self.bn(self.conv(x))))
        return self.fc(torch.flatten(self.average(self.block2(self.block1(x))), 1))


class Meeting(nn.Module):
    """Two inputs that meet in a sum; ``add`` makes the module that adds, and without it they meet in a plus."""

    def __init__(self, add=None):
        super().__init__()
        self.left, self.right = nn.Linear(4, 5), nn.Linear(6, 5)
        self.act, self.head = nn.ReLU(), nn.Linear(5, 3)
        self.add = add() if add else torch.add

    def forward(self, a, b):
        return self.head(self.act(self.add(self.left(a), self.right(b))))


class Tagger(nn.Module):
    """Tokens, their embeddings, and a small net that scores each of them."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, ids):
        return self.net(self.embedding(ids))
