"""Values that the backward pass will need, safe from operations in place."""

from __future__ import annotations

from weakref import ReferenceType, ref

import attrs
from torch import Tensor

from attrkit.propagation.step import Kept


@attrs.define
class Keeper:
    """Knows what is kept, by where in memory it lies."""

    _kept: dict[int, list[ReferenceType[Kept]]] = attrs.field(factory=dict)

    def keep(self, value: Tensor) -> Kept:
        """A value for the backward pass, copied before an operation in place reaches it."""
        kept = Kept(value)
        self._kept.setdefault(value.untyped_storage().data_ptr(), []).append(ref(kept))
        return kept

    def secure(self, x: Tensor) -> None:
        """Copy what is kept of ``x``, which is about to be written into."""
        for known in self._kept.pop(x.untyped_storage().data_ptr(), ()):
            if (kept := known()) is not None:
                kept.secure()
