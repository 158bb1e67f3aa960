"""Relevance through transformers' GPT2LMHeadModel, at the embeddings of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.plugins.propagation.explicit.pieces import (
    Back,
    Ledger,
    Relevance,
    activation,
    at,
    attention,
    dense,
    heads,
    joined,
    layer_norm,
    linear,
    residual,
    table,
    visible,
)


def attended(ledger: Ledger, block, x: Tensor, allowed: Tensor, cp: bool) -> tuple[Tensor, Back]:
    """Norm, one map to queries, keys and values, attention, dense, residual sum; their weights are (inputs, outputs)."""
    module, size = block.attn, block.attn.head_dim
    y, back_norm = layer_norm(ledger, block.ln_1, x)
    z, back_made = linear(ledger, y, module.c_attn.weight, module.c_attn.bias)
    q, k, v = (heads(part, size)[0] for part in z.chunk(3, -1))
    z, back_attention = attention(ledger, q, k, v, scale=size**-0.5, allowed=allowed, constant=cp)
    z, back_dense = linear(ledger, joined(z), module.c_proj.weight, module.c_proj.bias)
    z, back_sum = residual(z, x)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(relevance)
        parts = back_attention(heads(back_dense(of_z), size)[0])
        return of_x + back_norm(back_made(torch.cat([joined(part) for part in parts], -1)))

    return z, back


def fed_forward(ledger: Ledger, block, x: Tensor) -> tuple[Tensor, Back]:
    """Norm, dense, activation, dense, residual sum."""
    module = block.mlp
    y, back_norm = layer_norm(ledger, block.ln_2, x)
    z, back_up = linear(ledger, y, module.c_fc.weight, module.c_fc.bias)
    z, back_act = activation(module.act, z)
    z, back_down = linear(ledger, z, module.c_proj.weight, module.c_proj.bias)
    z, back_sum = residual(z, x)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(relevance)
        return of_x + back_norm(back_up(back_act(back_down(of_z))))

    return z, back


@torch.no_grad()
def relevance(
    model, inputs_embeds: Tensor, target: tuple[int, int], attention_mask: Tensor | None = None, *, cp: bool = False
) -> Relevance:
    """Of the logit at target (position, token); with cp, attention's weights are constants."""
    ledger, gpt, (batch, tokens) = Ledger(), model.transformer, inputs_embeds.shape[:2]
    allowed, backs = visible(batch, tokens, attention_mask, causal=True), []
    z, back = table(ledger, inputs_embeds, gpt.wpe.weight[:tokens], "tables")
    backs.append(back)
    for block in gpt.h:
        z, back_attended = attended(ledger, block, z, allowed, cp)
        z, back_fed = fed_forward(ledger, block, z)
        backs += [back_attended, back_fed]
    z, back_norm = layer_norm(ledger, gpt.ln_f, z)
    z, back_head = dense(ledger, model.lm_head, z)
    r = back_norm(back_head(at(z, target)))
    for back in reversed(backs):
        r = back(r)
    return Relevance(r, z[:, *target], dict(ledger.kept))
