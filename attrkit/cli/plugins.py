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
    from attrkit.installed import State
    from attrkit.registry import registry

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
@click.option(
    "--expect",
    "expected",
    multiple=True,
    metavar="CHECK[=REASON]",
    help="A check that is known to fail, and why; one that passes then is a failure.",
)
@settings.set_option
@json_option
def check(name: str, kind: str | None, expected: Sequence[str], given: Sequence[str], *, as_json: bool) -> None:
    """Check what a plugin promises, as its conformance tests do; fail if it breaks a promise."""
    from attrkit.testing.conformance import verdicts

    kind = kind or _kind(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks provoke some, and fail where one matters
        every = list(verdicts(name, settings.read(given), kind=kind, expected=_reasons(expected)))
    found, ok = [_result(verdict) for verdict in every], all(verdict.good for verdict in every)
    if as_json:
        emit({"ok": ok, "plugin": name, "kind": kind, "checks": found})
    else:
        table([_result_row(result) for result in found], ("check", "place", "result"))
        for result in found:
            if "\n" in result["message"] and result["expected"] is None:
                click.echo(f"\n{result['check']} ({result['place']}): {result['message']}\n")
        passed, known = sum(r["passed"] for r in found), sum(v.good and v.error is not None for v in every)
        as_expected = f", {known} failed as expected" if known else ""
        click.echo(f"{kind} {name}: {passed} of {len(found)} checks passed{as_expected}")
    if not ok:
        check_failed()


def _reasons(expected: Sequence[str]) -> dict[str, str]:
    """The checks that are known to fail, and why. Raises UsageError where one is given twice."""
    found: dict[str, str] = {}
    for each in expected:
        check, _, reason = (part.strip() for part in each.partition("="))
        if check in found:
            raise UsageError(f"--expect {each!r}: {check!r} is given twice; give it once")
        found[check] = reason
    return found


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
        "expected": verdict.expected,
        "message": said,
    }


def _result_row(result: dict[str, Any]) -> tuple[str, str, str]:
    first, expected = result["message"].partition("\n")[0], result["expected"]
    if expected is None:
        said = "passed" if result["passed"] else f"failed: {first}"
    else:
        reason = f" ({expected})" if expected else ""
        said = f"{'failed: it passed, and --expect says that it fails' if result['passed'] else 'failed as expected'}{reason}"
    return result["check"], result["place"], said
