"""The list of checks of rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrkit.testing.declared import declared
from attrkit.testing.rules.subject import RuleSubject, carried, computes


def _used(s: RuleSubject, options: Mapping[str, Any]) -> Any:
    """What a rule with other options returns, at the first operation that it is for."""
    step = next(s.calls()).step
    return RuleSubject(s.spec, options).raw(step, carried(step))


check = declared(_used, computes)
CHECKS = check.found
