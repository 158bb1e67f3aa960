"""How much of the output each layer accounts for: relevance is neither made nor lost, save by biases and stabilisers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from attrkit.errors import UsageError
from attrkit.views.columns import columns

if TYPE_CHECKING:
    from torch import Tensor

    from attrkit.explanation import Explanation

INPUTS = "inputs"


@attrs.frozen
class Held:
    """What one layer holds.

    Attributes:
        layer: its path; ``inputs`` for all of the inputs together.
        relevance: the sum of its attributions.
        share: how much of the output, or of its change from the baseline, that is; 1 where nothing is lost.
    """

    layer: str
    relevance: float
    share: float


@attrs.frozen(repr=False)
class Conservation:
    """A row for each layer, in the order of the explanation; printing it shows a table.

    Attributes:
        rows: what each layer holds.
        output: what there is to hold: the output, or its change from the baseline.
    """

    rows: tuple[Held, ...]
    output: float

    def __iter__(self) -> Iterator[Held]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, layer: str) -> Held:
        for row in self.rows:
            if row.layer == layer:
                return row
        raise KeyError(layer)

    def __repr__(self) -> str:
        rows = [(row.layer, f"{row.relevance:.6g}", f"{row.share:.2%}") for row in self.rows]
        return "\n".join(columns([*rows, ("output", f"{self.output:.6g}", "")], ("layer", "relevance", "share of the output")))


def conservation(explanation: Explanation, example: int | None) -> Conservation:
    """What each layer of an explanation holds, of one example or of all together.

    Raises:
        UsageError: the explanation has no output, or rows that are no examples, or no such example.
    """
    if explanation.output is None:
        raise UsageError(
            f"method {explanation.method!r} explains no output, so that there is nothing to share; use one like lrp"
        )
    change = explanation.output
    if explanation.baseline_output is not None:
        change = change - explanation.baseline_output
    n = len(change)
    if example is not None and (type(example) is not int or not -n <= example < n):
        raise UsageError(f"example must be an integer below {n}, the number of examples, or None for all, got {example!r}")
    sums = _sums(explanation.values if explanation.where == "layer" else {INPUTS: tuple(explanation.values.values())}, n)

    def chosen(t: Tensor) -> float:
        return float(t.sum() if example is None else t[example])

    output = chosen(change)
    held = [(layer, chosen(total)) for layer, total in sums.items()]
    return Conservation(tuple(Held(layer, r, r / output if output else math.nan) for layer, r in held), output)


def _sums(values: Mapping[str, Tensor | tuple[Tensor, ...]], n: int) -> dict[str, Tensor]:
    """The sum of each layer's attributions for each example; a layer of several tensors has them under numbered names."""
    sums: dict[str, Tensor] = {}
    for name, given in values.items():
        layer = re.sub(r"\[\d+\]$", "", name)
        for tensor in given if isinstance(given, tuple) else (given,):
            if len(tensor) != n:
                raise UsageError(
                    f"{layer}: its attributions have {len(tensor)} rows for {n} examples, which cannot be compared"
                )
            total = tensor.flatten(1).sum(1)
            sums[layer] = sums[layer] + total if layer in sums else total
    return sums
