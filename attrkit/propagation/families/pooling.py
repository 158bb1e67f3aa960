"""Operations that pick the largest."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation, found, live


def _dims(call: Call) -> int:
    """How many dimensions a pooling is over."""
    named = re.search(r"(\d)d", call.function.__name__)
    assert named is not None  # every pooling says so
    return int(named[1])


def _plain(call: Call) -> Any:
    kind = "adaptive_max_pool" if "adaptive" in call.function.__name__ else "max_pool"
    return getattr(F, f"{kind}{_dims(call)}d")


def _max_pool(call: Call) -> Any:
    x: Tensor = call.operands("input")[0]
    kwargs = {k: v for k, v in call.kwargs.items() if k != "return_indices"}
    wants_indices = "with_indices" in call.function.__name__ or bool(call.kwargs.get("return_indices"))
    function, rest, dims = _plain(call), call.args[1:], _dims(call)

    def indices() -> Tensor:
        with torch.no_grad():
            found_: Tensor = function(x.detach(), *rest, **kwargs, return_indices=True)[1]
            return found_

    def picked(values: Tensor) -> Tensor:
        where = indices()
        return values.flatten(-dims).gather(-1, where.flatten(-dims)).view(where.shape)

    seen = indices() if wants_indices else None
    output = call.anew(lambda t: function(t, *rest, **kwargs), (x,), (0,)).picking(x, picked)
    return (output, seen) if wants_indices else output


def _amax(call: Call) -> Any:
    return call.unary(call.operands("input")[0], "homogeneous")


def _max(call: Call) -> Any:
    p = call.bind("input", "dim", keepdim=False)
    if not live(p["input"]) or not isinstance(p.get("dim"), int):
        return call.several(*call.operands("input", "dim"), own="homogeneous") if live(p.get("dim")) else _amax(call)
    pick, kind = (
        (torch.amin, torch.return_types.min) if "min" in call.function.__name__ else (torch.amax, torch.return_types.max)
    )
    with torch.no_grad():
        indices = call.run()[1]
    values = call.anew(lambda x: pick(x, p["dim"], p["keepdim"]), (p["input"],), (0,)).unary(p["input"], "homogeneous")
    return kind((values, indices))


def _maximum(call: Call) -> Any:
    return call.several(*call.operands("input", "other"), own="homogeneous")


def _maximum_parts(input: Tensor, other: Tensor) -> Tensor:
    return other + F.relu(input - other)


def _minimum_parts(input: Tensor, other: Tensor) -> Tensor:
    return input - F.relu(input - other)


_POOLS = (f"{kind}max_pool{d}d{ending}" for kind in ("", "adaptive_") for d in (1, 2, 3) for ending in ("", "_with_indices"))

OPERATIONS = (
    Operation("max_pool", found(*_POOLS), _max_pool),
    Operation("max", found("amax", "amin"), _amax),
    Operation("max", found("max", "min"), _max),
    Operation("maximum", found("maximum", "fmax"), _maximum, _maximum_parts),
    Operation("maximum", found("minimum", "fmin"), _maximum, _minimum_parts),
)
