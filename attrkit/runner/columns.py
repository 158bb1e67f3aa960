"""The gradients of several objectives from one forward pass, one after the other or together, whichever is faster."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from attrkit.protocols import Tensors
from attrkit.runner.learnt import Learnt, Race
from attrkit.runner.quiet import quiet

_TOGETHER = 16  # objectives that share a backward pass at most, because each holds a copy of what is in it


def columns(value: Tensor, at: Tensors, learnt: Learnt, site: Any) -> Tensors:
    """The gradient of each column of ``value``, shape ``(rows, columns, ...)`` for each tensor at a ``site``."""
    about = (site, *((t.shape[1:], t.dtype) for t in (value, *at)))
    if learnt.lockstep:
        return _one_by_one(value, at)
    race = learnt.races.setdefault(about, Race())
    if race.fair is None:
        return _checked(value, at, race)
    if not race.fair or (fastest := race.settled()) is False:
        return _one_by_one(value, at)
    if fastest:
        return _together(value, at)
    way = len(race.together) <= len(race.apart)
    started = time.perf_counter()
    found = (_together if way else _one_by_one)(value, at)
    (race.together if way else race.apart).append(time.perf_counter() - started)
    return found


def _checked(value: Tensor, at: Tensors, race: Race) -> Tensors:
    """The gradients found one by one, after learning whether the other way gives the same."""
    try:
        other = _together(value, at)
    except RuntimeError:  # an operation's backward pass cannot be batched
        other = ()
    found = _one_by_one(value, at)
    pairs = list(zip(other, found, strict=False))
    race.fair = bool(pairs) and all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)
    return found


def _one_by_one(value: Tensor, at: Tensors) -> Tensors:
    last = value.shape[1] - 1
    each = [_gradient(value[:, k].sum(), at, None) for k in range(last + 1)]
    return tuple(torch.stack(parts, 1) for parts in zip(*each, strict=True))


def _together(value: Tensor, at: Tensors) -> Tensors:
    """By a backward pass over a batch of cotangents, each of which is one of one column."""
    rows, count = value.shape
    units = torch.eye(count, dtype=value.dtype, device=value.device)
    parts = []
    for low in range(0, count, _TOGETHER):
        some = units[low : low + _TOGETHER]
        cotangents = some[:, None].expand(len(some), rows, count)
        parts.append(_gradient(value, at, cotangents))
    return tuple(torch.cat(found).transpose(0, 1) for found in zip(*parts, strict=True))


def _gradient(value: Tensor, at: Tensors, cotangents: Tensor | None) -> Tensors:
    with quiet():
        return torch.autograd.grad(
            value,
            at,
            cotangents,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=cotangents is not None,
        )
