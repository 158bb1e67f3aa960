"""What rules promise, one function for each promise."""

from attrkit.testing.rules import relevance, results
from attrkit.testing.rules.registered import CHECKS, check
from attrkit.testing.rules.subject import RuleSubject

__all__ = ["CHECKS", "RuleSubject", "check", "relevance", "results"]
