"""The operations that rules can govern: which torch functions they are, and what each hands to the rewriter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.linear import Convolution, Dense, Product, spread

if TYPE_CHECKING:
    from attrkit.propagation.calls import Call


@attrs.frozen
class Operation:
    """A named operation, the functions that compute it, and how a call of one is governed.

    ``govern`` gets the :class:`~attrkit.propagation.calls.Call` and returns the function's output, made by one of its
    methods.
    """

    name: str
    functions: tuple[Callable[..., Any], ...]
    govern: Callable[[Call], Any]


def live(value: Any) -> bool:
    """Whether a value depends on what is attributed."""
    return isinstance(value, Tensor) and value.requires_grad


def found(*names: str) -> tuple[Callable[..., Any], ...]:
    """The functions and methods of torch that have one of these names."""
    places = (torch, F, Tensor)
    return tuple(f for name in names for place in places if callable(f := getattr(place, name, None)))


# Linear maps.


def _dense(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None)
    if live(p["weight"]):
        return call.ungoverned("its weight depends on the input")
    return call.linear(p["input"], p["weight"], p["bias"], Dense())


def _addmm(call: Call) -> Any:
    p = call.bind("input", "mat1", "mat2", beta=1, alpha=1)
    if live(p["mat2"]) or live(p["input"]) or p["beta"] != 1 or p["alpha"] != 1:
        return call.ungoverned("more than its first factor depends on the input")
    return call.linear(p["mat1"], p["mat2"], p["input"], Product())


def _matmul(call: Call) -> Any:
    p = call.bind("input", "other")
    x: Any = p["input"]
    y: Any = p.get("other", p.get("mat2"))
    if live(x) and not live(y) and y.dim() == 2 and call.function is not Tensor.__rmatmul__:
        return call.linear(x, y, None, Product())
    return call.run()  # the audit reports a product of two live factors


def _padding(given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...] | None:
    """Symmetric padding; None where ``same`` needs one more on one side."""
    if given == "valid":
        return (0,) * len(kernel)
    if given != "same":
        return spread(given, len(kernel))
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return None if any(t % 2 for t in totals) else tuple(t // 2 for t in totals)


def _conv(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None, stride=1, padding=0, dilation=1, groups=1)
    dims = p["weight"].dim() - 2
    dilation = spread(p["dilation"], dims)
    padding = _padding(p["padding"], tuple(p["weight"].shape[2:]), dilation)
    if live(p["weight"]) or padding is None:
        return call.ungoverned("its weight depends on the input" if padding else "padding='same' is uneven for its kernel")
    geometry = Convolution(dims, spread(p["stride"], dims), padding, dilation, p["groups"], output_padding=(0,) * dims)
    return call.linear(p["input"], p["weight"], p["bias"], geometry)


def _conv_transpose(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
    dims = p["weight"].dim() - 2
    if live(p["weight"]):
        return call.ungoverned("its weight depends on the input")
    stride, padding, dilation, more = (spread(p[n], dims) for n in ("stride", "padding", "dilation", "output_padding"))
    geometry = Convolution(dims, stride, padding, dilation, p["groups"], transposed=True, output_padding=more)
    return call.linear(p["input"], p["weight"], p["bias"], geometry)


# Homogeneous operations: their own backward pass is LRP-0.


def _homogeneous(call: Call) -> Any:
    return call.homogeneous()


def _add(call: Call) -> Any:
    both = call.bind("input", "other")
    return call.homogeneous() if live(both["input"]) and live(both["other"]) else call.run()


def _batch_norm(call: Call) -> Any:
    p = call.bind("input", "running_mean", "running_var", weight=None, bias=None, training=False, momentum=0.1, eps=1e-5)
    if p["training"] or p["running_mean"] is None:
        return call.ungoverned("it uses the statistics of the batch; call model.eval()")
    scale = torch.rsqrt(p["running_var"] + p["eps"])
    scale = scale if p["weight"] is None else scale * p["weight"]
    shift = -p["running_mean"] * scale
    shift = shift if p["bias"] is None else shift + p["bias"]
    return call.affine(p["input"], scale, shift)


# Activations.


def _relu(call: Call) -> Any:
    return call.elementwise(homogeneous=True)


def _activation(call: Call) -> Any:
    return call.elementwise(homogeneous=False)


def _all_activations() -> Iterable[Operation]:
    homogeneous = {"relu": ("relu", "relu_"), "leaky_relu": ("leaky_relu", "leaky_relu_"), "prelu": ("prelu",)}
    for name, functions in homogeneous.items():
        yield Operation(name, found(*functions), _relu)
    for name in (
        "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid", "tanh", "hardtanh", "relu6",
        "hardsigmoid", "hardswish", "logsigmoid", "tanhshrink", "softshrink", "hardshrink", "threshold",
    ):  # fmt: skip
        yield Operation(name, found(name, f"{name}_"), _activation)


SHIPPED = (
    Operation("linear", (F.linear,), _dense),
    Operation("linear", found("addmm"), _addmm),
    Operation("matmul_const", found("matmul", "mm", "__matmul__", "__rmatmul__"), _matmul),
    Operation("conv", found("conv1d", "conv2d", "conv3d"), _conv),
    Operation("conv_transpose", found("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
    Operation("add", found("add", "add_", "__add__", "__radd__", "__iadd__"), _add),
    Operation("avg_pool", found(*(f"{a}avg_pool{d}d" for a in ("", "adaptive_") for d in (1, 2, 3))), _homogeneous),
    Operation("max_pool", found(*(f"{a}max_pool{d}d" for a in ("", "adaptive_") for d in (1, 2, 3))), _homogeneous),
    Operation("batch_norm", (F.batch_norm, torch.batch_norm), _batch_norm),
    *_all_activations(),
)


def by_function(operations: Iterable[Operation]) -> Mapping[Callable[..., Any], Operation]:
    """The operation of each function; a later one replaces an earlier."""
    return {function: operation for operation in operations for function in operation.functions}


#: Functions that write into their first argument.
IN_PLACE: frozenset[Any] = frozenset(
    {getattr(Tensor, n) for n in dir(Tensor) if n.endswith("_") and not n.startswith("_")}
    | {getattr(Tensor, n) for n in ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__setitem__")}
    | {getattr(place, n) for place in (torch, F) for n in dir(place) if n.endswith("_") and not n.startswith("_")}
) - {Tensor.requires_grad_, Tensor.detach_}  # fmt: skip


@lru_cache(maxsize=4096)
def _inplace_position(function: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C, where being in place is in the name
        return None
    return names.index("inplace") if "inplace" in names else None


def writes(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call writes into its first argument."""
    if function in IN_PLACE or kwargs.get("inplace"):
        return True
    position = _inplace_position(function)
    return position is not None and len(args) > position and bool(args[position])


#: Functions that only move entries around, so that relevance moves with them.
RESHAPES: frozenset[Any] = frozenset(
    found(
        "reshape",
        "flatten",
        "view",
        "view_as",
        "permute",
        "transpose",
        "swapaxes",
        "movedim",
        "unsqueeze",
        "squeeze",
        "contiguous",
    )
    + found("unflatten", "flip", "roll", "pad")
)
