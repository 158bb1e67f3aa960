"""What is dropped is gone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from torch.multiprocessing.reductions import StorageWeakRef

from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject


@check()
def nothing_keeps_the_model(s: Subject) -> None:
    """A model that its owner drops is freed, with its inputs."""
    model, x = seeded(), points(3, 5)
    kept: dict[str, weakref.ref[Any]] = {"model": weakref.ref(model), "inputs": weakref.ref(x)}
    numbers = {"model's parameters": next(model.parameters()).untyped_storage(), "inputs' numbers": x.untyped_storage()}
    memory = {name: StorageWeakRef(storage) for name, storage in numbers.items()}
    s.values(model, x)
    del model, x, numbers
    gc.collect()
    alive = [name for name, ref in kept.items() if ref() is not None]
    alive = alive or [name for name, ref in memory.items() if not ref.expired()]  # of a copy that shares them
    assert not alive, f"the {' and the '.join(alive)} are still there after their owner dropped them"
