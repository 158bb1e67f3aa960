"""Attention: fused by torch, and the module that computes queries, keys and values itself."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation, live
from attrkit.propagation.recomputation import unwrapped


def _sdpa(call: Call) -> Any:
    if live(call.kwargs.get("attn_mask")) or any(map(live, call.args[3:4])):
        return call.taken_apart()
    return call.several(*call.operands("query", "key", "value"))


def _sdpa_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril().logical_not() if is_causal else None
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        hidden = ~attn_mask
    elif attn_mask is not None:
        lowest = torch.finfo(scores.dtype).min / 4  # far below every score, and still a number that can be subtracted
        hidden, scores = attn_mask == -math.inf, scores + attn_mask.clamp(min=lowest)
    if hidden is None:
        return F.dropout(torch.softmax(scores, -1), dropout_p) @ value
    weights = torch.softmax(scores.masked_fill(hidden, torch.finfo(scores.dtype).min / 4), -1)
    return F.dropout(weights.masked_fill(hidden.all(-1, keepdim=True), 0), dropout_p) @ value


def _mha(call: Call) -> Any:
    return call.by_parts()


OPERATIONS = (
    Operation("sdpa", (F.scaled_dot_product_attention,), _sdpa, _sdpa_parts),
    Operation("mha", (F.multi_head_attention_forward,), _mha, unwrapped(F.multi_head_attention_forward)),
)
