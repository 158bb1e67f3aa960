"""Operations that add and average: linear, with nothing to learn."""

from __future__ import annotations

from typing import Any

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation, found, live, spelt


def _add(call: Call) -> Any:
    both = call.operands("input", "other")
    return call.several(*both, own="linear") if all(map(live, both)) else call.shifted(*both)


def _joined(call: Call) -> Any:
    """Of a list of tensors."""
    tensors = call.bind("tensors")["tensors"]
    if not isinstance(tensors, list | tuple) or sum(map(live, tensors)) < 2:
        return call.run()
    function, rest, kwargs = call.function, call.args[1:], call.kwargs

    def separately(*each: Any) -> Any:
        return function(each, *rest, **{k: v for k, v in kwargs.items() if k != "tensors"})

    return call.anew(separately, tuple(tensors), tuple(range(len(tensors)))).several(*tensors, own="linear")


def _unary(call: Call) -> Any:
    return call.unary(call.operands("input")[0], "linear")


def _sampled(call: Call) -> Any:
    x, grid = call.operands("input", "grid")
    if live(grid):
        return call.ungoverned("where it looks depends on the input")
    call.operands("input")
    return call.unary(x, "linear")


OPERATIONS = (
    Operation("add", (*spelt("add"), *spelt("sub"), *spelt("subtract"), *found("rsub")), _add),
    Operation("cat", (*found("cat", "concat", "concatenate"), *found("stack", "hstack", "vstack")), _joined),
    Operation("sum", found("sum", "cumsum", "nansum"), _unary),
    Operation("mean", found("mean"), _unary),
    Operation("avg_pool", found(*(f"{a}avg_pool{d}d" for a in ("", "adaptive_") for d in (1, 2, 3))), _unary),
    Operation("interpolate", found("interpolate", "upsample"), _unary),
    Operation("interpolate", found("grid_sample"), _sampled),
    Operation("pixel_shuffle", found("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "fold", "unfold"), _unary),
)
