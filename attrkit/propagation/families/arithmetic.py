"""Powers, roots, exponentials and what else is computed of each entry by formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation, found, live, spelt


def _power(degree: float) -> Callable[[Call], Any]:
    return lambda call: call.unary(call.operands("input")[0], degree=degree)


def _pow(call: Call) -> Any:
    x, exponent = call.operands("input", "exponent")
    if call.function in _REVERSED or not isinstance(x, Tensor):
        return call.ungoverned("the exponent depends on the input")
    if live(exponent):
        return call.ungoverned("the exponent depends on the input")
    call.operands("input")
    degree = float(exponent) if not isinstance(exponent, Tensor) or exponent.numel() == 1 else 1.0
    return call.unary(x, degree=degree)


def _unary(call: Call) -> Any:
    return call.unary(call.operands("input")[0])


def _homogeneous(call: Call) -> Any:
    return call.unary(call.operands("input")[0], "homogeneous")


def _dims(x: Tensor, dim: Any) -> Any:
    return tuple(range(x.dim())) if dim is None else dim


def _var_parts(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = _dims(input, dim)
    apart = input - input.mean(dims, keepdim=True)
    total = torch.square(apart).sum(dims, keepdim=keepdim)
    count = input.numel() // max(1, total.numel())
    return total / (count - (correction if correction is not None else int(unbiased)))


def _std_parts(*args: Any, **kwargs: Any) -> Tensor:
    return torch.sqrt(_var_parts(*args, **kwargs))


def _norm(call: Call) -> Any:
    x = call.operands("input")[0]
    given = [*call.args[1:2], *(call.kwargs[k] for k in ("p", "ord") if k in call.kwargs)]
    order = given[0] if given else None
    dims = call.kwargs.get("dim", call.args[2] if len(call.args) > 2 else None)
    over = x.dim() if dims is None else 1 if isinstance(dims, int) else len(dims)
    of_matrices = call.function is torch.linalg.norm and order is not None and over == 2
    plain = order in (None, "fro") or (isinstance(order, int | float) and 0 < order < math.inf)
    if of_matrices or not plain:
        call.operation = attrs.evolve(call.operation, parts=None)
    return call.unary(x)


def _norm_parts(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
    order = options.get("ord", p)
    order = 2 if order in ("fro", None) else order
    return input.abs().pow(order).sum(_dims(input, dim), keepdim=keepdim).pow(1 / order)


def _logsumexp_parts(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    most = input.amax(dim, keepdim=True)
    total = torch.log(torch.exp(input - most).sum(dim, keepdim=True)) + most
    return total if keepdim else total.squeeze(dim)


def _composite(call: Call) -> Any:
    return call.by_parts()


_REVERSED = frozenset(found("__rpow__"))
_NAMES = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "sign",
    "sinh",
    "cosh",
    "asinh",
    "atan",
    "erfc",
)

OPERATIONS = (
    Operation("pow", (*spelt("pow"), *found("float_power")), _pow),
    Operation("pow", spelt("square"), _power(2.0)),
    Operation("sqrt", spelt("sqrt"), _power(0.5)),
    Operation("rsqrt", spelt("rsqrt"), _power(-0.5)),
    Operation("reciprocal", spelt("reciprocal"), _power(-1.0)),
    *(
        Operation("log" if name.startswith("log") else "exp" if name.startswith("exp") else name, spelt(name), _unary)
        for name in _NAMES
    ),
    Operation("abs", (*spelt("abs"), *spelt("absolute")), _homogeneous),
    Operation("clamp", tuple(f for n in ("clamp", "clip", "clamp_min", "clamp_max") for f in spelt(n)), _unary),
    Operation("var", found("var"), _unary, _var_parts),
    Operation("std", found("std"), _unary, _std_parts),
    Operation("vector_norm", found("norm", "vector_norm"), _norm, _norm_parts),
    Operation("logsumexp", found("logsumexp"), _composite, _logsumexp_parts),
)
