"""Rules for one linear map from their definitions, on the whole matrix of contributions, example by example.

``rule(map, x, relevance, bias=..., **options)`` takes and returns batches: x and what comes back have the map's shape of
inputs, relevance that of its outputs. A stabiliser is a number, or ``{"epsilon": number, "relative": True}`` in units of
the root mean square, over an example, of what it stabilises; the sign of 0 is positive.

What becomes of a bias's share of relevance: ``absorb`` (the bias keeps it), ``zero`` (there is no bias, but in the sign of
an output), ``distribute`` (spread equally over the inputs that the output reads, as in iNNvestigate, arXiv:1808.04260).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Stabilizer = float | dict[str, float | bool]


@dataclass(frozen=True)
class Map:
    """``z = matrix @ x + bias`` for inputs and outputs laid out flat."""

    matrix: Tensor  # (outputs, inputs)
    reads: Tensor  # (outputs, inputs): how many weights are between the two, whatever their values
    bias: Tensor  # (outputs,)

    def outputs(self, x: Tensor) -> Tensor:
        """Its values, flat."""
        return x.flatten(1) @ self.matrix.T + self.bias

    def scaled(self, scale: Tensor, shift: Tensor) -> Map:
        """It followed by ``scale * z + shift`` at each output, as by a batch norm."""
        return Map(scale[:, None] * self.matrix, self.reads, scale * self.bias + shift)


def jacobian(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix of an affine function without what it adds, for inputs of a shape: (outputs, inputs)."""
    unit = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        return (function(unit) - function(torch.zeros_like(unit[:1]))).flatten(1).T


