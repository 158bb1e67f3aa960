"""Memory: how much one pass may take, and what running out of it looks like."""

from __future__ import annotations

import os

import torch

from attrkit.errors import UsageError

_CPU_BYTES = 2**30
_SAID = (  # by allocators whose errors have no class of their own
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def memory_cap(device: torch.device) -> int:
    """The bytes that one pass may take: half of a GPU's free memory; on a CPU, ATTRKIT_MEMORY bytes or one GiB.

    Raises:
        UsageError: ATTRKIT_MEMORY is no positive number.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 2
    text = os.environ.get("ATTRKIT_MEMORY", str(_CPU_BYTES))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"ATTRKIT_MEMORY must be a number of bytes, got {text!r}")
    return int(text)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


def give_back(device: torch.device) -> None:
    """Hand what torch holds but does not use back to the device, in pieces of whatever size."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
