"""Draws follow the seed, and nothing else."""

from __future__ import annotations

import torch
from torch import nn

from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject
from attrkit.wrapping import Wrapped

_LEARNING = 8  # calls until it is known how several targets share passes


def _known(s: Subject) -> nn.Module:
    """A model of which everything is learnt, like sizes of passes, that may change the last bit."""
    model = seeded()
    for _ in range(_LEARNING if isinstance(s.spec, Wrapped) else 1):
        s.values(model, points(3, 5), seed=1)
    return model


@check()
def the_same_seed_gives_the_same(s: Subject) -> None:
    """Twice the same call, twice the same bits, whatever torch's own generator does."""
    model, x = _known(s), points(3, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = s.values(model, x, seed=1, internal_batch_size=4)
        torch.manual_seed(2)
        second = s.values(model, x, seed=1, internal_batch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "the same seed gave something else"


@check(lambda s: s.spec.stochastic)
def another_seed_gives_another_sample(s: Subject) -> None:
    """A method that draws draws other numbers for another seed."""
    first, second = (s.values(seeded(), points(3, 5), seed=seed) for seed in (1, 2))
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True)), "two seeds gave the same"


@check(lambda s: not s.spec.stochastic)
def the_seed_does_not_matter(s: Subject) -> None:
    """A method that declares no draws gives the same for every seed."""
    model = _known(s)
    first, second = (s.values(model, points(3, 5), seed=seed, internal_batch_size=4) for seed in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), (
        "two seeds gave different results; declare stochastic=True"
    )
