"""Functions of each entry that networks have between their layers, and softmax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation, found

_HOMOGENEOUS = ("relu", "leaky_relu", "prelu", "rrelu")
_OTHERS = (
    *("elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid", "tanh", "hardtanh", "relu6"),
    *("hardsigmoid", "hardswish", "logsigmoid", "tanhshrink", "softshrink", "hardshrink", "threshold", "erf"),
)
_ALSO = {"sigmoid": ("expit",), "logsigmoid": ("log_sigmoid",)}  # what else they are called


def _homogeneous(call: Call) -> Any:
    return call.unary(call.operands("input")[0], "homogeneous")


def _other(call: Call) -> Any:
    return call.unary(call.operands("input")[0])


def _softmax(call: Call) -> Any:
    p = call.bind("input", dim=-1)
    return call.unary(call.operands("input")[0], dim=p["dim"])


def _glu_parts(input: Tensor, dim: int = -1) -> Tensor:
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _composite(call: Call) -> Any:
    return call.by_parts()


def _activations() -> Iterable[Operation]:
    for name in (*_HOMOGENEOUS, *_OTHERS):
        names = (name, *_ALSO.get(name, ()))
        functions = found(*names, *(f"{n}_" for n in names))
        yield Operation(name, functions, _homogeneous if name in _HOMOGENEOUS else _other)


OPERATIONS = (
    *_activations(),
    Operation("softmax", found("softmax"), _softmax),
    Operation("log_softmax", found("log_softmax"), _softmax),
    Operation("glu", found("glu"), _composite, _glu_parts),
)
