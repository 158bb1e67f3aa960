"""Values for a ruleset's parameters, as callers give them."""

from collections.abc import Mapping
from typing import Any

from attrkit.errors import UsageTypeError


def named(parameters: Any) -> Mapping[str, Any]:
    """Values by the parameters' names; none where None was given. Raises UsageTypeError where it is no mapping."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise UsageTypeError(
            f"parameters must be a mapping of parameters' names to values, like {{'eps': 1}}, got {parameters!r}"
        )
    return parameters