def map_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Map:
    """The map of a module, or of any affine function: without a weight, it reads what has any influence."""
    with torch.no_grad():
        bias = function(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    matrix = jacobian(function, shape)
    if not isinstance(function, nn.Module) or not hasattr(function, "weight"):
        return Map(matrix, (matrix != 0).to(matrix), bias)
    ones = copy.deepcopy(function)
    ones.weight.data.fill_(1)
    return Map(matrix, jacobian(ones, shape), bias)


def stabilized(z: Tensor, stabilizer: Stabilizer) -> Tensor:
    """Away from zero; where it is still nothing there is nothing to share, and what it divides vanishes."""
    if isinstance(stabilizer, dict):
        scale = z.square().mean().sqrt() if stabilizer.get("relative") else 1.0
        stabilizer = stabilizer["epsilon"] * scale
    moved = z + torch.where(z >= 0, 1.0, -1.0).to(z) * stabilizer
    return torch.where(moved == 0, torch.inf, moved)


def shared(known: Map, parts: Tensor, added: Tensor, stabilizer: Stabilizer, relevance: Tensor, bias: str) -> Tensor:
    """Relevance of one example by ``parts`` (outputs, inputs) of their sum; ``added`` is the part of the bias."""
    if bias not in ("absorb", "zero", "distribute"):
        raise ValueError(bias)
    if bias == "zero":
        added = torch.zeros_like(added)
    share = relevance / stabilized(parts.sum(1) + added, stabilizer)
    if bias == "distribute":
        parts = parts + known.reads / known.reads.sum(1, keepdim=True).clamp(min=1) * added[:, None]
    return (parts * share[:, None]).sum(0)


def by_example(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A rule for one flat example, for a batch of any shape."""

    def batched(known: Map, x: Tensor, relevance: Tensor, *, bias: str = "absorb", **options) -> Tensor:
        pairs = zip(x.flatten(1), relevance.flatten(1), strict=True)
        return torch.stack([rule(known, one, r, bias, **options) for one, r in pairs]).reshape(x.shape)

    batched.__name__, batched.__doc__ = rule.__name__, rule.__doc__
    return batched


@by_example
def epsilon(known, x, relevance, bias, *, epsilon: Stabilizer = 0.0) -> Tensor:
    """By contribution (doi:10.1371/journal.pone.0130140); with an epsilon of 0 it is LRP-0."""
    return shared(known, known.matrix * x, known.bias, epsilon, relevance, bias)


@by_example
def gamma(known, x, relevance, bias, *, gamma: float = 0.25, stabilizer: Stabilizer = 0.0) -> Tensor:
    """Generalised (doi:10.1186/s13640-021-00558-5): contributions of the sign of the output count 1 + gamma times."""
    z = known.matrix @ x + known.bias

    def favoured(t):
        return torch.where(t * torch.sign(z).reshape(-1, *[1] * (t.dim() - 1)) > 0, (1 + gamma) * t, t)

    relevance = torch.where(z == 0, 0, relevance)  # which has no sign to favour
    return shared(known, favoured(known.matrix * x), favoured(known.bias), stabilizer, relevance, bias)


@by_example
def gamma_positive(
    known, x, relevance, bias, *, gamma: float = 0.25, stabilizer: Stabilizer = 0.0, favour_bias: bool = False
) -> Tensor:
    """Weights w + gamma w+ (doi:10.1007/978-3-030-28954-6_10, which has the bias favoured too; Captum leaves it alone)."""
    added = known.bias + gamma * known.bias.clamp(min=0) if favour_bias else known.bias
    parts = x * (known.matrix + gamma * known.matrix.clamp(min=0))
    return shared(known, parts, added, stabilizer, relevance, bias)


@by_example
def weights_plus(known, x, relevance, bias, *, stabilizer: Stabilizer = 0.0) -> Tensor:
    """The z+ rule for inputs that are not negative (doi:10.1016/j.patcog.2016.11.008); the bias whole, as in Captum."""
    return shared(known, x * known.matrix.clamp(min=0), known.bias, stabilizer, relevance, bias)


@by_example
def zplus(known, x, relevance, bias, *, stabilizer: Stabilizer = 0.0) -> Tensor:
    """By positive contributions (doi:10.1016/j.patcog.2016.11.008), whatever the input's sign: alpha 1, beta 0."""
    return shared(known, (x * known.matrix).clamp(min=0), known.bias.clamp(min=0), stabilizer, relevance, bias)


@by_example
def alphabeta(known, x, relevance, bias, *, alpha: float = 2.0, beta: float = 1.0, stabilizer: Stabilizer = 0.0) -> Tensor:
    """Alpha by positive contributions less beta by negative ones (doi:10.1371/journal.pone.0130140)."""
    parts = x * known.matrix
    gained = shared(known, parts.clamp(min=0), known.bias.clamp(min=0), stabilizer, relevance, bias)
    taken = shared(known, (-parts).clamp(min=0), (-known.bias).clamp(min=0), stabilizer, relevance, bias)
    return alpha * gained - beta * taken


@by_example
def zbox(known, x, relevance, bias, *, low: Tensor | float, high: Tensor | float, stabilizer: Stabilizer = 0.0) -> Tensor:
    """By contribution above the lowest that an input in a box can make (doi:10.1016/j.patcog.2016.11.008).

    Low and high are numbers, or flat like one example. A bias adds b to an output and to its lowest value: it has no part.
    """
    parts = x * known.matrix - low * known.matrix.clamp(min=0) - high * known.matrix.clamp(max=0)
    return shared(known, parts, torch.zeros_like(known.bias), stabilizer, relevance, bias)


@by_example
def wsquare(known, x, relevance, bias, *, stabilizer: Stabilizer = 0.0) -> Tensor:
    """By squared weights (doi:10.1016/j.patcog.2016.11.008)."""
    return shared(known, known.matrix.square(), known.bias.square(), stabilizer, relevance, bias)


@by_example
def flat(known, x, relevance, bias, *, stabilizer: Stabilizer = 0.0) -> Tensor:
    """Equally among what an output reads (arXiv:1902.10178); a bias has no part."""
    return shared(known, known.reads, torch.zeros_like(known.bias), stabilizer, relevance, bias)


@by_example
def excitation(known, x, relevance, bias) -> Tensor:
    """Winning probabilities of excitation backprop (arXiv:1608.00507), for inputs of any sign: zplus, no bias."""
    return shared(known, (x * known.matrix).clamp(min=0), torch.zeros_like(known.bias), 0.0, relevance, "zero")


#: All of them, with options that each needs at least.
RULES: dict[str, tuple[Callable[..., Tensor], dict[str, float]]] = {
    "epsilon": (epsilon, {}),
    "gamma": (gamma, {}),
    "gamma_positive": (gamma_positive, {}),
    "weights_plus": (weights_plus, {}),
    "zplus": (zplus, {}),
    "alphabeta": (alphabeta, {}),
    "zbox": (zbox, {"low": -3.0, "high": 3.0}),
    "wsquare": (wsquare, {}),
    "flat": (flat, {}),
}
