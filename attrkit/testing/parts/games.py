"""Games with known answers, for estimators."""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from attrkit.coalitions import Estimate, Game
from attrkit.testing.models import points, seeded
from attrkit.testing.parts.subject import PartSubject, within


class Additive(nn.Module):
    """A sum over features, for three outputs."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(count, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 3)."""
        found: Tensor = self.linear(x)
        return found


class Entangled(nn.Module):
    """Features that act on one another; the first two alike, the last not at all. Two outputs."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(count - 2, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 2)."""
        alike = x[:, :1] + x[:, 1:2] + x[:, :1] * x[:, 1:2]
        found: Tensor = self.head(torch.tanh(self.hidden(torch.cat([alike, x[:, 2:-1]], 1))))
        return found


def built(kind: type[Additive | Entangled], count: int) -> nn.Module:
    """One with fixed weights."""
    model = seeded(lambda: kind(count))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.7)
    return model


def examples(count: int, rows: int = 2) -> Tensor:
    """Inputs of which the first two features are equal."""
    x = points(rows, count, seed=4)
    x[:, 1] = x[:, 0]
    return x


def played(
    s: PartSubject,
    model: nn.Module,
    x: Tensor,
    budget: int,
    *,
    seed: int = 0,
    after: Callable[[Game], Any] | None = None,
    **game: Any,
) -> Any:
    """The estimate for a model, or with ``after`` the game and what it says of the game then."""

    def run(problem: Any) -> Any:
        made = problem.game(**game)
        estimate: Estimate = s(made, budget)
        return estimate if after is None else (estimate, after(made))

    return within(run, (x,), model=model, seed=seed)


def shapley(model: nn.Module, x: Tensor) -> Tensor:
    """The Shapley values from all coalitions, the others replaced by 0; shape (features, batch, *outputs)."""
    count = x.shape[1]
    numbers = torch.arange(2**count)
    present = (numbers[:, None] >> torch.arange(count) & 1).bool()
    with torch.no_grad():
        values = torch.stack([model(torch.where(row, x, 0.0)) for row in present])
    size = present.sum(1)
    scores = []
    for i in range(count):
        without = ~present[:, i]
        weights = torch.tensor([1 / (count * comb(count - 1, int(k))) for k in size[without]], dtype=x.dtype)
        gained = values[numbers[without] + 2**i] - values[numbers[without]]
        scores.append((weights.reshape(-1, *[1] * (gained.dim() - 1)) * gained).sum(0))
    return torch.stack(scores)
