"""An input that a model accepts, when none is given: zeros in a shape that its first layer suggests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

SIZES = (8, 16, 28, 32, 64, 224)


def guessed_input(model: nn.Module) -> tuple[Tensor, str]:
    """Zeros for one example, and the path of the layer that suggested their shape.

    Raises:
        UsageError: the model has no layer that tells, or accepts none of the shapes.
    """
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
    first = next(((name, m) for name, m in model.named_modules() if isinstance(m, kinds)), None)
    if first is None:
        raise UsageError("no input can be guessed: no layer is linear, a convolution or an embedding; give --data or --shape")
    path, layer = first
    tried = []
    for zeros in _candidates(layer):
        if _accepts(model, zeros):
            return zeros, path
        tried.append(str(tuple(zeros.shape)))
    raise UsageError(f"no input can be guessed: the model takes none of the shapes {', '.join(tried)}; give --data or --shape")


def _candidates(layer: nn.Module) -> Iterator[Tensor]:
    import torch
    from torch import nn

    if isinstance(layer, nn.Embedding):
        yield torch.zeros(1, 8, dtype=torch.long)
    elif isinstance(layer, nn.Linear):
        yield from (torch.zeros(1, layer.in_features), torch.zeros(1, 8, layer.in_features))
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        dimensions = len(layer.kernel_size)
        sizes = SIZES if dimensions < 3 else SIZES[:4]
        yield from (torch.zeros(1, layer.in_channels, *[size] * dimensions) for size in sizes)


def _accepts(model: nn.Module, zeros: Tensor) -> bool:
    import torch

    from attrkit.runner import isolated

    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    given = zeros.to(like) if like is not None and zeros.is_floating_point() else zeros
    try:
        with torch.no_grad():
            isolated(model, lambda forward: forward(given))
    except Exception:  # noqa: BLE001 - whatever a model raises, the shape is not for it
        return False
    return True
