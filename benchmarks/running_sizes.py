"""Whether the rows of a pass that attrkit chooses are as fast as the best fixed number of them."""

import copy
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import torch

import attrkit
from benchmarks.measuring import SAMPLE, WARM_CALLS, _timed
from benchmarks.running_models import SMALL, Net, small

HEAD = (
    *("case", "best fixed", "within 10 % of it", "chosen", "chosen / best", "bar", "", "first call: chosen / best"),
    "a call at the best",
)
SIZES = tuple(2**i for i in range(11))
BAR = 1.1
_TARGET = 1
_CPU = torch.device("cpu")
_NEAR = 1.3  # sizes slower than that at their first turn are out
_METHODS: dict[str, dict[str, Any]] = {"integrated_gradients": {"n_steps": 128}, "feature_ablation": {}}

TEXT = f"""\
What chooses itself is compared with the best fixed `internal_batch_size` among the powers of two up to {SIZES[-1]}. All
sizes take turns first, and those within {_NEAR:g} times the fastest go on; the one with the least median is the best.
Then several copies of the model, about which nothing is known, are explained {WARM_CALLS} times each, and after that in turns
with and without the best size: *chosen / best* is the median of these rounds' ratios of processor time. *Chosen* are the
most rows that a pass then had, of each copy. The first call of a copy is compared with the first call of another copy at the
best size; both find out how points may share a pass. Integrated gradients take 128 steps for two examples, feature ablation
removes 512 features of one."""


@attrs.frozen
class Found:
    """What was measured of a case: seconds by fixed size, rows chosen by copies of the model, ratios to the best size."""

    case: str
    fixed: dict[int, float]
    chosen: tuple[int, ...]
    later: tuple[float, ...]
    first: tuple[float, ...]

    @property
    def best(self) -> int:
        """The fastest fixed size."""
        return min(self.fixed, key=lambda size: self.fixed[size])

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        least, ratio = self.fixed[self.best], statistics.median(self.later)
        near = [size for size, seconds in self.fixed.items() if seconds <= BAR * least]
        verdict = "pass" if ratio <= BAR else "**FAIL**"
        chosen = ", ".join(map(str, self.chosen))
        numbers = [f"{ratio:.2f}", f"≤ {BAR:g}", verdict, f"{statistics.median(self.first):.2f}", f"{1e3 * least:.1f} ms"]
        return [self.case, f"{self.best}", f"{min(near)} to {max(near)}", chosen, *numbers]


@attrs.define
class _Copy:
    """A copy of a net about which nothing has been learnt, and how many rows its passes had."""

    net: Net
    method: str
    seen: list[int] = attrs.field(factory=list)

    @classmethod
    def of(cls, net: Net, method: str) -> "_Copy":
        copied = cls(attrs.evolve(net, model=copy.deepcopy(net.model)), method)
        copied.net.model.register_forward_pre_hook(lambda _, args: copied.seen.append(len(args[0])))
        return copied

    def call(self, rows: int | None = None) -> Any:
        net, options = self.net, dict(_METHODS[self.method])
        if self.method == "feature_ablation":
            net, options["feature_mask"] = net.first(1), net.mask
        given: dict[str, Any] = {"target": _TARGET, "additional_forward_args": net.extra or None, "internal_batch_size": rows}
        return attrkit.explain(net.model, net.x, self.method, **given, **options)

    def seconds(self, rows: int | None = None, repeats: int = 1) -> float:
        return _timed(partial(self.call, rows), repeats, _CPU)


def measured(rounds: int, copies: int, only: str = "") -> Iterator[Found]:
    """Each case whose name contains ``only``."""
    for name in SMALL:
        net = small(name)
        for method in _METHODS:
            if only in (case := f"{name}: {method}"):
                yield _measured(case, net, method, rounds, copies)


def _measured(case: str, net: Net, method: str, rounds: int, copies: int) -> Found:
    surveyed = _Copy.of(net, method)
    surveyed.call(SIZES[-1])
    fixed = _survey(surveyed, rounds)
    best = min(fixed, key=lambda size: fixed[size])
    repeats = max(1, int(SAMPLE / fixed[best]))
    learners, first = list[_Copy](), list[float]()
    for _ in range(copies):
        learner, other = _Copy.of(net, method), _Copy.of(net, method)
        first.append(learner.seconds() / other.seconds(best))
        for _ in range(WARM_CALLS - 1):
            learner.call()
        learners.append(learner)
    later = [_ratio(learners[i % copies], best, repeats, turned=i // copies % 2 == 1) for i in range(rounds * copies)]
    return Found(case, fixed, tuple(map(_rows, learners)), tuple(later), tuple(first))


def _survey(surveyed: _Copy, rounds: int) -> dict[int, float]:
    """The median seconds of each size that is not far from the best."""
    seconds = {size: [surveyed.seconds(size)] for size in SIZES}
    near = [size for size in SIZES if seconds[size][0] <= _NEAR * min(map(min, seconds.values()))]
    for _ in range(rounds):
        for size in near:
            seconds[size].append(surveyed.seconds(size, max(1, int(SAMPLE / seconds[size][0]))))
        near = near[1:] + near[:1]
    return {size: statistics.median(seconds[size][1:]) for size in sorted(near)}


def _ratio(learner: _Copy, best: int, repeats: int, *, turned: bool) -> float:
    """The seconds of a call that chooses over those of a call at the best size, one after the other."""
    pair = [learner.seconds(rows, repeats) for rows in ((best, None) if turned else (None, best))]
    chosen, fixed = reversed(pair) if turned else pair
    return chosen / fixed


def _rows(learner: _Copy) -> int:
    learner.seen.clear()
    learner.call()
    return max(learner.seen)
