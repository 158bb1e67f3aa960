"""Relevance through transformers' BertForSequenceClassification, at the embeddings of words."""

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
    residual,
    table,
    visible,
)


def attended(ledger: Ledger, module, x: Tensor, allowed: Tensor, cp: bool) -> tuple[Tensor, Back]:
    """BertAttention: self-attention, dense, residual sum, norm."""
    inner, size = module.self, module.self.attention_head_size
    made = [dense(ledger, m, x) for m in (inner.query, inner.key, inner.value)]
    (q, _), (k, _), (v, _) = (heads(z, size) for z, _ in made)
    z, back_attention = attention(ledger, q, k, v, scale=size**-0.5, allowed=allowed, constant=cp)
    z, back_dense = dense(ledger, module.output.dense, joined(z))
    z, back_sum = residual(z, x)
    z, back_norm = layer_norm(ledger, module.output.LayerNorm, z)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(back_norm(relevance))
        parts = back_attention(heads(back_dense(of_z), size)[0])
        return of_x + sum(back_one(joined(part)) for part, (_, back_one) in zip(parts, made, strict=True))

    return z, back


def fed_forward(ledger: Ledger, module, x: Tensor) -> tuple[Tensor, Back]:
    """BertIntermediate and BertOutput: dense, activation, dense, residual sum, norm."""
    z, back_up = dense(ledger, module.intermediate.dense, x)
    z, back_act = activation(module.intermediate.intermediate_act_fn, z)
    z, back_down = dense(ledger, module.output.dense, z)
    z, back_sum = residual(z, x)
    z, back_norm = layer_norm(ledger, module.output.LayerNorm, z)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(back_norm(relevance))
        return of_x + back_up(back_act(back_down(of_z)))

    return z, back


@torch.no_grad()
def relevance(
    model, inputs_embeds: Tensor, target: int, attention_mask: Tensor | None = None, *, cp: bool = False
) -> Relevance:
    """Of the logit at target; with cp, attention's weights are constants."""
    ledger, bert, backs = Ledger(), model.bert, []
    embeddings, (batch, tokens) = bert.embeddings, inputs_embeds.shape[:2]
    allowed = visible(batch, tokens, attention_mask, causal=False)
    rows = embeddings.position_embeddings.weight[:tokens] + embeddings.token_type_embeddings.weight[0]
    z, back = table(ledger, inputs_embeds, rows, "tables")
    backs.append(back)
    z, back = layer_norm(ledger, embeddings.LayerNorm, z)
    backs.append(back)
    for layer in bert.encoder.layer:
        z, back_attended = attended(ledger, layer.attention, z, allowed, cp)
        z, back_fed = fed_forward(ledger, layer, z)
        backs += [back_attended, back_fed]
    shape = z.shape
    z, back_pooler = dense(ledger, bert.pooler.dense, z[:, 0])
    z, _ = activation(torch.tanh, z)
    z, back_head = dense(ledger, model.classifier, z)
    r = torch.zeros(shape, dtype=z.dtype)
    r[:, 0] = back_pooler(back_head(at(z, (target,))))
    for back in reversed(backs):
        r = back(r)
    return Relevance(r, z[:, target], dict(ledger.kept))
