"""Small nets over sequences: attention, encoders, recurrent and gated ones; ``nets`` has them with inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Multihead(nn.Module):
    """``nn.MultiheadAttention``, its norm and sum around it, over a sequence."""

    def __init__(self, *, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.head(self.norm(x + y).mean(1 if self.batch_first else 0))


class CrossAttention(nn.Module):
    """``nn.MultiheadAttention`` from one sequence to another of other features, padded, with its weights."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, kdim=5, vdim=5, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x, memory):
        padding = torch.zeros(memory.shape[:2], dtype=torch.bool)
        padding[1:, -1] = True
        y, weights = self.attention(x, memory, memory, key_padding_mask=padding)
        return self.head(y.mean(1)) + weights.sum((1, 2))[:, None]


class Attention(nn.Module):
    """Self-attention as people write it: one call, in parts, or with einsum; causal where it is said."""

    def __init__(self, how, *, causal=False):
        super().__init__()
        self.how, self.causal = how, causal
        self.mix, self.out, self.head = nn.Linear(6, 18, bias=False), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (2, 3)).transpose(1, 2) for t in self.mix(x).chunk(3, dim=-1))
        y = getattr(self, self.how)(q, k, v).transpose(1, 2).flatten(2)
        return self.head((x + self.out(y)).mean(1))

    def fused(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)

    def parts(self, q, k, v):
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores[0, 0]).triu(1).bool(), float("-inf"))
        return scores.softmax(dim=-1) @ v

    def einsum(self, q, k, v):
        weights = torch.softmax(torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5, dim=-1)
        return torch.einsum("bhij,bhjd->bhid", weights, v)


class Encoder(nn.Module):
    """``nn.TransformerEncoder`` over embeddings with positions."""

    def __init__(self, **given):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True, **given)
        self.positions = nn.Parameter(torch.randn(5, 8))
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layers(x + self.positions)[:, 0])


class Recurrent(nn.Module):
    """What is left at the end of a sequence, classified."""

    def __init__(self, kind, *, batch_first=True, **given):
        super().__init__()
        self.batch_first = batch_first
        self.cells = kind(4, 5, batch_first=batch_first, **given)
        self.head = nn.Linear(10 if given.get("bidirectional") else 5, 3)

    def forward(self, x):
        output, _ = self.cells(x if self.batch_first else x.transpose(0, 1))
        return self.head(output[:, -1] if self.batch_first else output[-1])


class Final(nn.Module):
    """The hidden state that a recurrent net returns beside its output, classified."""

    def __init__(self, kind):
        super().__init__()
        self.cells, self.head = kind(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        _, state = self.cells(x)
        return self.head((state[0] if isinstance(state, tuple) else state)[-1])


class Projected(nn.Module):
    """An LSTM whose output is smaller than its state."""

    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(4, 5, batch_first=True, proj_size=2)

    def forward(self, x):
        return self.cells(x)[0][:, -1]


class Gated(nn.Module):
    """A gated MLP with a norm and a sum around it, as in Llama and Gemma."""

    def __init__(self, act, norm=nn.RMSNorm):
        super().__init__()
        self.norm, self.act = norm(6), act()
        self.gate, self.up, self.down = (nn.Linear(*size, bias=False) for size in ((6, 9), (6, 9), (9, 6)))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = self.norm(x)
        return self.head((x + self.down(self.act(self.gate(y)) * self.up(y))).mean(1))
