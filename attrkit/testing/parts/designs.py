"""What designs promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attrkit.testing.declared import declared
from attrkit.testing.parts.subject import PartSubject
from attrkit.testing.snapshots import untouched


def _used(s: PartSubject, options: Mapping[str, Any]) -> Any:
    """A design with other options."""
    return list(PartSubject(s.spec, options)(10, 20, torch.Generator()))


check = declared(_used)
CHECKS = check.found
_COUNTS = (1, 2, 3, 10, 30)
_SIZES = (0, 1, 2, 3, 20, 200)
_BLOCK = 2**23  # entries
_SEEDS = 300


def _drawn(s: PartSubject, count: int, size: int, seed: int = 0) -> Tensor:
    """All coalitions of a design."""
    blocks = list(s(count, size, torch.Generator().manual_seed(seed)))
    return torch.cat([torch.empty(0, count, dtype=torch.bool), *blocks])


@check()
def yields_boolean_blocks(s: PartSubject) -> None:
    """Blocks of coalitions, boolean on the CPU, with a column for each feature; of any count and size."""
    for count in _COUNTS:
        for size in _SIZES:
            for block in s(count, size, torch.Generator().manual_seed(0)):
                where = f"count={count}, size={size}"
                assert isinstance(block, Tensor), f"{where}: yields {type(block).__name__}, not tensors"
                assert block.dtype is torch.bool, f"{where}: yields {block.dtype}; coalitions are boolean"
                assert block.shape == (len(block), count), f"{where}: a block has shape {tuple(block.shape)}"
                assert block.device.type == "cpu", f"{where}: a block is on {block.device}"


@check()
def yields_what_was_asked_for(s: PartSubject) -> None:
    """No more coalitions than were asked for; of many features, about as many."""
    for count in _COUNTS:
        for size in _SIZES:
            found = len(_drawn(s, count, size))
            assert found <= size, f"yields {found} coalitions of {count} features where {size} were asked for"
            enough = count < 10 or found >= 0.9 * size - 2
            assert enough, f"yields only {found} coalitions of {count} features where {size} were asked for"


@check()
def follows_the_generator(s: PartSubject) -> None:
    """The same generator gives the same coalitions, another one others, and no other randomness is used."""
    with untouched(torch.nn.Identity()):
        first = _drawn(s, 30, 40, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = _drawn(s, 30, 40, seed=1)
    assert torch.equal(first, again), "the same generator gave other coalitions"
    assert not torch.equal(first, _drawn(s, 30, 40, seed=2)), "another generator gave the same coalitions; draw from it"


@check()
def features_are_alike(s: PartSubject) -> None:
    """Over many generators each feature is there as often as every other, in whole designs and in their first coalitions."""
    for count, size in ((7, 16), (12, 40)):
        designs = [_drawn(s, count, size, seed) for seed in range(_SEEDS)]
        for what, rows in (("", size), ("the first coalitions of ", 4)):
            shares = torch.stack([d[:rows].double().mean(0) for d in designs if len(d)])
            mean, error = shares.mean(0), shares.std(0) / len(shares) ** 0.5
            off = (mean - mean.mean()).abs() / (error.max() + 1e-9)
            assert float(off.max()) <= 5, (
                f"in {what}designs of {size} for {count} features, feature {int(off.argmax())} is there in "
                f"{float(mean[off.argmax()]):.3f} of all, and on average they are in {float(mean.mean()):.3f}"
            )


@check()
def pairs_of_features_are_alike(s: PartSubject) -> None:
    """Over many generators each two features are there together as often as every other two: coalitions of a size are alike."""
    count, size = 6, 16
    designs = [_drawn(s, count, size, seed).double() for seed in range(_SEEDS)]
    each = torch.stack([d.T @ d / len(d) for d in designs if len(d)])
    upper = torch.triu_indices(count, count, 1)
    pairs = each[:, upper[0], upper[1]]
    off = (pairs.mean(0) - pairs.mean()).abs() / (pairs.std(0).max() / len(pairs) ** 0.5 + 1e-9)
    worst = int(off.argmax())
    assert float(off.max()) <= 5, f"features {int(upper[0, worst])} and {int(upper[1, worst])} are together more or less often"


@check()
def sizes_vary(s: PartSubject) -> None:
    """There are coalitions with few and with many features, so that contributions can be told apart."""
    sizes = _drawn(s, 10, 200).sum(1)
    assert len(sizes.unique()) > 1, f"all coalitions have {int(sizes[0])} features"


@check()
def comes_in_blocks(s: PartSubject) -> None:
    """A design that is too large for memory comes in blocks that are not, as they are asked for."""
    first = next(iter(s(2_000, 10_000, torch.Generator().manual_seed(0))), torch.empty(0))
    assert first.numel() <= _BLOCK, f"the first block has {first.numel()} entries; yield smaller ones"
