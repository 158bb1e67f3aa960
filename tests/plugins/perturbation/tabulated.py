"""Games given by a table of values, one for each coalition, and what enumeration says of them."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st

from tests.plugins.models import draw

__all__ = ["coalitions", "model_of", "owen_of", "pairs_of", "shapley_of", "table", "tables"]


def coalitions(count):
    """All of them, as numbers 0 and 1; the row's number has the bits."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).double()


def table(count, outputs=2, seed=0):
    """Random values, shape (2**count, outputs)."""
    return draw(2**count, outputs, seed=seed)


@st.composite
def tables(draw_, most=5):
    """Tables of up to ``most`` features, with one output."""
    count = draw_(st.integers(1, most))
    numbers = st.floats(-10, 10, allow_subnormal=False)
    return torch.tensor(draw_(st.lists(numbers, min_size=2**count, max_size=2**count)), dtype=torch.float64)[:, None]


def model_of(values):
    """The model to whose inputs the table is what it says: a feature is there where its input is above one half."""
    bits = 2 ** torch.arange(len(values).bit_length() - 1)
    return lambda input: values[((input > 0.5).long() * bits).sum(1)]  # noqa: A006 - the name of the result


def shapley_of(values):
    """Shapley values, shape (count, outputs)."""
    count = len(values).bit_length() - 1
    return owen_of(values, [[i] for i in range(count)]) if count < 6 else _by_weights(values, count)


def _by_weights(values, count):
    found = torch.zeros(count, values.shape[1], dtype=torch.float64)
    for i in range(count):
        for s in range(len(values)):
            if not s >> i & 1:
                found[i] += (values[s | 1 << i] - values[s]) / (count * math.comb(count - 1, s.bit_count()))
    return found


def owen_of(values, groups):
    """The mean change over all orders that keep groups together."""
    found, orders = torch.zeros(len(values).bit_length() - 1, values.shape[1], dtype=torch.float64), 0
    for order in itertools.permutations(groups):
        for inner in itertools.product(*map(itertools.permutations, order)):
            s, orders = 0, orders + 1
            for i in itertools.chain(*inner):
                found[i] += values[s | 1 << i] - values[s]
                s |= 1 << i
    return found / orders


def pairs_of(values):
    """Shapley interactions of pairs, shape (count, count, outputs)."""
    count = len(values).bit_length() - 1
    found = torch.zeros(count, count, values.shape[1], dtype=torch.float64)
    for i, j in itertools.permutations(range(count), 2):
        for s in range(len(values)):
            if not (s >> i & 1 or s >> j & 1):
                change = values[s | 1 << i | 1 << j] - values[s | 1 << i] - values[s | 1 << j] + values[s]
                found[i, j] += change / ((count - 1) * math.comb(count - 2, s.bit_count()))
    return found
