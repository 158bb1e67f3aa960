"""What segmenters promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from attrkit.coalitions import NO_FEATURE, Features
from attrkit.protocols import Tensors
from attrkit.testing.declared import declared
from attrkit.testing.parts.subject import PartSubject, accepted, broadcasts, inputs_of, refused
from attrkit.testing.snapshots import untouched


def _used(s: PartSubject, options: Mapping[str, Any]) -> Any:
    """A segmenter with other options, on the first inputs that it takes with its own."""
    _, inputs = next(_settings(s))
    return PartSubject(s.spec, options)(inputs)


@lru_cache(maxsize=16)
def _takes_some(s: PartSubject) -> bool:
    """Whether it takes any inputs; else one check says why not, and there is nothing to try the others on."""
    return any(True for _ in _settings(s))


check = declared(_used, _takes_some)
CHECKS = check.found


def _ids(s: PartSubject, inputs: Tensors) -> Tensors:
    found = s(inputs)
    return found if isinstance(found, tuple) else (found,)


def _settings(s: PartSubject) -> Iterator[tuple[str, Tensors]]:
    return ((name, inputs_of(name)) for name in accepted(s))


@check()
def is_for_some_inputs(s: PartSubject) -> None:
    """Tables, images, sequences, token numbers or flags: it takes one of them, and refuses others by a UsageError."""
    if not list(_settings(s)):
        raise AssertionError(refused(s))


@check(_takes_some)
def returns_numbers_of_features(s: PartSubject) -> None:
    """An integer tensor for each tensor that broadcasts to it, its first dimension 1 or the batch."""
    for name, inputs in _settings(s):
        found = _ids(s, inputs)
        assert len(found) == len(inputs), f"{name}: returned {len(found)} tensors for {len(inputs)}"
        for ids, x in zip(found, inputs, strict=True):
            assert isinstance(ids, Tensor), f"{name}: returned {type(ids).__name__}, not a tensor"
            whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool)
            assert whole, f"{name}: returned {ids.dtype}; numbers of features are integers"
            fits = broadcasts(ids, x)
            assert fits, f"{name}: returned shape {tuple(ids.shape)}, which does not broadcast to {tuple(x.shape)}"
            assert ids.device == x.device, f"{name}: the numbers are on {ids.device}, and the tensor on {x.device}"
        Features.of(inputs, found)


@check(_takes_some)
def finds_a_feature(s: PartSubject) -> None:
    """Every example has at least one feature."""
    for name, inputs in _settings(s):
        for row in range(len(inputs[0])):
            spread = [ids.expand_as(x)[row].flatten() for ids, x in zip(_ids(s, inputs), inputs, strict=True)]
            assert bool((torch.cat(spread) != NO_FEATURE).any()), f"{name}: example {row} has no feature"


@check(_takes_some)
def gives_the_same_twice(s: PartSubject) -> None:
    """The same inputs have the same features, whatever torch's own generator does."""
    for name, inputs in _settings(s):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = _ids(s, inputs)
            torch.manual_seed(2)
            second = _ids(s, inputs)
        assert all(map(torch.equal, first, second)), f"{name}: two calls found different features"


@check(_takes_some)
def leaves_everything_alone(s: PartSubject) -> None:
    """The inputs, and the random state of torch, numpy and Python, are as they were."""
    for _, inputs in _settings(s):
        with untouched(torch.nn.Identity(), *inputs):
            s(inputs)


def _partition(ids: Tensors, like: Tensors, row: int) -> Tensor:
    """Which positions of an example are of one feature, whatever its number."""
    flat = torch.cat([i.expand_as(x)[row].flatten() for i, x in zip(ids, like, strict=True)])
    return flat[:, None] == flat


@check(_takes_some)
def examples_do_not_mix(s: PartSubject) -> None:
    """An example has the features in a batch that it has alone."""
    for name, inputs in _settings(s):
        together = _ids(s, inputs)
        for row in range(len(inputs[0])):
            one = tuple(x[row : row + 1] for x in inputs)
            same = torch.equal(_partition(together, inputs, row), _partition(_ids(s, one), one, 0))
            assert same, f"{name}: example {row} has other features in a batch than alone"


@check(_takes_some)
def takes_inputs_of_any_layout(s: PartSubject) -> None:
    """Inputs that are not contiguous are inputs like others."""
    for name, inputs in _settings(s):
        strided = tuple(x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs)
        assert all(map(torch.equal, _ids(s, strided), _ids(s, inputs))), f"{name}: inputs that are not contiguous differ"


@check(_takes_some)
def tensors_do_not_share_numbers_by_chance(s: PartSubject) -> None:
    """Two tensors of different shapes share a feature only if both are cut alike: numbers count through."""
    inputs = inputs_of("an image and a table")
    try:
        first, second = _ids(s, inputs)
    except Exception:  # noqa: BLE001 - which other checks are about
        return
    shared = set(first.unique().tolist()) & set(second.unique().tolist()) - {NO_FEATURE}
    assert not shared, f"feature {min(shared)} is in the image and in the table, which have nothing in common; count through"
