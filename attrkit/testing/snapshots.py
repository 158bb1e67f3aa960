"""What an explanation must leave as it was: snapshots of a model and of everything around it, compared place by place.

A snapshot is a flat dictionary from a place's name to what is there.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

with suppress(ImportError):
    import_module("sympy")  # which torch imports when it first needs it, and which adds a filter of warnings

#: Where classes are from whose objects are not looked into.
_SEALED = {"builtins", "functools", "logging", "threading", "_thread", "weakref", "enum", "torch"}


class Bits:
    """The contents of a tensor; equal bit for bit, NaN included."""

    def __init__(self, tensor: Tensor) -> None:
        self.known = tensor.device.type != "meta" and tensor.layout is torch.strided
        self.bytes = (
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).clone() if self.known else tensor.new_empty(0)
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Bits) and self.known is other.known and (not self.known or torch.equal(self.bytes, other.bytes))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<values>"


class Same:
    """A reference; equal to itself only. It keeps its object alive, so that no other takes its id."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self.value).__name__}>"


class Started:
    """Threads that run; equal to others if none of those was started since."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Started) and other.threads <= self.threads

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return ", ".join(sorted(thread.name for thread in self.threads))


class Names:
    """Which objects a namespace holds under which names."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.held = {name: value for name, value in namespace.items() if name != "__slotnames__"}  # which pickle adds

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Names) and self.held.keys() == other.held.keys()
        return same and all(value is other.held[name] for name, value in self.held.items())  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<names>"


