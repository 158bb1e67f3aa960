"""Values of coalitions that were asked for already."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import numpy as np
import torch
from torch import Tensor

Keys: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def _keys(coalitions: Tensor, draws: Tensor | None) -> Keys:
    """One number, or string of bytes, for each coalition and draw; equal where these are."""
    packed = np.packbits(coalitions.numpy(), axis=1)
    if draws is not None:
        packed = np.concatenate([packed, draws.numpy().astype(np.int64)[:, None].view(np.uint8)], axis=1)
    if packed.shape[1] <= 8:
        padded = np.zeros((len(packed), 8), np.uint8)
        padded[:, : packed.shape[1]] = packed
        return padded.view(np.uint64).reshape(-1)
    return np.ascontiguousarray(packed).view(f"S{packed.shape[1]}").reshape(-1)


def _firsts(keys: Keys) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The numbers of those that come first, in order, and for each of them which of these it equals."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.sort(order[new])
    if len(first) == len(keys):
        return first, first
    places = np.empty(len(keys), np.intp)
    places[order] = np.searchsorted(first, order[new])[np.cumsum(new) - 1]
    return first, places


@attrs.define
class Memory:
    """Keeps the value of each coalition (and draw), so that none is asked for twice."""

    _known: Keys | None = None
    _values: Tensor | None = None

    def news(self, coalitions: Tensor, draws: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which of the coalitions are new, in their order, and where each of them is, or will be, among all that are known."""
        keys = _keys(coalitions, draws)
        before = 0 if self._known is None else len(self._known)
        every = keys if self._known is None else np.concatenate([self._known, keys])
        first, places = _firsts(every)  # of what is known first, as it came
        self._known = every[first]
        return torch.from_numpy(first[before:] - before), torch.from_numpy(places[before:])

    def add(self, values: Tensor) -> Tensor:
        """Keep the values of what was new; returns all."""
        self._values = values if self._values is None else torch.cat([self._values, values])
        return self._values

    def forget(self, count: int) -> None:
        """What was new, but the first ``count``, got no value."""
        have = 0 if self._values is None else len(self._values)
        self._known = None if self._known is None else self._known[: have + count]
