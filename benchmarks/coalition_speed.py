"""What coalition methods cost, as ratios to plain forward passes over as many rows that are built already, and to Captum."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import Any

import attrs
import captum.attr
import torch
from torch import Tensor, nn

import attrkit.attr
from benchmarks.measuring import SAMPLE, WARM_CALLS, Call
from benchmarks.models import _Block, _Embedded
from benchmarks.running_models import Net

_TARGET = 1
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # of raw batches, of which the best is taken
PER_EVAL = (16, 64, 256)  # of Captum's, likewise
_FEWEST_ROUNDS = 3


@attrs.frozen
class Case:
    """A method: the calls of attrkit and of Captum, and how many rows of the model it takes for each example."""

    name: str
    net: Net
    calls: Callable[[], tuple[Call, Call]]  # Captum's takes perturbations_per_eval
    rows: int
    most: float | None = None  # the bar for the ratio to the raw passes
    faster: float | None = None  # the bar for Captum's time as a ratio to attrkit's
    per_eval: tuple[int, ...] = PER_EVAL
    rounds: int | None = None


@attrs.frozen
class Times:
    """Seconds of each round, of the process and of the clock."""

    processor: tuple[float, ...]
    wall: tuple[float, ...]

    def over(self, other: "Times") -> tuple[float, float]:
        """The medians of the rounds' ratios, of the processor's time and of the clock's."""
        sides = (self.processor, other.processor), (self.wall, other.wall)
        first, second = (statistics.median(a / b for a, b in zip(*side, strict=True)) for side in sides)
        return first, second


# Measuring.


