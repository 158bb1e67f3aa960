"""Products and quotients of tensors that both depend on the input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.linear import Product
from attrkit.propagation.operations import Operation, found, live, spelt


def _matmul(call: Call) -> Any:
    x, y = call.operands("input", "mat2" if "mat2" in call.kwargs else "other")
    if call.function is Tensor.__rmatmul__:
        x, y = y, x
    if live(x) and live(y):
        return call.several(*call.operands("input", "mat2" if "mat2" in call.kwargs else "other"))
    if live(x) and y.dim() == 2:
        return call.constant(x, y) if call.stopped(y) else call.linear(x, y, None, Product())
    if live(y) and x.dim() == 2:
        return call.constant(x, y) if call.stopped(x) else call.linear(y, x, None, Product(left=True))
    if live(x):
        return call.weighted(torch.matmul, x, y)
    return call.weighted(lambda value, weight: torch.matmul(weight, value), y, x) if live(y) else call.run()


def _baddbmm(call: Call) -> Any:
    added, x, y = call.operands("input", "batch1", "batch2")
    if live(added) and not live(x) and not live(y):
        return call.constant(added, x, y)
    return call.taken_apart()


def _baddbmm_parts(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = torch.bmm(batch1, batch2)
    if not beta:  # which ignores what it multiplies, infinities and all
        return product * alpha
    return (product if alpha == 1 else product * alpha) + (input if beta == 1 else input * beta)


def _mul(call: Call) -> Any:
    x, y = call.operands("input", "other")
    if live(x) and live(y):
        return call.several(x, y)
    return call.constant(x, y)


def _einsum(call: Call) -> Any:
    equation, *operands = call.args
    if not isinstance(equation, str):
        return call.ungoverned("its subscripts are lists; write them as text")
    factors = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else tuple(operands)
    call = call.anew(torch.einsum, (equation, *factors), tuple(range(1, len(factors) + 1)))
    alive = [i for i, x in enumerate(factors) if live(x)]
    if len(alive) > 1:
        return call.several(*factors)
    if len(factors) == 2 and alive:
        first = alive[0] == 0

        def function(x: Tensor, weight: Tensor) -> Tensor:
            return torch.einsum(equation, x, weight) if first else torch.einsum(equation, weight, x)

        return call.weighted(function, factors[alive[0]], factors[1 - alive[0]])
    return call.constant(*factors)


def _div(call: Call) -> Any:
    x, y = call.operands("input", "other")
    if call.function in _REVERSED:
        x, y = y, x
    if call.kwargs.get("rounding_mode") is not None:
        return call.ungoverned("it rounds")
    if not live(y):
        return call.constant(x, y)
    if live(x):
        return call.several(*call.operands("input", "other"))
    return call.unary(y, degree=-1.0) if call.function in _REVERSED else call.taken_apart()


def _div_parts(input: Any, other: Any, **_: Any) -> Any:
    return torch.reciprocal(other) * input


_REVERSED = frozenset(found("__rtruediv__", "__rdiv__"))

OPERATIONS = (
    Operation("matmul", found("matmul", "mm", "bmm", "mv", "dot", "__matmul__", "__rmatmul__"), _matmul),
    Operation("matmul", found("baddbmm"), _baddbmm, _baddbmm_parts),
    Operation("mul", (*spelt("mul"), *spelt("multiply")), _mul),
    Operation("einsum", found("einsum"), _einsum),
    Operation("div", (*spelt("div"), *spelt("divide"), *spelt("true_divide"), *spelt("truediv")), _div, _div_parts),
)
