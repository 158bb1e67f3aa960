"""What pays only sometimes, and is switched on by those for whom it does: how much faster, and how far off."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import attrs
import torch
from torch import nn

import attrkit
from benchmarks.measuring import costs, difference
from benchmarks.running_models import Net, small

HEAD = ("case", "plain", "compiled=True: times faster", "torch.autocast: times faster", "channels_last: times faster")
_MODELS = ("cnn", "residual", "bert")
_METHODS: dict[str, dict[str, Any]] = {"integrated_gradients": {"n_steps": 128}, "feature_ablation": {}}
_TARGET, _ROWS, _SECONDS = 1, 64, 60.0
_CPU = torch.device("cpu")

TEXT = f"""\
On one thread of this CPU, in passes of {_ROWS} rows; medians of ratios of processor time of calls in turns. In brackets the
largest difference from what plain passes give, relative to the largest attribution. What compiling takes, up to a minute the
first time, is not in it. Autocast is `with torch.autocast("cpu", torch.bfloat16)` around the call; `channels_last`, of model
and inputs, is for images. There is no bar: what pays depends on the model and the machine."""


@attrs.frozen
class Switched:
    """Seconds of plain passes, and for each switch how many times faster it is, and how far off."""

    case: str
    plain: float
    faster: dict[str, tuple[float, float]]

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        found = [self.faster.get(switch) for switch in ("compiled", "autocast", "channels_last")]
        texts = ["" if f is None else f"{f[0]:.2f} ({f[1]:.0e})" for f in found]
        return [self.case, f"{1e3 * self.plain:.0f} ms", *texts]


def measured(rounds: int, only: str = "") -> Iterator[Switched]:
    """Each case whose name contains ``only``."""
    for name in _MODELS:
        for method in _METHODS:
            if only in (case := f"{name}: {method}"):
                net = small(name)
                yield _measured(case, net.first(1) if method == "feature_ablation" else net, method, rounds)


def _measured(case: str, net: Net, method: str, rounds: int) -> Switched:
    options = _METHODS[method] | ({"feature_mask": net.mask} if method == "feature_ablation" else {})

    def call(
        model: nn.Module, x: torch.Tensor, around: AbstractContextManager[Any] | None = None, *, compiled: bool = False
    ) -> Any:
        given: dict[str, Any] = {"target": _TARGET, "additional_forward_args": net.extra or None, "internal_batch_size": _ROWS}
        with around or nullcontext():
            return attrkit.explain(model, x, method, compiled=compiled, **given, **options)

    calls = {
        "plain": partial(call, net.model, net.x),
        "compiled": partial(call, deepcopy(net.model), net.x, compiled=True),
        "autocast": partial(call, deepcopy(net.model), net.x, torch.autocast("cpu", torch.bfloat16)),
    }
    if net.x.dim() == 4:
        last: dict[str, Any] = {"memory_format": torch.channels_last}
        calls["channels_last"] = partial(call, deepcopy(net.model).to(**last), net.x.to(**last))
    results = {switch: run() for switch, run in calls.items()}
    took = costs(calls, _CPU, rounds, _SECONDS)
    faster = {
        switch: (took["plain"].over(took[switch])[0], difference(results[switch], results["plain"]))
        for switch in calls
        if switch != "plain"
    }
    return Switched(case, min(took["plain"].seconds), faster)
