"""``attrkit plugins``: which plugins are installed, and what became of each; a new one, and whether one keeps its promises."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attrkit.cli import scaffolding, settings
from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, json_option, note, table
from attrkit.errors import AttrkitWarning, UsageError

if TYPE_CHECKING:
    from attrkit.testing.conformance import Verdict

CHECKED = (  # as attrkit.testing has them, which imports torch
    "method", "wrapper", "rule", "ruleset", "replacement", "segmenter", "design", "estimator", "surrogate",
    "placement", "executor",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.option("--load/--no-load", default=True, help="Import them, which shows the broken ones; else read metadata only.")
@json_option
@click.pass_context
def plugins(context: click.Context, *, load: bool, as_json: bool) -> None:
    """List all plugins; fail if one of them is broken."""
    if context.invoked_subcommand is not None:
        if as_json or not load:
            raise UsageError(f"--json, --load and --no-load are for the list; write them after {context.invoked_subcommand}")
        return
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


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(scaffolding.KINDS)), default="method", show_default=True, help="What it is.")
@click.option(
    "--into", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".", metavar="DIR", help="Write it here."
)
def new(name: str, kind: str, into: Path) -> None:
    """Write a new plugin: a distribution of one, with tests that pass."""
    folder = scaffolding.scaffold(name, kind, into)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            click.echo(file.relative_to(into))
    note(f"next: cd {folder} && pip install -e '.[test]' && pytest")


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(CHECKED), help="What it is, where something else has the name too.")
@settings.set_option
@json_option
def check(name: str, kind: str | None, given: Sequence[str], *, as_json: bool) -> None:
    """Check what a plugin promises, as its conformance tests do; fail if it breaks a promise."""
    from attrkit.testing.conformance import verdicts

    kind = kind or _kind(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks provoke some, and fail where one matters
        found = [_result(verdict) for verdict in verdicts(name, settings.read(given), kind=kind)]
    failed = [result for result in found if not result["passed"]]
    if as_json:
        emit({"ok": not failed, "plugin": name, "kind": kind, "checks": found})
    else:
        table([_result_row(result) for result in found], ("check", "place", "result"))
        click.echo(f"{kind} {name}: {len(found) - len(failed)} of {len(found)} checks passed")
    if failed:
        check_failed()


def _kind(name: str) -> str:
    """What has the name; a method where nothing has, which the error then says."""
    from attrkit.registry import NAMED, registry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # other plugins' troubles
        registry.load_all()
    found = [kind[:-1] for kind in NAMED if registry.find(kind, name) is not None]
    found += ["ruleset"] if registry.ruleset(name) is not None else []
    plugins = (registry.manager.get_plugin(key) for key in (name, *(plugin.key for plugin in registry.named(name))))
    found += ["executor"] if any(hasattr(plugin, "attrkit_executor") for plugin in plugins) else []
    if len(found) > 1:
        raise UsageError(f"{name!r} is the name of several things, {' and '.join(found)}; choose one with --kind")
    return found[0] if found else "method"


def _result(verdict: Verdict) -> dict[str, Any]:
    said = "" if verdict.error is None else f"{type(verdict.error).__name__}: {verdict.error}".removeprefix("AssertionError: ")
    return {
        "check": verdict.check.name,
        "promise": verdict.check.summary,
        "place": verdict.place,
        "passed": verdict.error is None,
        "message": said,
    }


def _result_row(result: dict[str, Any]) -> tuple[str, str, str]:
    first = result["message"].partition("\n")[0]
    return result["check"], result["place"], "passed" if result["passed"] else f"failed: {first}"