class Snapshot(dict[str, Any]):
    """What is at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.met: set[int] = set()  # objects that were looked into; ``Same`` keeps them alive


def _tensor(place: str, tensor: Tensor, into: Snapshot) -> None:
    into[place] = Same(tensor)
    into[f"{place}.values"] = Bits(tensor)
    into[f"{place}.shape"] = (tensor.shape, tensor.dtype, tensor.device, tensor.layout)
    if tensor.layout is torch.strided:
        into[f"{place}.data_ptr()"] = tensor.data_ptr()
        into[f"{place}.stride()"] = (tensor.stride(), tensor.storage_offset())
    into[f"{place}.requires_grad"] = tensor.requires_grad
    into[f"{place}.grad_fn"] = Same(tensor.grad_fn)
    if not tensor.is_inference():
        into[f"{place}._version"] = tensor._version  # a write that was taken back was still seen by other threads
    for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        into[f"{place}.{hooks}"] = tuple(getattr(tensor, hooks, None) or ())
    if tensor.is_leaf:
        _record(f"{place}.grad", tensor.grad, into)


def _record(place: str, value: Any, into: Snapshot) -> None:
    """What is at ``place``, and in the containers there."""
    if isinstance(value, torch.Tensor):
        _tensor(place, value, into)
    elif isinstance(value, torch.nn.Module):
        into[place] = Same(value)
    elif isinstance(value, dict):
        into[place] = (Same(value), tuple(value))
        for key, item in value.items():
            _record(f"{place}[{key!r}]", item, into)
    elif isinstance(value, list | tuple):
        into[place] = (Same(value), len(value))
        for i, item in enumerate(value):
            _record(f"{place}[{i}]", item, into)
    elif isinstance(value, set | frozenset):
        into[place] = (Same(value), frozenset(map(id, value)))
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        into[place] = repr(value)
    else:
        _object(place, value, into)


def _object(place: str, value: Any, into: Snapshot) -> None:
    """An object, and what can change in it: attributes, as of a configuration, numbers or a state."""
    into[place] = Same(value)
    if isinstance(value, torch.Generator):
        into[f"{place}.state"] = Bits(value.get_state())
    elif isinstance(value, np.ndarray):
        into[f"{place}.values"] = value.tobytes()
    elif type(value).__module__ not in _SEALED and id(value) not in into.met:
        into.met.add(id(value))
        for name, item in getattr(value, "__dict__", {}).items():
            _record(f"{place}.{name}", item, into)


def _model(model: nn.Module, into: Snapshot) -> None:
    """Every attribute of every module by its path: hooks, parameters, buffers, flags and what the author put there."""
    for kind in {type(module) for module in model.modules()}:
        into[f"names of class {kind.__qualname__}"] = Names(vars(kind))
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        into[f"{prefix}__class__"] = Same(type(module))
        into[f"{prefix}forward of its class"] = Same(type(module).forward)
        into[f"{prefix}__dict__"] = tuple(vars(module))
        for name, value in vars(module).items():
            if name in {"_parameters", "_buffers"}:
                into[f"{prefix}{name}"] = (Same(value), tuple(value))
                for key, tensor in value.items():
                    _record(f"{prefix}{key}", tensor, into)
            else:
                _record(f"{prefix}{name}", value, into)


def _surroundings(into: Snapshot) -> None:
    """The state of torch, numpy and Python that an explanation must not move."""
    into["torch's generator"] = Bits(torch.get_rng_state())
    if torch.cuda.is_initialized():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            into[f"the generator of cuda:{i}"] = Bits(state)
    into["numpy's generator"] = repr([np.asarray(part).tobytes() for part in np.random.get_state(legacy=True)])
    into["Python's generator"] = random.getstate()
    into["grad mode"] = torch.is_grad_enabled()
    into["inference mode"] = torch.is_inference_mode_enabled()
    into["anomaly mode"] = torch.is_anomaly_enabled()
    into["default dtype"] = torch.get_default_dtype()
    into["deterministic algorithms"] = torch.are_deterministic_algorithms_enabled()
    into["default device"] = torch.get_default_device()
    into["threads of torch"] = torch.get_num_threads()
    into["float32 matmul precision"] = torch.get_float32_matmul_precision()
    into["backends' flags"] = _backends()
    into["function modes"] = torch._C._len_torch_function_stack()
    into["dispatch modes"] = torch._C._len_torch_dispatch_stack()
    saved = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]
    hooks = saved._top_saved_tensors_default_hooks(True)  # noqa: FBT003 - torch's own signature
    into["saved tensors' hooks"] = tuple(map(Same, hooks or ()))
    into["level of torch.func"] = torch._C._functorch.maybe_current_level()  # pyright: ignore[reportAttributeAccessIssue]
    into["level of forward-mode derivatives"] = forward_ad._current_level
    for device in ("cpu", "cuda"):
        into[f"autocast on {device}"] = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
    into["autocast's cache"] = torch.is_autocast_cache_enabled()
    for place in (nn.Module, Tensor, torch.nn.functional):
        into[f"names of {place.__name__}"] = Names(vars(place))
    into["warnings' filters"] = tuple(warnings.filters)
    into["warnings.showwarning"] = Same(warnings.showwarning)
    into["numpy's handling of errors"] = tuple(np.geterr().items())
    into["threads"] = Started()
    into["profiling and tracing"] = (Same(sys.getprofile()), Same(sys.gettrace()))
    into["limit of recursion"] = sys.getrecursionlimit()
    into["hooks of sys"] = (Same(sys.excepthook), Same(threading.excepthook), Same(sys.stdout), Same(sys.stderr))
    into["garbage collection"] = gc.isenabled()
    own = "TORCHINDUCTOR_"  # torch sets these when its compiler is imported
    into["environment"] = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    for name, value in vars(torch_module).items():
        if name.startswith("_global_"):
            _record(f"torch.nn.modules.module.{name}", value, into)


def _backends() -> tuple[Any, ...]:
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    sdp = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled())
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, torch.backends.mkldnn.enabled, sdp


def _snapshot(subjects: Iterable[tuple[str, Any]]) -> Snapshot:
    found = Snapshot()
    for name, subject in subjects:
        if isinstance(subject, torch.nn.Module):
            _model(subject, found)
        else:
            _record(name, subject, found)
    _surroundings(found)
    return found


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """One line for each place that changed; what lies inside a container that changed goes without saying."""
    missing = Same(object())
    changed = [place for place in {**before, **after} if before.get(place, missing) != after.get(place, missing)]
    for place in changed:
        if not any(place != outer and place.startswith((f"{outer}[", f"{outer}.")) for outer in changed):
            was, now = (str(state.get(place, "nothing")) for state in (before, after))
            yield f"{place}: was {was}, is {now}" if was != now and len(was + now) < 200 else f"{place}: not what it was"


@contextmanager
def untouched(model: nn.Module, *inputs: Tensor) -> Iterator[None]:
    """A block that fails if it leaves anything different, also where it raises.

    Compared bit for bit: every attribute of every module (hooks, parameters, gradients, buffers, flags), the inputs, the
    global hooks of torch, the random generators, and the modes that a thread is in.

    Raises:
        AssertionError: something changed; the message names each place.
    """
    subjects = [("model", model), *((f"inputs[{i}]", x) for i, x in enumerate(inputs))]
    before = _snapshot(subjects)
    try:
        yield
    finally:
        if lines := list(_differences(before, _snapshot(subjects))):
            raise AssertionError("not left as it was:\n  " + "\n  ".join(lines))
