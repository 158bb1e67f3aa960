"""How much of the throughput of plain forward and backward passes attrkit reaches on large models."""

import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor, nn

import attrkit
from benchmarks.measuring import WARM_CALLS, _timed
from benchmarks.running_models import LARGE, Net

HEAD = ("case", "rows", "raw: rows a second", "rows a pass", "attrkit: rows a second", "share", "bar", "")
NOT_MEASURED = "Not measured: torch sees no CUDA device here."
_TARGET, _BAR = 1, 0.9
_CONVOLUTIONAL = "resnet50"

TEXT = f"""\
ResNet-50 and ViT-B/16 with random weights, on images of 224 x 224. *Raw* are the same passes by hand over as many rows that are
built already, at the batch size that is fastest among powers of two: forward passes for Kernel SHAP, forward and backward
passes to the inputs otherwise, to the layer for LayerIntegratedGradients. The share is of their throughput: the median of
ratios of calls in turns, by the clock with the GPU synchronised, after {WARM_CALLS} calls to warm up. Kernel SHAP and the path
methods explain few images in many points; LRP (`epsilon_plus` for ResNet-50, `attnlrp` for ViT-B/16) a batch in one pass, at
the same batch size as the raw pass.

What users can switch on from outside, for integrated gradients: `torch.autocast` around the call (bfloat16), `torch.compile` of
the model, and `channels_last` for model and images. *Raw* has the same switched on."""


@attrs.frozen
class Setting:
    """How large everything is."""

    device: torch.device
    tiny: bool

    @property
    def steps(self) -> int:
        """Of paths."""
        return 8 if self.tiny else 64

    @property
    def images(self) -> int:
        """Explained at many points."""
        return 2 if self.tiny else 8

    @property
    def samples(self) -> int:
        """Of Kernel SHAP, for each image."""
        return 240 if self.tiny else 512

    @property
    def batch(self) -> int:
        """Of images explained in one pass."""
        return 4 if self.tiny else 128

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of raw passes, of which the fastest counts."""
        return (8, 32, 128) if self.tiny else (16, 32, 64, 128, 256, 512)


@attrs.frozen
class Case:
    """A method on a net, with raw passes over as many ``rows``."""

    name: str
    net: Net
    ours: Callable[[], Any]
    raw: Callable[[Tensor], Any]  # over a batch
    rows: int
    sizes: tuple[int, ...]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@attrs.frozen
class Share:
    """Rows a second, of raw passes at their best size and of attrkit; or why nothing was measured."""

    case: str
    rows: int = 0
    raw: float = 0.0
    size: int = 0
    ours: float = 0.0
    share: float = 0.0
    failure: str = ""

    @property
    def cells(self) -> list[str]:
        """A row of the table."""
        if self.failure:
            return [self.case, self.failure, *[""] * (len(HEAD) - 2)]
        numbers = [f"{self.rows}", f"{self.raw:,.0f}", f"{self.size}", f"{self.ours:,.0f}", f"{self.share:.2f}"]
        return [self.case, *numbers, f"≥ {_BAR:g}", "pass" if self.share >= _BAR else "**FAIL**"]


def measured(setting: Setting, rounds: int, only: str = "") -> Iterator[Share]:
    """Each case whose name contains ``only``."""
    for name in LARGE:
        for make in (_methods, _switches):
            for case_name, made in make(name, setting):
                if only in case_name:
                    yield _measured(case_name, made, rounds, setting.device)
                    gc.collect()


# Cases.


def _methods(name: str, setting: Setting) -> Iterator[tuple[str, Callable[[], Case]]]:
    """The four methods in two precisions."""
    for dtype in (torch.float32, torch.bfloat16):
        for method, made in (("IG", _path), ("LayerIG", _layer), ("KernelSHAP", _shap), ("LRP", _lrp)):
            label = f"{name}: {method}, {str(dtype).removeprefix('torch.')}"
            yield label, partial(made, label, name, setting, dtype)


def _switches(name: str, setting: Setting) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Integrated gradients with what users may switch on."""
    last: dict[str, Any] = {"memory_format": torch.channels_last}
    kind = setting.device.type
    autocast: dict[str, Any] = {"around": partial(torch.autocast, kind, torch.bfloat16)}
    switches: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
        "autocast": (torch.float32, autocast),
        "compiled, float32": (torch.float32, {"compiled": True}),
        "compiled, bfloat16": (torch.bfloat16, {"compiled": True}),
    }
    if name == _CONVOLUTIONAL:
        switches["channels_last, bfloat16"] = (torch.bfloat16, last)
        switches["channels_last, autocast"] = (torch.float32, last | autocast)
    for label, (dtype, more) in switches.items():
        yield f"{name}: IG, {label}", partial(_path, f"{name}: IG, {label}", name, setting, dtype, **more)


