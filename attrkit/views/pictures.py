"""What a picture of attributions shows, whoever draws it: a heat map, or the largest features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from attrkit.errors import UnknownName, UsageError, did_you_mean
from attrkit.views.colours import Floats, scale_of

if TYPE_CHECKING:
    from attrkit.explanation import Explanation

KINDS = ("auto", "bar", "image")
MOST = 12  # features that get a bar of their own


@attrs.frozen(eq=False)
class Picture:
    """One example's attributions under one name.

    Attributes:
        name: of the input or layer.
        kind: ``image`` or ``bar``.
        values: what is shown: ``(height, width)`` for an image, ``(features,)`` for bars.
        under: the input in grey, 0 to 1, where it has the image's shape.
        labels: the features' names.
    """

    name: str
    kind: str
    values: Floats
    under: Floats | None = None
    labels: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """The value at the end of the colour scale."""
        return scale_of(self.values)

    def shrunk(self, most: int) -> Picture:
        """The picture with at most ``most`` values along each dimension, each the mean of neighbours."""
        under = None if self.under is None else shrunk(self.under, most)
        return attrs.evolve(self, values=shrunk(self.values, most), under=under, labels=())

    def bars(self, most: int = MOST) -> list[tuple[str, float]]:
        """The ``most`` features of the largest absolute value, that first, and the sum of all others if they are several."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        most += len(order) == most + 1
        found = [(self.labels[i], float(self.values[i])) for i in order[:most]]
        rest = order[most:]
        return [*found, (f"sum of {len(rest)} others", float(self.values[rest].sum()))] if len(rest) else found


def picture(
    explanation: Explanation, example: int = 0, *, name: str | None = None, kind: str = "auto", labels: Sequence[str] = ()
) -> Picture:
    """What to show of one example.

    Raises:
        UnknownName: the explanation has no such name, or there is no such kind of picture.
        UsageError: the example is out of range, the name is missing, or the values do not suit the kind.
    """
    if kind not in KINDS:
        raise UnknownName(f"kind={kind!r} is no kind of picture.{did_you_mean(kind, KINDS)} Kinds: {', '.join(KINDS)}")
    if explanation.output is not None and explanation.output.dim() > 1:
        raise UsageError(
            f"what was explained are {explanation.output[0].numel()} outputs at once; for a picture, explain one by target="
        )
    name = _named(explanation, name)
    rows = explanation.values[name]
    if isinstance(example, bool) or not isinstance(example, int) or not -len(rows) <= example < len(rows):
        raise UsageError(f"example={example!r} is out of range: {name!r} has {len(rows)} examples, counted from 0")
    values = _array(rows[example])
    if kind == "image" or (kind == "auto" and values.ndim >= 2):
        if values.ndim < 2:
            raise UsageError(
                f"kind='image' needs two dimensions per example, {name!r} has shape {values.shape}; use kind='bar'"
            )
        return Picture(name, "image", flat(values), _under(explanation, name, example))
    if labels and len(labels) != values.size:
        raise UsageError(f"labels has {len(labels)} entries for {values.size} features of {name!r}; give one for each")
    return Picture(name, "bar", values.reshape(-1), labels=tuple(labels) or _indices(values.shape))


def flat(values: Floats) -> Floats:
    """An image of two dimensions: everything before the last two, channels first of all, is summed."""
    image: Floats = values.reshape(-1, *values.shape[-2:]).sum(0)
    return image


def brightness(values: Floats) -> Floats:
    """An image in grey from its darkest value, 0, to its brightest, 1; channels are averaged."""
    return stretched(values.reshape(-1, *values.shape[-2:]).mean(0))


def stretched(values: Floats) -> Floats:
    """Values on a line from the smallest, 0, to the largest, 1; all 1 where they are equal or not finite."""
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    if not np.isfinite(high - low) or high <= low:
        return np.ones_like(values)
    between: Floats = np.nan_to_num((values - low) / (high - low))
    return between


def _named(explanation: Explanation, name: str | None) -> str:
    known = list(explanation.values)
    if name is None:
        if len(known) != 1:
            raise UsageError(f"the explanation has {len(known)} names; pass name=, one of: {', '.join(known)}")
        return known[0]
    if name not in known:
        raise UnknownName(
            f"the explanation has no attributions for {name!r}.{did_you_mean(name, known)} Names: {', '.join(known)}"
        )
    return name


def _array(tensor: Any) -> Floats:
    array: Floats = tensor.detach().cpu().double().numpy()
    return array


def _under(explanation: Explanation, name: str, example: int) -> Floats | None:
    given = explanation.inputs.get(name) if explanation.where != "layer" else None
    if given is None or given.shape != explanation.values[name].shape:
        return None
    return brightness(_array(given[example]))


def shrunk(values: Floats, most: int) -> Floats:
    """Means of neighbours, at most ``most`` of them along each dimension."""
    for axis, size in enumerate(values.shape):
        starts = np.linspace(0, size, min(size, most), endpoint=False).astype(int)
        widths = np.diff(starts, append=size).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        values = np.add.reduceat(values, starts, axis) / widths
    return values


def _indices(shape: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(",".join(map(str, index)) for index in np.ndindex(shape))
