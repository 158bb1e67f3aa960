"""Linear maps as values and transposes, without autograd: what every rule for weights is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor


class LinearMap(Protocol):
    """``x -> W x``, for any W of the operation's shape."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        ...

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Apply its transpose; ``x`` gives the shape of the input."""
        ...

    def per_output(self, values: Tensor) -> Tensor:
        """One value per output channel, shaped to broadcast against the output."""
        ...

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """The weight with each output channel multiplied by a number."""
        ...

    def channels_second(self, output: Tensor) -> bool:
        """Whether an output's channels are its second dimension, where a batch norm looks for them."""
        ...


@attrs.frozen
class Dense:
    """``torch.nn.functional.linear``: weight (out, in)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return F.linear(x, weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """Apply its transpose."""
        return cotangent.matmul(weight)

    def per_output(self, values: Tensor) -> Tensor:
        """The last dimension is the output channel."""
        return values

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Scale the rows."""
        return weight * scale.unsqueeze(-1)

    def channels_second(self, output: Tensor) -> bool:
        """Only without dimensions in between."""
        return output.dim() == 2


@attrs.frozen
class Product:
    """``x @ W`` with a constant W (in, out)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return x.matmul(weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """Apply its transpose."""
        return cotangent.matmul(weight.transpose(-1, -2))

    def per_output(self, values: Tensor) -> Tensor:
        """The last dimension is the output channel."""
        return values

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Scale the columns."""
        return weight * scale

    def channels_second(self, output: Tensor) -> bool:
        """Only without dimensions in between."""
        return output.dim() == 2


@attrs.frozen
class Convolution:
    """Convolutions and transposed convolutions over any number of dimensions."""

    dims: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it; an input without a batch dimension is taken as one example."""
        single = x.dim() == self.dims + 1
        output = torch.convolution(x.unsqueeze(0) if single else x, weight, None, *self._geometry())
        return output.squeeze(0) if single else output

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Apply its transpose."""
        single = x.dim() == self.dims + 1
        if single:
            cotangent, x = cotangent.unsqueeze(0), x.unsqueeze(0)
        backward = torch.ops.aten.convolution_backward
        gradient: Tensor = backward(cotangent, x, weight, None, *self._geometry(), [True, False, False])[0]
        return gradient.squeeze(0) if single else gradient

    def per_output(self, values: Tensor) -> Tensor:
        """Channels come before the spatial dimensions."""
        return values.reshape(-1, *[1] * self.dims)

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Scale the output channels, which a transposed convolution keeps per group in the second dimension."""
        if not self.transposed:
            return weight * scale.reshape(-1, *[1] * (self.dims + 1))
        parts = zip(weight.chunk(self.groups), scale.chunk(self.groups), strict=True)
        return torch.cat([w * s.reshape(1, -1, *[1] * self.dims) for w, s in parts])

    def channels_second(self, output: Tensor) -> bool:
        """With a batch dimension."""
        return output.dim() == self.dims + 2

    def _geometry(self) -> tuple[Sequence[int], Sequence[int], Sequence[int], bool, Sequence[int], int]:
        return self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups


def spread(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One number per spatial dimension."""
    return (value,) * dims if isinstance(value, int) else tuple(value) * (dims if len(value) == 1 else 1)
