"""The list of checks of rulesets."""

from __future__ import annotations

from attrkit.testing.listed import Checks

check = Checks()
CHECKS = check.found
