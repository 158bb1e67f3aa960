"""Normalisation by an example's own statistics as a linear map: what it is once the deviation is taken for a constant."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from attrkit.propagation.linear import OneByOne


@attrs.frozen
class Normalised(OneByOne):
    """Implements the LinearMap protocol; the weight is the one of each channel or entry.

    Over the last ``dims`` dimensions, or over ``groups`` of channels and all places. ``centred`` says whether the mean is taken
    away. ``forward`` divides by the deviation of what it is given, ``transpose`` by that of the operation's input.
    """

    eps: float
    dims: int = 0
    groups: int = 0
    centred: bool = True
    places: int = 0  # how many dimensions come after the channels

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return self._whole(self._away(self._parted(x)) * self._reciprocal(x), x) * self.per_output(weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Apply its transpose, with the deviation of ``x``."""
        weighted = self._parted(cotangent * self.per_output(weight)) * self._reciprocal(x)
        return self._whole(self._away(weighted), x)

    def reads(self, x: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """All that it is normalised with."""
        parted = self._parted(x)
        return x.new_full((1,) * x.dim(), math.prod(parted.shape[d] for d in self._over()))

    def evenly(self, amounts: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """The sum, all over."""
        parted = self._parted(amounts)
        return self._whole(parted.sum(self._over(), keepdim=True).expand(parted.shape), x)

    def per_output(self, values: Tensor) -> Tensor:
        """Values of each channel, or of each entry."""
        return values if self.dims or not values.dim() else values.reshape(-1, *[1] * self.places)

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Multiplied."""
        return weight * scale

    def channels_second(self, output: Tensor) -> bool:  # noqa: ARG002 - the protocol's shape
        """No batch norm is merged into another normalisation."""
        return False

    def _parted(self, x: Tensor) -> Tensor:
        return x if self.dims else x.reshape(len(x), self.groups, -1)

    def _whole(self, x: Tensor, like: Tensor) -> Tensor:
        return x.reshape(like.shape)

    def _over(self) -> tuple[int, ...]:
        return tuple(range(-self.dims, 0)) if self.dims else (-1,)

    def _away(self, x: Tensor) -> Tensor:
        return x - x.mean(self._over(), keepdim=True) if self.centred else x

    def _reciprocal(self, x: Tensor) -> Tensor:
        away = self._away(self._parted(x))
        return torch.rsqrt(away.square().mean(self._over(), keepdim=True) + self.eps)
