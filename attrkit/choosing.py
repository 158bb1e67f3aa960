"""From what a caller wrote for an option to the part that is meant, its options bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from attrkit.errors import UnknownName, UsageError, UsageTypeError
from attrkit.parts import Part, PartSpec
from attrkit.registry import registry


@attrs.frozen
class Chosen:
    """A part and values for all of its options; ``name`` is what reports call it."""

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def __call__(self, *args: Any) -> Any:
        """Its function, with the options."""
        return self.function(*args, **self.options)


def chosen(kind: Part, given: Any, option: str) -> Chosen:
    """A part of a kind, from its name, a mapping of that to options, a declaration or a function; ``option`` is for messages.

    Raises:
        UnknownName: no plugin provides it, or it has no such option.
        UsageError: a mapping has not one entry.
        UsageTypeError: it is none of these.
    """
    if isinstance(given, str):
        return _bound(_named(kind, given, option), {})
    if isinstance(given, Mapping):
        if len(given) != 1:
            raise UsageError(f"{option} must name one {kind[:-1]}, like {{'name': {{'option': 1}}}}, got {dict(given)!r}")
        (name, options), *_ = given.items()
        if not isinstance(options, Mapping):
            raise UsageTypeError(f"{option}: the options of {name!r} must be a mapping, got {options!r}")
        return _bound(_named(kind, name, option), options)
    if isinstance(given, PartSpec):
        return _bound(given, {})
    if callable(given):
        return Chosen(getattr(given, "__name__", type(given).__name__), given)
    raise UsageTypeError(
        f"{option} must be the name of a {kind[:-1]}, a mapping of that to its options, or a function, got "
        f"{type(given).__name__}"
    )


def _named(kind: Part, name: str, option: str) -> PartSpec:
    try:
        found: PartSpec = registry.get(kind, name)
    except UnknownName as error:
        raise UnknownName(f"{option}: {error}") from None
    return found


def _bound(spec: PartSpec, options: Mapping[str, Any]) -> Chosen:
    return Chosen(spec.name, spec.function, spec.resolve(options))
