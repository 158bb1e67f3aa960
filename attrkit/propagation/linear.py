"""Linear maps as values and transposes, without autograd: what every rule for weights is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def forwards(self, xs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Apply it to several inputs with a weight for each, and add what comes out."""
        ...

    def transposes(self, cotangent: Tensor, weights: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        """Apply its transpose for each of several weights."""
        ...

    def reads(self, x: Tensor, weight: Tensor) -> Tensor:
        """How many weights there are between each output and the inputs, shaped to broadcast against the output."""
        ...

    def evenly(self, amounts: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The transpose with every weight one: each input gets the sum of the amounts at the outputs that read it."""
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


class OneByOne:
    """Several weights, where nothing is won by computing with them at once."""

    def forwards(self: LinearMap, xs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Each by itself."""
        first, *others = (self.forward(x, weight) for x, weight in zip(xs, weights, strict=True))
        return sum(others, first)

    def transposes(self: LinearMap, cotangent: Tensor, weights: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        """Each by itself."""
        return tuple(self.transpose(cotangent, weight, x) for weight in weights)


class _ByOnes(OneByOne):
    """What every linear map can do with a weight of ones."""

    def reads(self: LinearMap, x: Tensor, weight: Tensor) -> Tensor:
        """Its value for ones."""
        return self.forward(torch.ones_like(x), torch.ones_like(weight))

    def evenly(self: LinearMap, amounts: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Its transpose."""
        return self.transpose(amounts, torch.ones_like(weight), x)


@attrs.frozen
class Dense(OneByOne):
    """``torch.nn.functional.linear``: weight (out, in)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return F.linear(x, weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """Apply its transpose."""
        return cotangent.matmul(weight)

    def reads(self, x: Tensor, weight: Tensor) -> Tensor:
        """All of a row."""
        return x.new_full((1,) * x.dim(), weight.shape[-1])

    def evenly(self, amounts: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """The sum, all over."""
        return amounts.sum(-1, keepdim=True).expand(x.shape)

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
class Product(_ByOnes):
    """``x @ W`` with a constant W (in, out), or ``W @ x`` with a constant W (out, in) on the ``left``."""

    left: bool = False

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return weight.matmul(x) if self.left else x.matmul(weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """Apply its transpose."""
        turned = weight.transpose(-1, -2)
        return turned.matmul(cotangent) if self.left else cotangent.matmul(turned)

    def per_output(self, values: Tensor) -> Tensor:
        """The last dimension is the output channel, or with the weight on the left the one before."""
        return values.unsqueeze(-1) if self.left else values

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Scale the columns, or with the weight on the left the rows."""
        return weight * self.per_output(scale)

    def channels_second(self, output: Tensor) -> bool:
        """Only without dimensions in between."""
        return output.dim() == 2 and not self.left


@attrs.frozen
class ByGradient(_ByOnes):
    """A function that is linear in its first argument and in the weight, transposed by torch."""

    function: Callable[[Tensor, Tensor], Tensor]

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return self.function(x, weight)

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Apply its transpose."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.function(leaf, weight), leaf, cotangent)[0]

    def per_output(self, values: Tensor) -> Tensor:
        """The last dimension is the output channel."""
        return values

    def scaled(self, weight: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's shape
        """Never asked for: no batch norm is merged into it."""
        return weight

    def channels_second(self, output: Tensor) -> bool:  # noqa: ARG002 - the protocol's shape
        """Nobody knows."""
        return False


_FEW = 4  # channels


@attrs.frozen
class Convolution(OneByOne):
    """Convolutions and transposed convolutions over any number of dimensions."""

    dims: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    more: tuple[int, ...] = ()  # padding beyond that, at the end of each dimension

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply it; an input without a batch dimension is taken as one example, and examples that are one only once."""
        single = x.dim() == self.dims + 1
        if not single and len(x) > 1 and x.stride(0) == 0:
            return self.forward(x[:1], weight).expand(len(x), *[-1] * (self.dims + 1))
        x = self._padded(x)
        output = torch.convolution(x.unsqueeze(0) if single else x, weight, None, *self._geometry())
        return output.squeeze(0) if single else output

    def transpose(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Apply its transpose."""
        single = x.dim() == self.dims + 1
        shape, x = x.shape, self._padded(x)
        if single:
            cotangent, x = cotangent.unsqueeze(0), x.unsqueeze(0)
        backward = torch.ops.aten.convolution_backward
        gradient: Tensor = backward(cotangent, x, weight, None, *self._geometry(), [True, False, False])[0]
        gradient = gradient.squeeze(0) if single else gradient
        return gradient[tuple(map(slice, shape))] if any(self.more) else gradient

    def forwards(self, xs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """At once where inputs have few channels, as of an image: kernels compute some more of them in the same time."""
        if not self._narrow(xs[0]):
            return super().forwards(xs, weights)
        return self.forward(torch.cat(tuple(xs), 1), self._side_by_side(weights))

    def transposes(self, cotangent: Tensor, weights: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        """At once too."""
        if not self._narrow(x):
            return super().transposes(cotangent, weights, x)
        wide = x[:, :1].expand(-1, len(weights) * x.shape[1], *x.shape[2:])
        return self.transpose(cotangent, self._side_by_side(weights), wide).chunk(len(weights), 1)

    def _narrow(self, x: Tensor) -> bool:
        return x.dim() == self.dims + 2 and self.groups == 1 and x.shape[1] <= _FEW

    def _side_by_side(self, weights: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(weights), 0 if self.transposed else 1)

    def reads(self, x: Tensor, weight: Tensor) -> Tensor:
        """Counted for one channel, because all are alike."""
        places, channels = x.shape[-self.dims :], x.shape[-self.dims - 1] // self.groups
        counts = self._of_one_channel().forward(x.new_ones(1, 1, *places), self._ones(weight)) * channels
        return counts if x.dim() == self.dims + 2 else counts[0]

    def evenly(self, amounts: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Transposed for one channel of each group, because all are alike."""
        if x.dim() == self.dims + 1:
            return self.evenly(amounts.unsqueeze(0), weight, x.unsqueeze(0)).squeeze(0)
        summed: Tensor = amounts.reshape(len(x), self.groups, -1, *amounts.shape[2:]).sum(2).flatten(0, 1).unsqueeze(1)
        like = x[:, : self.groups].reshape(-1, 1, *x.shape[2:])
        found = self._of_one_channel().transpose(summed, self._ones(weight), like)
        each: Tensor = found.unflatten(0, (len(x), self.groups))
        return each.expand(-1, -1, x.shape[1] // self.groups, *x.shape[2:]).flatten(1, 2)

    def _of_one_channel(self) -> Convolution:
        return attrs.evolve(self, groups=1)

    def _ones(self, weight: Tensor) -> Tensor:
        return weight.new_ones(1, 1, *weight.shape[2:])

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, [n for more in reversed(self.more) for n in (0, more)]) if any(self.more) else x

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
