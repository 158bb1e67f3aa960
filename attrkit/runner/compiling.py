"""Forward passes by torch's compiler: of one size, so that it compiles once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from attrkit.errors import UsageError

ROWS = 64  # of a compiled pass, where nobody says how many


def filled(call: Callable[..., Any], rows: int, size: int) -> Callable[..., Any]:
    """``call`` for ``rows`` rows, which are filled up to ``size`` by repeating the last one.

    Raises:
        UsageError: torch cannot compile the model.
    """

    def larger(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != rows:
            return value
        return torch.cat([value, value[-1:].expand(size - rows, *value.shape[1:])])

    def smaller(value: Any) -> Any:
        return value[:rows] if isinstance(value, Tensor) and value.dim() and len(value) == size else value

    def called(*args: Any, **kwargs: Any) -> Any:
        if 0 < rows < size:
            args, kwargs = tree_map(larger, (args, kwargs))
        try:
            return tree_map(smaller, call(*args, **kwargs))
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise UsageError(f"compiled=True: torch cannot compile the model; leave it out. It said: {error}") from error
            raise

    return called
