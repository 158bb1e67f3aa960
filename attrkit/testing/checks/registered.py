"""The list of checks of methods."""

from __future__ import annotations

from attrkit.testing.listed import Check, Checks

__all__ = ["CHECKS", "Check", "applying", "check"]

check = Checks()
CHECKS: dict[str, Check] = check.found
applying = check.applying
