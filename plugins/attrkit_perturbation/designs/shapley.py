"""Designs: which coalitions a sampling method asks for."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, combinations

import attrs
import numpy as np
import torch
from torch import Tensor

from attrkit import design

_BLOCK = 2**20  # entries of a block, at most
_LISTED = 2**12  # sizes with no more coalitions than this are listed and shuffled, others drawn
_REMEMBERED = 2**16  # entries of a design that is kept
_DESIGNS = 4  # of a number of features and of rows: what is remembered tells more with few, averages over seeds with many
_APART = 2**20  # between their seeds, of which torch reads 32 bits: more streams than a design has
_MANY = 2**40  # more coalitions than anyone asks for


@design("leverage", references=("arXiv:2410.01917",))
def leverage(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Pairs of a coalition and its complement, as many of each size as there are, none of them twice.

    A row with an even number is followed by its complement. Pairs come in rounds with one of each size, so that any first part
    has all sizes alike; sizes that are exhausted drop out. What a smaller design has, a larger one has too, but for pairs that
    were drawn twice. There are a few designs for each number of features and of rows; the seed says which of them it is, and
    which feature has which of its columns, so that every coalition of a size is equally likely.
    """
    if count < 2 or size < 2:
        return
    seed, columns = _APART * int(torch.randint(_DESIGNS, (), generator=generator)), torch.randperm(count, generator=generator)
    blocks = _pairs(count, size, seed) if count * size > _REMEMBERED else [_pairs_before(count, size, seed)]
    for block in blocks:
        yield block.index_select(1, columns)


@lru_cache(8 * _DESIGNS)
def _pairs_before(count: int, size: int, seed: int) -> Tensor:
    return torch.cat(list(_pairs(count, size, seed)))


