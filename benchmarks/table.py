"""The report: one table per model, and what it was measured on."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import attrs
import torch

from benchmarks.cases import Bar
from benchmarks.measuring import Cost
from benchmarks.models import EXAMPLES

_AGREEMENT = 1e-3  # relative; what float32 sums in another order stay far below
_HEAD = ("case", "attrkit / raw", "attrkit / Captum", "Captum / raw", "raw", "bar for attrkit", "", "difference")
_METHOD = """\
The models have random weights. *mlp* has three linear layers and passes so short that Python decides, not arithmetic; *cnn*
four convolutions, on images of 32 x 32; *resnet* is ResNet-18, on images of 64 x 64; *bert* and *llama* have six blocks of
width 256 and read 32 positions. "Blocks" are four places: of *mlp* the first four modules; of *cnn* the first convolution,
the first pooling, the third convolution, the last pooling; of *resnet* its stages; of *bert* and *llama* the first, third,
fourth and sixth block. The early layer is the first one of *mlp* and *cnn*, the stem of *resnet*, the first block of *bert*
and *llama*. Methods of a single pass explain as many examples: {batches}. Methods of many passes or targets explain the first
of them: {few}.

All sides run in one process, on the same model and the same batch: attrkit, Captum with the same arguments, and *raw*, the
passes written by hand: one batched `autograd.grad(out[:, t].sum(), x)`, a plain hook where a layer is looked at, one pass for
all layers where there are several, one forward pass for all targets. Captum loops where it has no call for many layers
(conductance) or targets. Only the case that names the rows of a pass bounds them, for attrkit and raw, not for Captum.

After {warm} calls to warm attrkit up, and one of the others, the sides take turns; one sample is as many calls as last
{sample} ms. Ratios are time / memory. Time is {clock}; its ratio is the median of the rounds'
ratios. Memory is the exact peak of what torch allocates in a call, beyond what was there before. The column *raw* says what
its ratios are to.
*Difference* is the largest between the results of attrkit and Captum, relative to the largest entry; more than {agreement:g}
stands in bold, unless the two need not be the same. A bar is for time, or for time / memory, against the side that it names."""


@attrs.frozen
class Row:
    """What was measured of one case; ``failure`` says why nothing was."""

    case: str
    costs: Mapping[str, Cost] = attrs.field(factory=dict)
    bar: Bar | None = None
    difference: float = 0.0
    differs: str = ""
    failure: str = ""

    @property
    def met(self) -> bool:
        """Whether attrkit is within the bar, if there is one."""
        return self.bar is None or self.bar.met(*self.costs["attrkit"].over(self.costs[self.bar.against]))


def line(row: Row) -> str:
    """One row of a table."""
    if row.failure:
        return _cells([row.case, row.failure, *[""] * (len(_HEAD) - 2)])
    ours, captum, raw = (row.costs[side] for side in ("attrkit", "captum", "raw"))
    verdict = "" if row.bar is None else "pass" if row.met else "**fail**"
    ratios = [_ratio(ours.over(raw)), _ratio(ours.over(captum)), _ratio(captum.over(raw))]
    return _cells([row.case, *ratios, _absolute(raw), _bar(row.bar), verdict, _difference(row)])


def head() -> str:
    """The first two lines of a table."""
    return f"{_cells(_HEAD)}\n{_cells('---' for _ in _HEAD)}"


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _ratio(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def _absolute(cost: Cost) -> str:
    return f"{1e3 * sorted(cost.seconds)[len(cost.seconds) // 2]:.2f} ms / {cost.bytes / 2**10:,.0f} KiB"


def _bar(bar: Bar | None) -> str:
    if bar is None:
        return ""
    memory = "" if bar.memory is None else f" / {bar.memory:g}"
    return f"≤ {bar.time:.3g}{memory} {'Captum' if bar.against == 'captum' else bar.against}"


def _difference(row: Row) -> str:
    if row.differs:
        return f"{row.difference:.0e} ({row.differs})"
    return f"{row.difference:.0e}" if row.difference <= _AGREEMENT else f"**{row.difference:.0e}**"


def report(tables: Mapping[str, Sequence[Row]], device: torch.device, *, warm: int, sample: float) -> str:
    """The whole document."""
    clock = "processor time of the process" if device.type == "cpu" else "wall time, with the GPU synchronised"
    batches, few = (", ".join(f"{size[i]} ({name})" for name, size in EXAMPLES.items()) for i in range(2))
    given = {"warm": warm, "sample": f"{1e3 * sample:g}", "clock": clock, "agreement": _AGREEMENT}
    method = _METHOD.format(**given, batches=batches, few=few)
    parts = ["# Benchmarks", "Written by `python -m benchmarks --write`; do not edit.", _place(device), "## Method", method]
    for name, rows in tables.items():
        parts += [f"## {name}", "\n".join([head(), *map(line, rows)])]
    return "\n\n".join(parts) + "\n"


def _place(device: torch.device) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("attrkit", "captum", "torch", "transformers"))
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {os.cpu_count()} cores"
    today = datetime.now(tz=UTC).date().isoformat()
    return f"{today}; {machine}, one thread, {platform.system()}; Python {platform.python_version()}, {packages}."


def _processor() -> str:
    """The processor's name, which Python itself does not know on Linux."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
