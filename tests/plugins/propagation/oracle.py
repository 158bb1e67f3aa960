"""Rules from their formulas, on whole matrices of contributions: slow, and without anything of attrkit."""

from __future__ import annotations

import copy

import torch


def entry(match, rule, *, optional=False, **options):
    """A line of a ruleset."""
    return {"match": match, "rule": rule, "with": options, "optional": optional}


def ruleset(*entries, **keys):
    """A ruleset as a mapping."""
    rules = [{"id": f"r{i}", **each} for i, each in enumerate(entries)]
    return {"schema": "attrkit/ruleset@1", "name": "test", "rules": rules, **keys}


def matrix(module, shape, change=lambda w: w):
    """The matrix of a linear module without its bias, its weight changed, for inputs of a shape: (outputs, inputs)."""
    bare = copy.deepcopy(module)
    bare.bias = None
    bare.weight.data = change(bare.weight.data)
    unit = torch.eye(torch.Size(shape).numel(), dtype=torch.float64)
    with torch.no_grad():
        return bare(unit.reshape(-1, *shape)).flatten(1).T


def bias_of(module, shape):
    """The bias at each output."""
    with torch.no_grad():
        return module(torch.zeros(1, *shape, dtype=torch.float64)).flatten()


def stabilized(z, stabilizer):
    """Away from zero by a number, or by a fraction of the root mean square of vectors; the sign of 0 is positive.

    Where that is nothing, there is nothing to share: what is divided vanishes.
    """
    if isinstance(stabilizer, dict):
        vectors = z.reshape(-1, stabilizer.get("length", z.numel()))
        stabilizer = stabilizer["epsilon"] * vectors.square().mean(1, keepdim=True).sqrt().expand_as(vectors).reshape(z.shape)
    moved = z + stabilizer * (z >= 0).to(z) - stabilizer * (z < 0).to(z)
    return torch.where(moved == 0, torch.inf, moved)


# Each takes the matrix, how many weights are between each output and input, the bias, an input, the relevance at the output.


def epsilon(w, reads, b, x, r, *, epsilon):
    z = w @ x + b
    return ((x * w) / stabilized(z, epsilon)[:, None] * r[:, None]).sum(0)


def alphabeta(w, reads, b, x, r, *, alpha, beta, stabilizer):
    positive, negative = (x * w).clamp(min=0), (x * w).clamp(max=0)
    p = positive / stabilized(positive.sum(1) + b.clamp(min=0), stabilizer)[:, None]
    n = negative / -stabilized(-negative.sum(1) - b.clamp(max=0), stabilizer)[:, None]
    return ((alpha * p - beta * n) * r[:, None]).sum(0)


def zplus(w, reads, b, x, r, *, stabilizer):
    positive = (x * w).clamp(min=0)
    return (positive / stabilized(positive.sum(1) + b.clamp(min=0), stabilizer)[:, None] * r[:, None]).sum(0)


def gamma(w, reads, b, x, r, *, gamma, stabilizer, full_bias):
    sign = torch.sign(w @ x + full_bias)

    def favoured(t):
        return torch.where(t * sign[:, None] > 0, (1 + gamma) * t, t)

    parts = favoured(x * w)
    return (parts / stabilized(parts.sum(1) + favoured(b[:, None])[:, 0], stabilizer)[:, None] * r[:, None]).sum(0)


def flat(w, reads, b, x, r, *, stabilizer):
    return (reads / stabilized(reads.sum(1), stabilizer)[:, None] * r[:, None]).sum(0)


def wsquare(w, reads, b, x, r, *, stabilizer):
    return (w**2 / stabilized((w**2).sum(1) + b**2, stabilizer)[:, None] * r[:, None]).sum(0)


def zbox(w, reads, b, x, r, *, low, high, stabilizer):
    parts = x * w - low * w.clamp(min=0) - high * w.clamp(max=0)
    return (parts / stabilized(parts.sum(1), stabilizer)[:, None] * r[:, None]).sum(0)
