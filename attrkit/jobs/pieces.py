"""What came of rows that were explained together: tensors of those that are good, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.explanation import Explanation

_NOT_FINITE = "the attributions, or the output, are not finite"


@attrs.frozen
class Failed:
    """A row that has no attributions, and why."""

    row: int
    id: Any
    error: str


@attrs.frozen(eq=False)
class Piece:
    """Rows with attributions: their numbers, ids, tensors with a row for each, and what is the same for all of them."""

    rows: Tensor
    ids: list[Any] | None
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]


@attrs.frozen(eq=False)
class Found:
    """What came of some rows, in order."""

    pieces: list[Piece] = attrs.field(factory=list)
    failed: list[Failed] = attrs.field(factory=list)
    warned: list[str] = attrs.field(factory=list)

    def and_(self, other: Found) -> Found:
        """With what came of the rows that follow."""
        return Found(self.pieces + other.pieces, self.failed + other.failed, self.warned + other.warned)


def the_jobs_own(explanation: Explanation, n: int) -> bool:
    """Whether an explanation is of ``n`` rows together, which no cutting of the data set into shards goes with."""
    return any(value.dim() == 0 or len(value) != n for value in (*explanation.values.values(), *_about(explanation).values()))


def piece_of(
    explanation: Explanation, start: int, stop: int, ids: list[Any] | None, *, each_its_target: bool
) -> tuple[Piece | None, list[Failed]]:
    """What is kept of an explanation of rows, on the CPU, and those of them whose attributions or output are not finite.

    With ``each_its_target``, targets are kept row by row, also where a single row has just one.
    """
    target = explanation.target
    tensors = {
        **{f"values/{name}": value for name, value in explanation.values.items()},
        **{f"errors/{name}": value for name, value in explanation.errors.items()},
        **_about(explanation),
    }
    if each_its_target and target is not None:
        tensors["target"] = torch.tensor(target if isinstance(target, list) else [_index(target)])
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    good = torch.ones(stop - start, dtype=torch.bool)
    for name, tensor in tensors.items():
        if name.startswith("values/") or name == "output":
            good &= _finite(tensor.reshape(stop - start, -1))
    names = ids or [None] * (stop - start)
    bad = [Failed(start + place, names[place], _NOT_FINITE) for place in (~good).nonzero().flatten().tolist()]
    if not good.any():
        return None, bad
    if bad:
        tensors = {name: tensor[good] for name, tensor in tensors.items()}
    piece = Piece(
        rows=torch.arange(start, stop)[good],
        ids=ids and [each for each, fine in zip(ids, good.tolist(), strict=True) if fine],
        tensors=tensors,
        about={"where": explanation.where, "target": None if "target" in tensors else target, "model": explanation.model},
    )
    return piece, bad


def _finite(rows: Tensor) -> Tensor:
    """Which rows hold neither NaN nor infinity; their sums, which are quick to make, tell where all are finite."""
    sums = rows.sum(1).isfinite()
    return sums if bool(sums.all()) else rows.isfinite().all(1)


def _about(explanation: Explanation) -> dict[str, Tensor]:
    """What an explanation says of the model's output, rows first, which of several layers' deltas are last."""
    found = {name: getattr(explanation, name) for name in ("output", "baseline_output", "delta")}
    return {name: t.T if name == "delta" and t.dim() == 2 else t for name, t in found.items() if t is not None}


def _index(target: Any) -> Any:
    return target["index"] if isinstance(target, Mapping) else target
