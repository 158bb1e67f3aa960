"""Seeds of random draws."""

from __future__ import annotations

from collections.abc import Iterable

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def mixed(numbers: Iterable[int]) -> int:
    """One seed from several integers, of which each matters (splitmix64, doi:10.1145/2660193.2660195)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & _MASK)) + 0x9E37_79B9_7F4A_7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58_476D_1CE4_E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D0_49BB_1331_11EB & _MASK
        state ^= state >> 31
    return state >> 1
