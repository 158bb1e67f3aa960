"""Relevance through transformers' ViTForImageClassification, at the pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def patches(ledger: Ledger, module, pixels: Tensor) -> tuple[Tensor, Back]:
    """The convolution, whose windows do not overlap, as a linear map of every patch."""
    size = tuple(module.projection.kernel_size)
    columns = F.unfold(pixels, size, stride=size).transpose(1, 2)
    z, back_linear = linear(ledger, columns, module.projection.weight.flatten(1).T, module.projection.bias)
    shape = pixels.shape[-2:]
    return z, lambda relevance: F.fold(back_linear(relevance).transpose(1, 2), shape, size, stride=size)


def attended(ledger: Ledger, layer, x: Tensor, allowed: Tensor, cp: bool) -> tuple[Tensor, Back]:
    """Norm, attention, dense, residual sum."""
    module, size = layer.attention, layer.attention.head_dim
    y, back_norm = layer_norm(ledger, layer.layernorm_before, x)
    made = [dense(ledger, m, y) for m in (module.q_proj, module.k_proj, module.v_proj)]
    (q, _), (k, _), (v, _) = (heads(z, size) for z, _ in made)
    z, back_attention = attention(ledger, q, k, v, scale=size**-0.5, allowed=allowed, constant=cp)
    z, back_dense = dense(ledger, module.o_proj, joined(z))
    z, back_sum = residual(z, x)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(relevance)
        parts = back_attention(heads(back_dense(of_z), size)[0])
        return of_x + back_norm(sum(back_one(joined(part)) for part, (_, back_one) in zip(parts, made, strict=True)))

    return z, back


def fed_forward(ledger: Ledger, layer, x: Tensor) -> tuple[Tensor, Back]:
    """Norm, dense, activation, dense, residual sum."""
    y, back_norm = layer_norm(ledger, layer.layernorm_after, x)
    z, back_up = dense(ledger, layer.mlp.fc1, y)
    z, back_act = activation(layer.mlp.activation_fn, z)
    z, back_down = dense(ledger, layer.mlp.fc2, z)
    z, back_sum = residual(z, x)

    def back(relevance: Tensor) -> Tensor:
        of_z, of_x = back_sum(relevance)
        return of_x + back_norm(back_up(back_act(back_down(of_z))))

    return z, back


@torch.no_grad()
def relevance(model, pixel_values: Tensor, target: int, *, cp: bool = False) -> Relevance:
    """Of the logit at target; with cp, attention's weights are constants."""
    ledger, vit = Ledger(), model.vit
    z, back_patches = patches(ledger, vit.embeddings.patch_embeddings, pixel_values)
    z = torch.cat([vit.embeddings.cls_token.expand(len(z), -1, -1), z], dim=1)
    z, back_table = table(ledger, z, vit.embeddings.position_embeddings, "tables")
    allowed, backs = visible(*z.shape[:2], None, causal=False), []
    for layer in vit.layers:
        z, back_attended = attended(ledger, layer, z, allowed, cp)
        z, back_fed = fed_forward(ledger, layer, z)
        backs += [back_attended, back_fed]
    z, back_norm = layer_norm(ledger, vit.layernorm, z)
    shape = z.shape
    z, back_head = dense(ledger, model.classifier, z[:, 0])
    r = torch.zeros(shape, dtype=z.dtype)
    r[:, 0] = back_head(at(z, (target,)))
    r = back_norm(r)
    for back in reversed(backs):
        r = back(r)
    r = back_table(r)
    ledger.keep("tables", r[:, 0])  # the token of the class is a constant
    return Relevance(back_patches(r[:, 1:]), z[:, target], dict(ledger.kept))
