"""``--set name=value``: values written as YAML, read safely, and nested by dots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from attrkit.errors import UsageError

set_option: Callable[[Any], Any] = click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="An option; VALUE is YAML, a dot in NAME goes inside."
)


def read(given: Iterable[str]) -> dict[str, Any]:
    """The options that ``name=value`` texts give, as nested mappings.

    Raises:
        UsageError: a text has no name or value, a value is no plain YAML, or a name is given twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise UsageError(f"--set {text!r}: expected NAME=VALUE, like n_steps=20 or parameters.low=0")
        inside = found
        for name in names[:-1]:
            inside = inside.setdefault(name, {})
            if not isinstance(inside, dict):
                raise UsageError(f"--set {text!r}: {name!r} has a value already; give it once")
        if names[-1] in inside:
            raise UsageError(f"--set {text!r}: {path!r} has a value already; give it once")
        inside[names[-1]] = _value(value, path)
    return found


def _value(text: str, path: str) -> Any:
    from attrkit.rulesets.document import parse

    if not text.strip():
        return ""
    document = parse(text, f"--set {path}")
    if document.problems:
        raise UsageError(document.report()[0])
    return document.value
