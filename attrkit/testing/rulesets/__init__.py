"""What rulesets promise, one function for each promise."""

from attrkit.testing.rulesets import checks
from attrkit.testing.rulesets.registered import CHECKS, check
from attrkit.testing.rulesets.subject import RulesetSubject

__all__ = ["CHECKS", "RulesetSubject", "check", "checks"]
