"""Operations with a weight: the maps that rules for contributions are about."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.linear import ByGradient, Convolution, Dense, Product, spread
from attrkit.propagation.operations import Operation, found, live

_DYNAMIC = "its weight depends on the input"


def _dense(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None)
    if live(p["weight"]) or live(p["bias"]):
        return call.taken_apart()
    return call.linear(p["input"], p["weight"], p["bias"], Dense())


def _dense_parts(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = input @ weight.T
    return y if bias is None else y + bias


def _addmm(call: Call) -> Any:
    p = call.bind("input", "mat1", "mat2", beta=1, alpha=1)
    if live(p["mat2"]) or live(p["input"]):
        return call.taken_apart()
    return call.linear(p["mat1"], p["mat2"] * p["alpha"], p["input"] * p["beta"], Product())


def _addmm_parts(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = mat1 @ mat2
    return (product if alpha == 1 else product * alpha) + (input if beta == 1 else input * beta)


def _bilinear(call: Call) -> Any:
    p = call.bind("input1", "input2", "weight", bias=None)
    one, other = p["input1"], p["input2"]
    if live(p["weight"]):
        return call.ungoverned(_DYNAMIC)
    if live(one) and live(other):
        return call.taken_apart()
    x, fixed = (one, other) if live(one) else (other, one)
    first = x is one

    def function(value: Tensor, weight: Tensor) -> Tensor:
        return F.bilinear(value, fixed, weight) if first else F.bilinear(fixed, value, weight)

    return call.linear(x, p["weight"], p["bias"], ByGradient(function))


def _bilinear_parts(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pairs = input1.unsqueeze(-1) * input2.unsqueeze(-2)
    y = F.linear(pairs.flatten(-2), weight.flatten(1))
    return y if bias is None else y + bias


def _grouped(call: Call) -> Any:
    x, weight = call.operands("input", "mat2")
    if live(weight):
        return call.several(x, weight)
    rest, kwargs = call.args[2:], {k: v for k, v in call.kwargs.items() if k not in ("input", "mat2")}
    return call.linear(x, weight, None, ByGradient(lambda value, changed: call.function(value, changed, *rest, **kwargs)))


def _padding(given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding on both sides, and what ``same`` needs beyond that at the end."""
    if given == "valid":
        return (0,) * len(kernel), ()
    if given != "same":
        return spread(given, len(kernel)), ()
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return tuple(t // 2 for t in totals), tuple(t % 2 for t in totals)


def _dynamic(call: Call) -> Any:
    """A convolution whose kernel or bias depends on the input: a product of input and kernel, and a sum."""
    x, weight, bias = call.operands("input", "weight", "bias")
    if bias is not None:
        rest = {name: value for name, value in call.kwargs.items() if name != "bias"}
        product = call.intercepted(call.function, x, weight, None, *call.args[3:], **rest)
        return call.intercepted(torch.add, product, bias.reshape(-1, *[1] * (weight.dim() - 2)))
    call.operands("input", "weight")
    return call.anew(call.function, call.args, (0, 1), "matmul", **call.kwargs).several(x, weight)


def _conv(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None, stride=1, padding=0, dilation=1, groups=1)
    dims = p["weight"].dim() - 2
    if live(p["weight"]) or live(p["bias"]):
        return _dynamic(call)
    dilation = spread(p["dilation"], dims)
    padding, more = _padding(p["padding"], tuple(p["weight"].shape[2:]), dilation)
    geometry = Convolution(
        dims, spread(p["stride"], dims), padding, dilation, p["groups"], transposed=False, output_padding=(0,) * dims, more=more
    )
    return call.linear(p["input"], p["weight"], p["bias"], geometry)


def _conv_transpose(call: Call) -> Any:
    p = call.bind("input", "weight", bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
    dims = p["weight"].dim() - 2
    if live(p["weight"]) or live(p["bias"]):
        return _dynamic(call)
    stride, padding, dilation, more = (spread(p[n], dims) for n in ("stride", "padding", "dilation", "output_padding"))
    geometry = Convolution(dims, stride, padding, dilation, p["groups"], transposed=True, output_padding=more)
    return call.linear(p["input"], p["weight"], p["bias"], geometry)


OPERATIONS = (
    Operation("linear", (F.linear,), _dense, _dense_parts),
    Operation("linear", found("addmm"), _addmm, _addmm_parts),
    Operation("linear", found("bilinear"), _bilinear, _bilinear_parts),
    Operation("linear", found("grouped_mm", "_grouped_mm"), _grouped),
    Operation("conv", found("conv1d", "conv2d", "conv3d"), _conv),
    Operation("conv_transpose", found("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
)
