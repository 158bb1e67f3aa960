"""Devices as people name them: one or several, for replicas of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from attrkit.errors import UsageError, UsageTypeError

DeviceLike: TypeAlias = "str | int | torch.device"


def devices_of(given: Any) -> tuple[torch.device, ...]:
    """The devices of ``device=``: a name, an index, a ``torch.device``, or a list of these; none for None.

    Raises:
        UsageTypeError: it is something else.
        UsageError: a name is not known to torch, or there is no such device on this machine.
    """
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        return (_device(given),)
    if not given:
        raise UsageError("device: an empty list names no device; give at least one, or leave it out")
    return tuple(map(_device, given))


def _device(given: Any) -> torch.device:
    if not isinstance(given, str | torch.device | int) or isinstance(given, bool):
        raise UsageTypeError(f"device must be a name like 'cuda:0', a torch.device, or a list of these, got {given!r}")
    try:
        device = torch.device(given)
    except RuntimeError:
        raise UsageError(f"device: torch knows no device {given!r}; names are like 'cpu' and 'cuda:0'") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        device = torch.device("cuda", torch.cuda.current_device() if device.index is None and count else device.index or 0)
        if device.index >= count:
            raise UsageError(f"device: there is no {str(device)!r} on this machine, which has {count} CUDA devices")
    if device.type == "meta":
        raise UsageError("device: tensors on 'meta' hold no values, so that nothing can be computed there")
    return torch.device(device.type) if device.type == "cpu" else device
