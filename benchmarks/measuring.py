"""Time, memory and agreement of calls that are compared in one process."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Call = Callable[..., Any]  # called without arguments; a case may fix more of them first
WARM_CALLS = 4  # of attrkit, which learns over the first calls how many rows a pass should have; of the others one
SAMPLE = 0.05  # seconds that one sample lasts at least: what begins cold, after another side, is a small part of it
_FEWEST_ROUNDS = 3


@attrs.frozen
class Cost:
    """Seconds of each round, one after the other with those of the calls it is compared with, and the peak of memory."""

    seconds: tuple[float, ...]
    bytes: int

    def over(self, other: "Cost") -> tuple[float, float]:
        """Time and memory as ratios to another call's: the median of the rounds' ratios, and the ratio of the peaks."""
        ratios = [mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios), self.bytes / max(1, other.bytes)


def costs(calls: Mapping[str, Call], device: torch.device, rounds: int, limit: float) -> dict[str, Cost]:
    """What each call costs; fewer rounds where they would take longer than ``limit`` seconds together."""
    repeats = {name: _warmed(call, device, WARM_CALLS if name == "attrkit" else 1) for name, call in calls.items()}
    gc.collect()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, deadline = list(calls), time.monotonic() + limit
    for done in range(rounds):
        if done >= _FEWEST_ROUNDS and time.monotonic() > deadline:
            break
        for name in order:
            seconds[name].append(_timed(calls[name], repeats[name], device))
        order = order[1:] + order[:1]  # so that none always follows the same one
    # memory last, because what measures it slows calls down, and attrkit's learning must not see that
    return {name: Cost(tuple(seconds[name]), peak(call, device)) for name, call in calls.items()}


def _warmed(call: Call, device: torch.device, times: int) -> int:
    """Call often enough to settle; return how many calls make one sample."""
    for _ in range(times):
        call()
    return max(1, int(SAMPLE / _timed(call, 1, device)))


def _timed(call: Call, repeats: int, device: torch.device) -> float:
    """Seconds per call: of the process on the CPU, where others share the machine; of the clock where a GPU works meanwhile."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _synchronise(device)
    started = clock()
    for _ in range(repeats):
        call()
    _synchronise(device)
    return max(1e-9, clock() - started) / repeats


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(call: Call, device: torch.device) -> int:
    """The most bytes of torch's memory that were in use at one moment of a call, beyond those in use before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        _synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    changes = [(e.start_ns(), e.nbytes()) for e in _events(profiler) if e.name() == "[memory]"]
    most = used = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        used += change
        most = max(most, used)
    return most


def _events(profiler: profile) -> list[Any]:
    """Every allocation and release among other events; the profiler's own tables only give sums per operation."""
    results = profiler.profiler and profiler.profiler.kineto_results
    return results.events() if results else []


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two results, relative to the largest entry of each tensor."""
    pairs = zip(_tensors(found), _tensors(expected), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)


def _tensors(result: Any) -> list[Tensor]:
    """The tensors in what a method returned: tensors, tuples, lists, or explanations of these."""
    if isinstance(result, Tensor):
        return [result.detach()]
    if not isinstance(result, list | tuple):
        result = tuple(result.values.values())
    return [tensor for part in result for tensor in _tensors(part)]
