"""Pictures of attributions as small inline SVG, made by hand: no package is needed, and text has the page's own colour."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from attrkit.views.colours import NEGATIVE, POSITIVE, UNKNOWN, Pixels, paint, png
from attrkit.views.pictures import Picture

_ROW, _LABEL, _BARS, _NUMBER = 18, 122, 116, 66  # pixels: a bar's line; its name, the bar, its value
_LETTERS = 20  # of a name


def number(value: float) -> str:
    """A number as a table shows it: three digits that matter."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def data_uri(pixels: Pixels) -> str:
    """Pixels as a PNG that a page carries itself."""
    return f"data:image/png;base64,{b64encode(png(pixels)).decode()}"


def raster(pixels: Pixels, alt: str, *, width: int | None = None, height: int | None = None) -> str:
    """Pixels as an image whose pixels stay square; it fills its place where no size in pixels is given."""
    rows, columns = pixels.shape[:2]
    size = f' width="{width}" height="{height or round(width * rows / columns)}"' if width else ""
    return (
        f'<svg viewBox="0 0 {columns} {rows}"{size} preserveAspectRatio="none" role="img" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title>"
        f'<image href="{data_uri(pixels)}" width="{columns}" height="{rows}" preserveAspectRatio="none" '
        'style="image-rendering:pixelated"/></svg>'
    )


def heat(shown: Picture, alt: str, *, width: int | None = None, scale: float | None = None) -> str:
    """The heat map of an image."""
    return raster(paint(shown.values, scale or shown.scale, shown.under), alt, width=width)


def strip(shown: Picture, alt: str, *, width: int = 240, height: int = 14) -> str:
    """The values of features side by side, in colours."""
    return raster(paint(shown.values[None], shown.scale), alt, width=width, height=height)


def bars(shown: Picture, alt: str, *, most: int = 12) -> str:
    """The largest features as bars, with their names and values."""
    rows = shown.bars(most)
    finite = [value for _, value in rows if abs(value) < float("inf")]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    unit = _BARS / ((high - low) or 1.0)
    zero = _LABEL + 8 - low * unit
    width, height = _LABEL + _BARS + _NUMBER, _ROW * len(rows)
    lines = "".join(_bar(i, label, value, zero, unit) for i, (label, value) in enumerate(rows))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(alt)}" '
        f'style="max-width:100%;height:auto;font-size:11px" fill="currentColor"><title>{escape(alt)}</title>{lines}'
        f'<path d="M{zero:.1f} 0V{height}" stroke="currentColor" stroke-opacity=".4"/></svg>'
    )


def _bar(row: int, label: str, value: float, zero: float, unit: float) -> str:
    middle = row * _ROW + _ROW / 2
    known = abs(value) < float("inf")
    start, length = (zero + min(0.0, value * unit), abs(value) * unit) if known else (zero, 0.0)
    colour = UNKNOWN if not known else POSITIVE if value >= 0 else NEGATIVE
    name = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    return (
        f'<text x="{_LABEL}" y="{middle + 4}" text-anchor="end">{escape(name)}<title>{escape(label)}</title></text>'
        f'<rect x="{start:.1f}" y="{row * _ROW + 3}" width="{max(length, 0.5):.1f}" height="{_ROW - 6}" fill="{colour}"/>'
        f'<text x="{_LABEL + _BARS + 14}" y="{middle + 4}" opacity=".75">{number(value)}</text>'
    )
