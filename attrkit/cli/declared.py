"""What commands say of any declaration: its options, and the distribution that it is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.output import table

if TYPE_CHECKING:
    from attrkit.specs import Declared


def options_of(spec: Declared) -> list[dict[str, Any]]:
    """Its options, for JSON."""
    return [{"name": o.name, "type": o.type, "default": o.default, "help": o.help} for o in spec.options]


def distribution_of(spec: Declared) -> str:
    """What installed it."""
    from attrkit.registry import registry

    plugin = registry.origin(spec)
    return f"{plugin.dist} {plugin.version}" if plugin else "registered without a distribution"


def show_options(described: dict[str, Any]) -> None:
    """Print a table of options, where there are some."""
    if described["options"]:
        click.echo()
        rows = [(o["name"], o["type"], repr(o["default"]), o["help"]) for o in described["options"]]
        table(rows, ("option", "type", "default", ""))


def more_of(doc: str) -> str:
    """What a docstring says beyond its first line and before its sections."""
    from inspect import cleandoc

    _, _, rest = cleandoc(doc).partition("\n")
    lines = []
    for line in rest.strip().splitlines():
        if line in {"Args:", "Raises:", "Returns:", "Yields:", "Attributes:"}:
            break
        lines.append(line)
    return " ".join(" ".join(lines).split())
