"""Relevance through transformers' LlamaForCausalLM, at the embeddings of tokens."""

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
    gated,
    heads,
    joined,
    repeated,
    residual,
    rms_norm,
    rotated,
    visible,
)


def attended(ledger: Ledger, layer, x: Tensor, allowed: Tensor, turn: tuple[Tensor, Tensor], cp: bool) -> tuple[Tensor, Back]:
    """Norm, queries and keys with rotary positions, keys and values shared by heads, attention, dense, residual sum."""
    module, size, times = layer.self_attn, layer.self_attn.head_dim, layer.self_attn.num_key_value_groups
    y, back_norm = rms_norm(layer.input_layernorm.weight, layer.input_layernorm.variance_epsilon, x)
    made = [dense(ledger, m, y) for m in (module.q_proj, module.k_proj, module.v_proj)]
    (q, _), (k, _), (v, _) = (heads(z, size) for z, _ in made)
    (q, back_q), (k, back_k) = rotated(q, *turn), rotated(k, *turn)
    (k, back_keys), (v, back_values) = repeated(k, times), repeated(v, times)
    z, back_attention = attention(ledger, q, k, v, scale=size**-0.5, allowed=allowed, constant=cp)
    z, back_dense = dense(ledger, module.o_proj, joined(z))
    z, back_sum = residual(x, z)

    def back(relevance: Tensor) -> Tensor:
        of_x, of_z = back_sum(relevance)
        of_q, of_k, of_v = back_attention(heads(back_dense(of_z), size)[0])
        parts = (back_q(of_q), back_k(back_keys(of_k)), back_values(of_v))
        return of_x + back_norm(sum(back_one(joined(part)) for part, (_, back_one) in zip(parts, made, strict=True)))

    return z, back


def fed_forward(ledger: Ledger, layer, x: Tensor, cp: bool) -> tuple[Tensor, Back]:
    """Norm, an activated gate times another map, dense, residual sum."""
    module = layer.mlp
    norm = layer.post_attention_layernorm
    y, back_norm = rms_norm(norm.weight, norm.variance_epsilon, x)
    gate, back_gate = dense(ledger, module.gate_proj, y)
    gate, back_act = activation(module.act_fn, gate)
    up, back_up = dense(ledger, module.up_proj, y)
    z, back_product = gated(gate, up, constant=cp)
    z, back_down = dense(ledger, module.down_proj, z)
    z, back_sum = residual(x, z)

    def back(relevance: Tensor) -> Tensor:
        of_x, of_z = back_sum(relevance)
        of_gate, of_up = back_product(back_down(of_z))
        return of_x + back_norm(back_gate(back_act(of_gate)) + back_up(of_up))

    return z, back


@torch.no_grad()
def relevance(
    model, inputs_embeds: Tensor, target: tuple[int, int], attention_mask: Tensor | None = None, *, cp: bool = False
) -> Relevance:
    """Of the logit at target (position, token); with cp, attention's weights and the gates are constants."""
    ledger, llama, (batch, tokens) = Ledger(), model.model, inputs_embeds.shape[:2]
    allowed, backs = visible(batch, tokens, attention_mask, causal=True), []
    cos, sin = (t.unsqueeze(1) for t in llama.rotary_emb(inputs_embeds, torch.arange(tokens)[None]))
    z = inputs_embeds
    for layer in llama.layers:
        z, back_attended = attended(ledger, layer, z, allowed, (cos, sin), cp)
        z, back_fed = fed_forward(ledger, layer, z, cp)
        backs += [back_attended, back_fed]
    z, back_norm = rms_norm(llama.norm.weight, llama.norm.variance_epsilon, z)
    z, back_head = dense(ledger, model.lm_head, z)
    r = back_norm(back_head(at(z, target)))
    for back in reversed(backs):
        r = back(r)
    return Relevance(r, z[:, *target], dict(ledger.kept))
