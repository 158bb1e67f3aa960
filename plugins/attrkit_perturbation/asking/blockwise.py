"""The values of coalitions beside the coalitions, block by block, so that neither has to be kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import tee

import torch
from torch import Tensor

from attrkit import Game
from attrkit.errors import ModelError


def valued(game: Game, blocks: Iterable[Tensor], total: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of coalitions and their values, shape ``(k, batch, *outputs)``, float64 on the CPU; whole blocks as they come.

    Where the user interrupts, that is noted in ``game.interrupted``, and what is there by then is all.

    Raises:
        ModelError: the model returned NaN or infinity.
    """
    asked, beside = tee(blocks)
    found = game.stream(asked, total)
    ready: list[Tensor] = []
    for block in beside:
        try:
            while sum(map(len, ready)) < len(block):
                ready.append(next(found).double().cpu())
        except KeyboardInterrupt:
            game.interrupted = True
        values = torch.cat(ready) if ready else torch.empty(0)
        if len(values):
            yield block[: len(values)], _finite(values[: len(block)])
        if game.interrupted:
            return
        ready = [values[len(block) :]]


def _finite(values: Tensor) -> Tensor:
    if bad := int((~values.flatten(1).isfinite().all(1)).sum()):
        raise ModelError(
            f"the model returned NaN or infinity for {bad} of {len(values)} coalitions of features, from which nothing can be "
            "estimated; choose a replacement (or baseline) that the model bears"
        )
    return values