def in_turns(calls: Mapping[str, Call], rounds: int, seconds: float) -> dict[str, Times]:
    """The calls' times, one after the other in each round; fewer rounds where they would take longer than ``seconds``."""
    repeats = {name: _warmed(call, WARM_CALLS if name == "attrkit" else 1) for name, call in calls.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    order, deadline = list(calls), time.monotonic() + seconds
    for done in range(rounds):
        if done >= _FEWEST_ROUNDS and time.monotonic() > deadline:
            break
        for name in order:
            found[name].append(_timed(calls[name], repeats[name]))
        order = order[1:] + order[:1]  # so that none always follows the same one
    return {name: Times(*map(tuple, zip(*pairs, strict=True))) for name, pairs in found.items()}


def _warmed(call: Call, times: int) -> int:
    for _ in range(times):
        call()
    return max(1, int(SAMPLE / _timed(call, 1)[0]))


def _timed(call: Call, repeats: int) -> tuple[float, float]:
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        call()
    return max(1e-9, time.process_time() - processor) / repeats, max(1e-9, time.perf_counter() - wall) / repeats


def _best(made: Callable[[int], Call], sizes: Iterator[int]) -> Call:
    """The fastest of the calls that are made for each of some sizes."""
    first, *others = [made(size) for size in sizes]
    return min([first, *others], key=lambda call: (call(), min(_timed(call, 1)[0] for _ in range(2)))[1]) if others else first


def raw(net: Net, rows: int) -> Call:
    """Forward passes over so many rows for each example, of the batch size that is fastest."""
    torch.manual_seed(0)
    present = torch.rand(rows, *[1] * (net.x.dim() - 1)) < 0.5
    built = torch.cat([torch.where(present[i], net.x, 0.9 * net.x) for i in range(rows)])
    further = tuple(t[:1] for t in net.extra)  # the same for all examples

    def made(size: int) -> Call:
        def call() -> Tensor:
            with torch.no_grad():
                parts = [net.model(b, *(t.expand(len(b), *t.shape[1:]) for t in further)) for b in built.split(size)]
                return torch.cat(parts)[:, _TARGET]

        return call

    return _best(made, (s for s in (*_SIZES, len(built)) if s <= len(built)))


def tuned(captums: Call, sizes: tuple[int, ...]) -> Call:
    """Captum's call with as many perturbations in a pass as are fastest."""
    return _best(lambda size: partial(captums, perturbations_per_eval=size), iter(sizes))


def counted(net: Net, ours: Call) -> int:
    """How many rows for each example attrkit asks the model for, once it has settled anew: a hook makes it forget."""
    seen: list[int] = []
    handle = net.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    try:
        for _ in range(WARM_CALLS):
            seen.clear()
            ours()
    finally:
        handle.remove()
    return sum(seen) // len(net.x)


@attrs.frozen
class Row:
    """What was measured of a case."""

    case: Case
    times: Mapping[str, Times] = attrs.field(factory=dict)
    rows: int = 0
    failure: str = ""


def measure(case: Case, rounds: int, seconds: float) -> Row:
    """Measure one case."""
    try:
        ours, captums = case.calls()
        ours()
        calls = {"attrkit": ours, "raw": raw(case.net, case.rows), "captum": tuned(captums, case.per_eval)}
        return Row(case, in_turns(calls, case.rounds or rounds, seconds), counted(case.net, ours))
    except Exception as error:  # noqa: BLE001 - one case must not cost all others
        return Row(case, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")


# Models.


def _patches(size: int, across: int = 7) -> Tensor:
    places = torch.arange(size) * across // size
    return (across * places[:, None] + places)[None, None]


def mlp(batch: int = 1, width: int = 192) -> Net:
    """Passes so short that Python decides: for KernelSHAP Captum, tuned, takes 100 times as long, and 500 of width 64."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
    name = "mlp" if width == 192 else f"mlp of width {width}"
    return Net(name if batch == 1 else f"{name}, {batch} examples", model.eval(), torch.randn(batch, 30))


def cnn() -> Net:
    """Convolutions on four images of 28 x 28, in 49 patches."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 10)),
    )
    return Net("cnn", model.eval(), torch.randn(4, 1, 28, 28), _patches(28))


def resnet() -> Net:
    """A small residual net on an image of 64 x 64, in 49 patches."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    blocks = [_Block(64, 64, 1), _Block(64, 128, 2), _Block(128, 256, 2)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))
    return Net("resnet", model.eval(), torch.randn(1, 3, 64, 64), _patches(64))


def bert() -> Net:
    """Two layers of width 64 that read 32 positions, each a feature, of four texts."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    sizes |= {"max_position_embeddings": 64, "vocab_size": 200, "num_labels": 10}
    model = BertForSequenceClassification(BertConfig(**sizes))
    mask, ones = torch.arange(32)[None, :, None], torch.ones(1, 32, dtype=torch.long)
    return Net("bert", _Embedded(model).eval(), torch.randn(4, 32, 64), mask, extra=(ones.expand(4, -1).contiguous(),))


# Cases.


def _both(name: str, net: Net, given: Mapping[str, Any], further: Mapping[str, Any]) -> tuple[Call, Call]:
    """The calls of both libraries' classes of the same name; ``further`` are options that Captum does not have."""
    arguments: dict[str, Any] = {"target": _TARGET, "additional_forward_args": net.extra or None, **given}
    if name != "Occlusion":
        # Captum wants a mask like the inputs
        arguments["feature_mask"] = None if net.mask is None else net.mask.expand_as(net.x[:1]).contiguous()
    mine, theirs = getattr(attrkit.attr, name)(net.model), getattr(captum.attr, name)(net.model)
    ours = {**arguments, "perturbations_per_eval": None, **further}  # as many as are best
    return partial(mine.attribute, net.x, **ours), partial(theirs.attribute, net.x, **arguments)


def _windows(net: Net, window: tuple[int, ...], strides: tuple[int, ...]) -> int:
    sizes = zip(net.x.shape[1:], window, strides, strict=True)
    counts = [-(-(size - wide) // step) + 1 for size, wide, step in sizes]
    return prod(counts)


def large() -> Iterator[Case]:
    """Models whose passes decide: at most 1.25 times as long as the passes alone."""
    for net, window, strides in (
        (cnn(), (1, 4, 4), (1, 2, 2)),
        (resnet(), (3, 8, 8), (3, 4, 4)),
        (bert(), (1, 64), (1, 64)),
    ):
        features = net.count
        for method, rows, given, further in (
            ("FeatureAblation", features + 1, {}, {}),
            ("ShapleyValueSampling", 5 * (features - 1) + 2, {"n_samples": 5}, {}),
            ("KernelShap", 300, {"n_samples": 300}, {}),
            ("KernelShap", 300, {"n_samples": 300}, {"estimator": "leverage"}),
            ("Lime", 300, {"n_samples": 300}, {}),
            ("Occlusion", _windows(net, window, strides) + 1, {"sliding_window_shapes": window, "strides": strides}, {}),
        ):
            name = ", ".join([method, *further.values()])
            yield Case(name, net, partial(_both, method, net, given, further), rows, most=1.25)


def _of_one() -> Iterator[tuple[str, str, int, dict[str, Any], dict[str, Any]]]:
    """Name, method, rows, options of both libraries, and attrkit's own."""
    yield from (
        ("FeatureAblation", "FeatureAblation", 31, {}, {}),
        ("FeatureAblation, one perturbation in a pass", "FeatureAblation", 31, {}, {"perturbations_per_eval": 1}),
        ("ShapleyValueSampling, 25 permutations", "ShapleyValueSampling", 25 * 29 + 2, {"n_samples": 25}, {}),
        ("KernelShap, 500 samples, leverage", "KernelShap", 500, {"n_samples": 500}, {"estimator": "leverage"}),
        (
            "KernelShap, 500 samples, leverage, one seed",
            "KernelShap",
            500,
            {"n_samples": 500},
            {"estimator": "leverage", "seed": 0},
        ),
        ("KernelShap, 500 samples, auto", "KernelShap", 500, {"n_samples": 500}, {"estimator": "auto"}),
        ("Lime, 500 samples, ridge", "Lime", 500, {"n_samples": 500}, {"surrogate": "ridge"}),
        ("Lime, 500 samples, lasso", "Lime", 500, {"n_samples": 500}, {"surrogate": "lasso"}),
    )


def small() -> Iterator[Case]:
    """A model whose passes take no time: at most 5 times as long, and on many examples 100 times faster than Captum."""
    for name, method, rows, given, ours in _of_one():
        for net in (mlp(), mlp(width=64)):
            calls = partial(_both, method, net, given, ours)
            held = net.name == "mlp" and "auto" not in name and not ours.get("perturbations_per_eval")
            yield Case(name, net, calls, rows, most=5.0 if held else None)
    for width, estimator, faster in ((64, "leverage", 100.0), (192, "leverage", None), (192, "auto", None)):
        batch = mlp(64, width)
        calls = partial(_both, "KernelShap", batch, {"n_samples": 500}, {"estimator": estimator})
        name = f"KernelShap, 500 samples for each, {estimator}"
        # Captum takes seconds, whatever more than some hundreds of samples share a pass
        yield Case(name, batch, calls, 500, faster=faster, per_eval=(512,), rounds=3)


# Tables.

HEAD = ("case", "rows", "attrkit / raw", "by the clock", "bar", "", "Captum / attrkit", "bar", "", "raw")


def cells(row: Row) -> list[str]:
    """One row of the table."""
    case = row.case
    name = f"{case.net.name}: {case.name}"
    if row.failure:
        return [name, row.failure, *[""] * (len(HEAD) - 2)]
    ours, passes = row.times["attrkit"], row.times["raw"]
    processor, wall = ours.over(passes)
    bar = ["", ""] if case.most is None else [f"≤ {case.most:g}", _verdict(processor <= case.most)]
    faster = row.times["captum"].over(ours)[0]
    ahead = ["", ""] if case.faster is None else [f"≥ {case.faster:g}", _verdict(faster >= case.faster)]
    asked = f"{case.rows}" if row.rows == case.rows else f"{case.rows} ({row.rows})"
    return [
        name,
        asked,
        f"{processor:.2f}",
        f"{wall:.2f}",
        *bar,
        f"{faster:.2f}",
        *ahead,
        f"{1e3 * statistics.median(passes.processor):.2f} ms",
    ]


def _verdict(met: bool) -> str:  # noqa: FBT001 - a word for a fact
    return "pass" if met else "**FAIL**"
