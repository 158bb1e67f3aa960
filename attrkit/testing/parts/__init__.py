"""What parts promise that methods are put together from: replacements, segmenters, designs, estimators and surrogates."""

from attrkit.testing.parts import designs, estimators, replacements, segmenters, surrogates
from attrkit.testing.parts.subject import PartSubject

__all__ = ["PartSubject", "designs", "estimators", "replacements", "segmenters", "surrogates"]
