"""``attrkit plugins``: which plugins are installed, and what became of each."""

from __future__ import annotations

import warnings
from typing import Any

import click

from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, json_option, table
from attrkit.errors import AttrkitWarning


@click.command()
@click.option("--load/--no-load", default=True, help="Import them, which shows the broken ones; else read metadata only.")
@json_option
def plugins(*, load: bool, as_json: bool) -> None:
    """List all plugins; fail if one of them is broken."""
    from attrkit.registry import State, registry

    if load:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # the list says the same
            registry.load_all()
    found: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "distribution": plugin.dist,
            "version": plugin.version,
            "state": str(plugin.state),
            "reason": plugin.reason,
            "provides": registry.provides(plugin),
        }
        for plugin in sorted(registry.plugins.values(), key=lambda p: p.key)
    ]
    if as_json:
        emit(found)
    else:
        table([_row(plugin) for plugin in found], ("plugin", "distribution", "state", "provides"))
    if any(plugin["state"] == State.BROKEN for plugin in found):
        check_failed()


def _row(plugin: dict[str, Any]) -> tuple[str, str, str, str]:
    provides = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in plugin["provides"].items())
    return plugin["name"], f"{plugin['distribution']} {plugin['version']}", plugin["state"], plugin["reason"] or provides