def _net(
    name: str,
    setting: Setting,
    images: int,
    dtype: torch.dtype,
    *,
    memory_format: torch.memory_format | None = None,
    compiled: bool = False,
) -> Net:
    net = LARGE[name](images, tiny=setting.tiny)
    model: Any = net.model.to(setting.device, dtype)
    x = net.x.to(setting.device, dtype)
    if memory_format is not None:
        model, x = model.to(memory_format=memory_format), x.to(memory_format=memory_format)
    if compiled:
        model = torch.compile(model, backend="eager" if setting.tiny else "inductor")
    return attrs.evolve(net, model=model, x=x)


def _path(
    label: str,
    name: str,
    setting: Setting,
    dtype: torch.dtype,
    *,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **more: Any,
) -> Case:
    net = _net(name, setting, setting.images, dtype, **more)
    options: dict[str, Any] = {"target": _TARGET, "n_steps": setting.steps}
    ours = partial(attrkit.explain, net.model, net.x, "integrated_gradients", **options)
    return Case(label, net, ours, partial(_gradient, net.model), setting.steps * setting.images, setting.sizes, around)


def _layer(label: str, name: str, setting: Setting, dtype: torch.dtype) -> Case:
    net = _net(name, setting, setting.images, dtype)
    options: dict[str, Any] = {"target": _TARGET, "n_steps": setting.steps, "layer": net.layer}
    ours = partial(attrkit.explain, net.model, net.x, "integrated_gradients", **options)
    raw = partial(_gradient_at, net.model, net.model.get_submodule(net.layer))
    return Case(label, net, ours, raw, setting.steps * setting.images, setting.sizes)


def _shap(label: str, name: str, setting: Setting, dtype: torch.dtype) -> Case:
    net = _net(name, setting, setting.images, dtype)
    assert net.mask is not None
    options: dict[str, Any] = {"target": _TARGET, "n_samples": setting.samples, "feature_mask": net.mask.to(setting.device)}
    ours = partial(attrkit.explain, net.model, net.x, "kernel_shap", **options)
    return Case(label, net, ours, partial(_value, net.model), setting.samples * setting.images, setting.sizes)


def _lrp(label: str, name: str, setting: Setting, dtype: torch.dtype) -> Case:
    net = _net(name, setting, setting.batch, dtype)
    rules = "epsilon_plus" if name == _CONVOLUTIONAL else "attnlrp"
    ours = partial(attrkit.explain, net.model, net.x, "lrp", target=_TARGET, rules=rules)
    return Case(label, net, ours, partial(_gradient, net.model), setting.batch, (setting.batch,))


# Passes by hand.


def _gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x)[:, _TARGET].sum(), x)[0]


def _gradient_at(model: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """The gradient at what a layer returns; nothing below it is differentiated."""
    seen = list[Tensor]()

    def leaf(_module: nn.Module, _arguments: Any, value: Any) -> Any:
        first = value[0] if isinstance(value, tuple) else value
        seen.append(first.detach().requires_grad_())
        return (seen[0], *value[1:]) if isinstance(value, tuple) else seen[0]

    handle = layer.register_forward_hook(leaf)
    try:
        output = model(x)
    finally:
        handle.remove()
    return torch.autograd.grad(output[:, _TARGET].sum(), seen[0])[0]


def _value(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(x)[:, _TARGET]
        return found


# Measuring.


def _measured(label: str, made: Callable[[], Case], rounds: int, device: torch.device) -> Share:
    try:
        return _shared(made(), rounds, device)
    except Exception as error:  # noqa: BLE001 - one row must not cost all others
        return Share(label, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    finally:
        torch.compiler.reset()


def _shared(case: Case, rounds: int, device: torch.device) -> Share:
    for parameter in case.net.model.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003 - torch's; raw passes must not keep what only weights' gradients need
    with case.around():
        raws = {size: partial(_raw, case, size) for size in case.sizes if size <= case.rows}
        size = min(raws, key=lambda s: (_timed(raws[s], 1, device), _timed(raws[s], 1, device))[1])
        for _ in range(WARM_CALLS):
            case.ours()
        pairs = [(_timed(raws[size], 1, device), _timed(case.ours, 1, device)) for _ in range(rounds)]
    raw, ours = (case.rows / statistics.median(each) for each in zip(*pairs, strict=True))
    return Share(case.name, case.rows, raw, size, ours, statistics.median(a / b for a, b in pairs))


def _raw(case: Case, size: int) -> None:
    """Passes over as many rows, so many at a time; the last has what is left."""
    x = case.net.x
    batch = x.repeat(-(-size // len(x)), *[1] * (x.dim() - 1))[:size]
    done = 0
    while done < case.rows:
        case.raw(batch[: case.rows - done])
        done += size
