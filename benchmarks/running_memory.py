"""Whether memory depends on how many steps or samples there are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import torch

import attrkit
from benchmarks.measuring import WARM_CALLS, peak
from benchmarks.running_models import Net, small

NUMBERS = (64, 192, 576)
HEAD = ("case", *(f"{n}" for n in NUMBERS), "most / least", "bar", "")
_TARGET, _ROWS = 1, 16
_CAP = 64 * 2**20
_FLAT = 1.1
_JOINED = 8  # of a net's features are one here: what Kernel SHAP keeps of its coalitions is little beside a pass
_CPU = torch.device("cpu")
_METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("integrated_gradients", "n_steps", {}),
    ("kernel_shap", "n_samples", {"estimator": "leverage"}),
    ("noise_tunnel(saliency)", "nt_samples", {}),
)

TEXT = f"""\
The peak of what torch allocates in a call, beyond what was there before, in MiB, for {", ".join(map(str, NUMBERS))} steps or
samples and two examples. With {_ROWS} rows in a pass it must stay the same. Where attrkit chooses, the most rows that it may
choose follow from `ATTRKIT_MEMORY`, here {_CAP // 2**20} MiB: below that a call of many passes may take more than one of a
single pass, but not more than the cap. Kernel SHAP keeps its coalitions, of 64 features, and what they came to: some hundred
bytes each."""


@attrs.frozen
class Peaks:
    """The peak of each number of steps or samples, and the bar: the most bytes, or None for all the same."""

    case: str
    bytes: tuple[int, ...]
    most: int | None

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        ratio, most = max(self.bytes) / min(self.bytes), max(self.bytes)
        met = ratio <= _FLAT if self.most is None else most <= self.most
        bar = f"≤ {_FLAT:g}" if self.most is None else f"≤ {self.most / 2**20:.0f} MiB"
        return [self.case, *(f"{b / 2**20:.1f}" for b in self.bytes), f"{ratio:.2f}", bar, "pass" if met else "**FAIL**"]


def measured(only: str = "") -> Iterator[Peaks]:
    """The peaks of each case whose name contains ``only``."""
    with _capped(_CAP):
        for name in ("cnn", "bert"):
            for method, number, options in _METHODS:
                for rows in (_ROWS, None):
                    case = f"{name}: {method}, {f'{rows} rows' if rows else 'chosen'}"
                    if only in case:
                        yield _peaks(case, small(name), method, number, options, rows)


def _peaks(case: str, net: Net, method: str, number: str, options: dict[str, Any], rows: int | None) -> Peaks:
    def call(count: int) -> Any:
        given: dict[str, Any] = {number: count, "target": _TARGET, "internal_batch_size": rows, **options}
        if method == "kernel_shap" and net.mask is not None:
            given["feature_mask"] = net.mask // _JOINED
        return attrkit.explain(net.model, net.x, method, additional_forward_args=net.extra or None, **given)

    for _ in range(WARM_CALLS):
        call(NUMBERS[-1])
    return Peaks(case, tuple(peak(partial(call, count), _CPU) for count in NUMBERS), None if rows else _CAP)


@contextmanager
def _capped(cap: int) -> Iterator[None]:
    before = os.environ.get("ATTRKIT_MEMORY")
    os.environ["ATTRKIT_MEMORY"] = str(cap)
    try:
        yield
    finally:
        del os.environ["ATTRKIT_MEMORY"]
        if before is not None:
            os.environ["ATTRKIT_MEMORY"] = before
