"""Numbers as colours: one scale for all pictures of attributions, blue below zero, red above, near white at it."""

from __future__ import annotations

import struct
import zlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Pixels: TypeAlias = NDArray[np.uint8]

#: From the most negative value to the most positive one: ColorBrewer's RdBu without its two darkest, for every eye.
STOPS = ("#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")
NEGATIVE, POSITIVE = STOPS[1], STOPS[-2]  # of bars
UNKNOWN = "#8a8a8a"  # not a number
_DARKEST = 0.8  # what black becomes under a heat map: colours must stay readable on it


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def scale_of(values: Any) -> float:
    """The largest finite absolute value, which gets the ends of the colour scale; 1 where all are zero."""
    known = np.abs(values)[np.isfinite(values)]
    return float(known.max(initial=0.0)) or 1.0


def paint(values: Floats, scale: float, under: Floats | None = None) -> Pixels:
    """Colours of ``values`` from ``-scale`` to ``scale``, darkened where the grey image ``under`` them (0 to 1) is dark."""
    at = np.linspace(-scale, scale, len(STOPS))
    stops = np.array([rgb(stop) for stop in STOPS], dtype=float)
    colours = np.stack([np.interp(values, at, stops[:, channel]) for channel in range(3)], axis=-1)
    colours[np.isnan(values)] = rgb(UNKNOWN)
    if under is not None:
        colours *= (_DARKEST + (1 - _DARKEST) * under)[..., None]
    pixels: Pixels = np.rint(colours).astype(np.uint8)
    return pixels


def photograph(values: Floats) -> Pixels:
    """An image as it is, from values between 0 and 1: grey ``(height, width)``, or three channels before these."""
    channels = values if values.ndim == 3 else np.repeat(values[None], 3, axis=0)
    pixels: Pixels = np.rint(255 * np.moveaxis(channels, 0, -1)).astype(np.uint8)
    return pixels


def png(pixels: Pixels) -> bytes:
    """A PNG file of red, green and blue pixels, shape ``(height, width, 3)``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
