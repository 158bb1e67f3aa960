"""Explanations as matplotlib axes. Nothing is shown, nothing is normalised, and pyplot is left alone."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from attrkit.errors import MissingExtra, UsageTypeError
from attrkit.views.colours import NEGATIVE, POSITIVE, STOPS, paint
from attrkit.views.pictures import Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from attrkit.explanation import Explanation

_DATES = {"Date": None, "Creator": None, "Format": None, "Type": None}  # so that the same figure gives the same bytes


def draw(
    explanation: Explanation,
    example: int = 0,
    *,
    name: str | None = None,
    kind: str = "auto",
    labels: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw the attributions of one example; see :meth:`Explanation.plot`. ``labels`` are the features' names, for bars.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageTypeError: ``ax`` is no axes.
        UnknownName: the explanation has no such name, or there is no such kind of picture.
        UsageError: the example is out of range, the name is missing, or the values do not suit the kind.
    """
    shown = picture(explanation, example, name=name, kind=kind, labels=labels)
    axes = _axes(ax, (4.4, 3.6) if shown.kind == "image" else (5.6, 0.9 + 0.26 * len(shown.bars())))
    draw_picture(shown, axes)
    where = "" if explanation.target is None else f", target {_target(explanation.target, example)}"
    axes.set_title(f"{explanation.method}, {shown.name}{where}", fontsize="medium")
    return axes


def draw_picture(shown: Picture, axes: Axes) -> None:
    """Draw a picture into axes, the colour scale of an image beside them."""
    if shown.kind == "image":
        _image(shown, axes)
    else:
        _bars(shown, axes)


def inline(figure: Figure, alt: str, *, format: Literal["svg", "png"] = "svg", dpi: int = 144) -> str:  # noqa: A002 - savefig's name
    """A figure as text for HTML: an ``<svg>`` whose black becomes the page's text colour, or a base64 ``<img>``."""
    from matplotlib import rc_context

    file = BytesIO()
    if format == "png":
        figure.savefig(file, format="png", dpi=dpi)
        return f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(file.getvalue()).decode()}">'
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(file, format="svg", transparent=True, metadata=_DATES)
    _, _, body = file.getvalue().decode().partition("<svg ")
    body = re.sub(r'xmlns(:xlink)?="[^"]*" ?', "", body.replace("#000000", "currentColor").strip())  # HTML knows them
    return _own_ids(f'<svg role="img" aria-label="{escape(alt)}" fill="currentColor" {body}')


def _own_ids(svg: str) -> str:
    """Ids that no other picture of the page has."""
    prefix = f"f{sha256(svg.encode()).hexdigest()[:8]}-"
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", svg)


def _target(target: Any, example: int) -> Any:
    return target[example] if isinstance(target, list) else target


def _axes(ax: Any, size: tuple[float, float]) -> Axes:
    try:
        from matplotlib.axes import Axes
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a plot", "plot", "matplotlib") from error
    if ax is None:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()
    if not isinstance(ax, Axes):
        raise UsageTypeError(f"ax must be matplotlib axes, got {type(ax).__name__}; take them from figure.add_subplot()")
    return ax


def _image(shown: Picture, axes: Axes) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    axes.imshow(paint(shown.values, shown.scale, shown.under), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    scale = ScalarMappable(Normalize(-shown.scale, shown.scale), LinearSegmentedColormap.from_list("attrkit", STOPS))
    axes.figure.colorbar(scale, ax=axes)


def _bars(shown: Picture, axes: Axes) -> None:
    labels, values = zip(*shown.bars(), strict=True)
    places = range(len(values))
    axes.barh(places, values, color=[POSITIVE if value >= 0 else NEGATIVE for value in values], height=0.7)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("attribution")
