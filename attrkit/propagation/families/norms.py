"""Normalisation: by the statistics of a data set, which is affine, and by those of the example itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.normalised import Normalised
from attrkit.propagation.operations import Operation, found


def _batch_norm(call: Call) -> Any:
    p = call.bind("input", "running_mean", "running_var", weight=None, bias=None, training=False, momentum=0.1, eps=1e-5)
    if p["training"] or p["running_mean"] is None:
        return call.ungoverned("it uses the statistics of the batch; call model.eval()")

    def affine() -> tuple[Tensor, Tensor]:
        scale = torch.rsqrt(p["running_var"] + p["eps"])
        scale = scale if p["weight"] is None else scale * p["weight"]
        shift = -p["running_mean"] * scale
        return scale.detach(), (shift if p["bias"] is None else shift + p["bias"]).detach()

    return call.affine(call.operands("input")[0], affine)


def _instance_norm(call: Call) -> Any:
    p = call.bind(
        "input", running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
    )
    if not p["use_input_stats"]:
        return call.ungoverned("it uses running statistics, like a batch norm; write it as one")
    x: Tensor = call.operands("input")[0]
    return call.normalised(x, p["weight"], p["bias"], Normalised(p["eps"], groups=x.shape[1], places=x.dim() - 2))


def _group_norm(call: Call) -> Any:
    p = call.bind("input", "num_groups", weight=None, bias=None, eps=1e-5)
    x: Tensor = call.operands("input")[0]
    return call.normalised(x, p["weight"], p["bias"], Normalised(p["eps"], groups=p["num_groups"], places=x.dim() - 2))


def _layer_norm(call: Call) -> Any:
    p = call.bind("input", "normalized_shape", weight=None, bias=None, eps=1e-5)
    x: Tensor = call.operands("input")[0]
    return call.normalised(x, p["weight"], p["bias"], Normalised(p["eps"], dims=len(p["normalized_shape"])))


def _rms_norm(call: Call) -> Any:
    p = call.bind("input", "normalized_shape", weight=None, eps=None)
    x: Tensor = call.operands("input")[0]
    eps = torch.finfo(x.dtype).eps if p["eps"] is None else p["eps"]
    return call.normalised(x, p["weight"], None, Normalised(eps, dims=len(p["normalized_shape"]), centred=False))


def _layer_norm_parts(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    return _affine(_standardised(input, dims, eps), weight, bias)


def _rms_norm_parts(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    size = torch.square(input).mean(dims, keepdim=True) + (torch.finfo(input.dtype).eps if eps is None else eps)
    return _affine(input * torch.rsqrt(size), weight, None)


def _group_norm_parts(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    y = _standardised(input.reshape(len(input), num_groups, -1), (-1,), eps).reshape(input.shape)
    return _affine(y, _per_channel(weight, input), _per_channel(bias, input))


def _instance_norm_parts(
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    return _group_norm_parts(input, input.shape[1], weight, bias, eps)


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    apart = x - x.mean(dims, keepdim=True)
    return apart * torch.rsqrt(torch.square(apart).mean(dims, keepdim=True) + eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = x if weight is None else x * weight
    return y if bias is None else y + bias


def _per_channel(values: Tensor | None, x: Tensor) -> Tensor | None:
    return None if values is None else values.reshape(-1, *[1] * (x.dim() - 2))


def _both(
    name: str, govern: Callable[[Call], Any], parts: Callable[..., Any] | None, *names: str
) -> tuple[Operation, Operation]:
    """The operation as torch.nn.functional has it, and as torch does, whose arguments have these ``names`` in another order."""
    functional = getattr(F, name)

    def named(given: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in given.items() if not k.startswith("cudnn")}

    def respelt(call: Call) -> Any:
        given = named(call.bind(*names))
        return govern(call.anew(functional, (given.pop("input"),), **given))

    def in_parts(*args: Any, **kwargs: Any) -> Tensor:
        assert parts is not None  # for the type checker
        result: Tensor = parts(**named({**dict(zip(names, args, strict=False)), **kwargs}))
        return result

    spelt = Operation(name, (getattr(torch, name),), respelt, in_parts if parts else None)
    return Operation(name, (functional,), govern, parts), spelt


_STATISTICS = ("input", "weight", "bias", "running_mean", "running_var")
_REST = ("momentum", "eps", "cudnn_enabled")

OPERATIONS = (
    *_both("batch_norm", _batch_norm, None, *_STATISTICS, "training", *_REST),
    *_both("instance_norm", _instance_norm, _instance_norm_parts, *_STATISTICS, "use_input_stats", *_REST),
    *_both("layer_norm", _layer_norm, _layer_norm_parts, "input", "normalized_shape", "weight", "bias", "eps", "cudnn_enable"),
    *_both("group_norm", _group_norm, _group_norm_parts, "input", "num_groups", "weight", "bias", "eps", "cudnn_enabled"),
    Operation("rms_norm", found("rms_norm"), _rms_norm, _rms_norm_parts),
)
