"""A background: rows that take turns in place of absent features."""

from __future__ import annotations

import attrs
from torch import Tensor

from attrkit.protocols import Tensors


@attrs.frozen(eq=False)
class Rows:
    """One tensor per tensor at the site, with as many rows each; rows of one number belong together."""

    tensors: Tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __call__(self, numbers: Tensor) -> Tensors:
        """The row of each number, counted round, the same for all examples: shape ``(k, 1, ...)``."""
        return tuple(t[(numbers % len(self)).to(t.device)][:, None] for t in self.tensors)
