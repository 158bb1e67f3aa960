"""The list of checks of rules."""

from __future__ import annotations

from attrkit.testing.declared import declared

check = declared()
CHECKS = check.found
