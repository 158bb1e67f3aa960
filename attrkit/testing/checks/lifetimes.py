"""What is dropped is gone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject


@check()
def nothing_keeps_the_model(s: Subject) -> None:
    """A model that its owner drops is freed, with its inputs."""
    model, x = seeded(), points(3, 5)
    kept: list[weakref.ref[Any]] = [weakref.ref(model), weakref.ref(x)]
    s.values(model, x)
    del model, x
    gc.collect()
    alive = [name for name, ref in zip(("model", "inputs"), kept, strict=True) if ref() is not None]
    assert not alive, f"the {' and the '.join(alive)} are still there after their owner dropped them"