def _pairs(count: int, size: int, seed: int) -> Iterator[Tensor]:
    streams = _Streams(seed)
    strata = _Strata.of(count)
    sizes, numbers = strata.order(size // 2, streams[0])
    asked = torch.bincount(sizes, minlength=count // 2 + 1)
    listed = (strata.pairs <= _LISTED) | (2 * asked > strata.pairs)
    shuffled = {s: torch.randperm(int(strata.pairs[s]), generator=streams[s]) for s in sizes[listed[sizes]].unique().tolist()}
    drawing = _Distinct(count, streams[-1], streams[-2], torch.empty(0, dtype=torch.int64))
    step = max(1, _BLOCK // (2 * count))
    for at, number in zip(sizes.split(step), numbers.split(step), strict=True):
        rows = torch.empty(len(at), count, dtype=torch.bool)
        known = listed[at]
        for s in at[known].unique().tolist():
            rows[at == s] = _all_pairs(count, s)[shuffled[s][number[at == s]]]
        rows[~known] = drawing.of(at[~known])
        yield torch.stack([rows, ~rows], 1).flatten(0, 1)


@design("kernel", references=("arXiv:1705.07874",))
def kernel(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Coalitions whose sizes are drawn with the weights of the Shapley kernel, each by itself; pairs may repeat."""
    if count < 2:
        return
    sizes = torch.arange(1, count, dtype=torch.float64)
    for k in _steps(count, size):
        drawn = torch.multinomial(1 / (sizes * (count - sizes)), k, replacement=True, generator=generator) + 1
        yield _subsets(count, drawn, generator)


@design("antithetic", references=("arXiv:2104.12199",))
def antithetic(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """What comes first in random orders of the features, each followed by its complement, which comes first backwards."""
    left = size // 2
    while count > 1 and left:
        rank = torch.randperm(count, generator=generator)
        ends = 1 + torch.randperm(count - 1, generator=generator)[:left]
        for part in ends.split(max(1, _BLOCK // (2 * count))):
            rows = rank < part[:, None]
            yield torch.stack([rows, ~rows], 1).flatten(0, 1)
        left -= len(ends)


def _steps(count: int, size: int) -> Iterator[int]:
    """The lengths of blocks."""
    step = max(1, _BLOCK // max(1, count))
    return (min(step, size - low) for low in range(0, size, step))


def _subsets(count: int, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """A coalition of each size, all of that size equally likely."""
    numbers = torch.rand(len(sizes), count, generator=generator, dtype=torch.float64)
    return numbers <= numbers.sort(1).values.gather(1, sizes[:, None] - 1)


@lru_cache(16)
def _all_pairs(count: int, size: int) -> Tensor:
    """Every coalition of a size; of half the features, those with the first, which leave their complements out."""
    half = 2 * size == count
    chosen = combinations(range(half, count), size - half)
    flat = np.fromiter(chain.from_iterable(chosen), dtype=np.int64)
    places = torch.from_numpy(flat).reshape(-1, size - half) if size > half else torch.empty(1, 0, dtype=torch.int64)
    rows = torch.zeros(len(places), count, dtype=torch.bool).scatter_(1, places, value=True)
    rows[:, 0] |= half
    return rows


@attrs.frozen
class _Streams:
    """Generators by number, none of which depends on how much is drawn from another."""

    seed: int

    def __getitem__(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + number)


@attrs.frozen(eq=False)
class _Strata:
    """The pairs of ``count`` features by the size of the smaller one: how many there are, at most ``_MANY``; from size 1."""

    count: int
    pairs: Tensor

    @classmethod
    @lru_cache(64)
    def of(cls, count: int) -> "_Strata":
        found, n = [0], 1
        for s in range(1, count // 2 + 1):
            n = min(n * (count - s + 1) // s, _MANY) if n < _MANY else n
            found.append(n // 2 if 2 * s == count and n < _MANY else n)
        return cls(count, torch.tensor(found))

    def order(self, wanted: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The size of each pair, and its number among those of the size."""
        numbers = _rounds(self.count, min(wanted, int(self.pairs.sum())))
        key = torch.rand(numbers.shape, generator=generator, dtype=torch.float64).masked_fill_(numbers < 0, 2)
        by_key = key.argsort(1)
        number = numbers.gather(1, by_key)
        kept = number >= 0
        return 1 + by_key[kept][:wanted], number[kept][:wanted]


@lru_cache(16)
def _rounds(count: int, wanted: int) -> Tensor:
    """For each round, and each size from 1, the number of its pair among those of the size; -1 where it has none."""
    pairs = _Strata.of(count).pairs[1:].tolist()
    every = [2 if 2 * size == count else 1 for size in range(1, len(pairs) + 1)]  # in the middle are half as many pairs
    low, high = 0, 2 * max(pairs)
    while high - low > 1:
        middle = (low + high) // 2
        enough = sum(min(n, -(-middle // each)) for n, each in zip(pairs, every, strict=True)) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    rounds, step = torch.arange(high)[:, None], torch.tensor(every)
    return torch.where((rounds % step == 0) & (rounds // step < torch.tensor(pairs)), rounds // step, -1)


@attrs.define
class _Distinct:
    """Draws coalitions of given sizes, none of them twice; of half the features, those with the first."""

    count: int
    stream: torch.Generator
    again: torch.Generator
    _seen: Tensor  # a hash of each

    def of(self, sizes: Tensor) -> Tensor:
        """A coalition of each size."""
        rows = self._drawn(sizes, self.stream)
        fresh = torch.Generator().manual_seed(0)
        factors = torch.randint(-(2**62), 2**62, (self.count,), generator=fresh)
        hashes = (rows * factors).sum(1)
        while True:
            together = torch.cat([self._seen, hashes]).numpy()
            _, first = np.unique(together, return_index=True)
            twice = torch.ones(len(together), dtype=torch.bool)
            twice[torch.from_numpy(first)] = False
            twice = twice[len(self._seen) :]
            if not bool(twice.any()):
                break
            rows[twice] = self._drawn(sizes[twice], self.again)
            hashes[twice] = (rows[twice] * factors).sum(1)
        self._seen = torch.cat([self._seen, hashes])
        return rows

    def _drawn(self, sizes: Tensor, generator: torch.Generator) -> Tensor:
        rows = _subsets(self.count, sizes, generator)
        flip = (2 * sizes == self.count) & ~rows[:, 0]
        return rows ^ flip[:, None]
