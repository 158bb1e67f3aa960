"""Whether several replicas on one machine are worth their while."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch

import attrkit
from benchmarks.running_models import SMALL, Net, small

HEAD = (
    *("case", "serial", "two threads of torch: times faster", "two replicas: times faster", "processor time / serial"),
    *("worth it", "same bits"),
)
_TARGET, _ROWS = 1, 32
_METHODS: dict[str, dict[str, Any]] = {"integrated_gradients": {"n_steps": 128}, "feature_ablation": {}}
_FASTER, _SLOWER = 1.1, 0.95

TEXT = f"""\
`device=["cpu", "cpu"]` makes two replicas, each in a thread of its own with one thread of torch, and is compared with the same
call in serial on one thread, and with that on two threads of torch, which is what torch does by itself. Passes have {_ROWS}
rows. *Times faster* is by the clock, so other work on the machine shows in it; the medians of ratios of calls in turns.
Python runs one thread at a time, so that models whose operations are short gain nothing. There is no bar."""


@attrs.frozen
class Times:
    """Seconds of each call in serial, and the ratios to them of the others."""

    case: str
    serial: float
    threaded: float
    replicated: float
    processor: float
    same: bool

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        best = max(1.0, self.threaded)
        word = "yes" if self.replicated >= _FASTER * best else "no" if self.replicated < _FASTER else "as torch's threads"
        word = "no, slower" if self.replicated < _SLOWER else word
        numbers = [f"{self.threaded:.2f}", f"{self.replicated:.2f}", f"{self.processor:.2f}"]
        return [self.case, f"{1e3 * self.serial:.0f} ms", *numbers, word, "yes" if self.same else "**no**"]


def measured(rounds: int, only: str = "") -> Iterator[Times]:
    """Each case whose name contains ``only``."""
    for name in SMALL:
        net = small(name)
        for method in _METHODS:
            if only in (case := f"{name}: {method}"):
                yield _measured(case, net, method, rounds)


def _measured(case: str, net: Net, method: str, rounds: int) -> Times:
    if method == "feature_ablation":
        net = net.first(1)
    options = _METHODS[method] | ({"feature_mask": net.mask} if method == "feature_ablation" else {})

    def call(devices: list[str] | None = None) -> Any:
        given: dict[str, Any] = {"target": _TARGET, "additional_forward_args": net.extra or None, "internal_batch_size": _ROWS}
        return attrkit.explain(net.model, net.x, method, device=devices, **given, **options)

    def threaded() -> Any:
        torch.set_num_threads(2)
        try:
            return call()
        finally:
            torch.set_num_threads(1)

    sides: Mapping[str, Callable[[], Any]] = {"serial": call, "threaded": threaded, "replicated": lambda: call(["cpu", "cpu"])}
    results = {side: run() for side, run in sides.items()}
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            taken[side].append(_timed(run))
    wall = {side: [clock for clock, _ in pairs] for side, pairs in taken.items()}
    pairs = zip(taken["replicated"], taken["serial"], strict=True)
    same = zip(results["serial"].values.values(), results["replicated"].values.values(), strict=True)
    return Times(
        case,
        statistics.median(wall["serial"]),
        _median(wall["serial"], wall["threaded"]),
        _median(wall["serial"], wall["replicated"]),
        statistics.median(ours[1] / theirs[1] for ours, theirs in pairs),
        all(torch.equal(a, b) for a, b in same),
    )


def _median(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock, and of the process."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor
