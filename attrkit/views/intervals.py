"""How many standard errors wide an interval is."""

from __future__ import annotations

import math
from statistics import NormalDist

from attrkit.errors import UsageError

_MANY = 200  # degrees of freedom from which Student's distribution is the normal one, for our purposes


def half_width(level: float, degrees: float | None) -> float:
    """Half the width, in standard errors, of an interval that covers with probability ``level``.

    ``degrees`` are the degrees of freedom that the standard error was estimated with, None for many.

    Raises:
        UsageError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must be a probability between 0 and 1, like 0.95, got {level!r}")
    if degrees is None or degrees > _MANY:
        return NormalDist().inv_cdf((1 + level) / 2)
    low, high = 0.0, 1.0
    while _within(high, degrees) < level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return high


def _within(t: float, degrees: float) -> float:
    """The probability that a number of Student's distribution, of a whole number of degrees, is between -t and t.

    Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    whole = max(1, round(degrees))
    angle = math.atan2(t, math.sqrt(whole))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, 0.0) if whole % 2 else (1.0, 0.0)
    for k in range(1 if whole % 2 else 0, whole - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if whole % 2 else sine * total
