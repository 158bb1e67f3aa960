"""``attrkit rules``: rules, rulesets, and what a ruleset does with a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from attrkit.cli import arguments, settings
from attrkit.cli.binding import bind
from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, json_option, note, settings_text, table
from attrkit.errors import RulesetError

if TYPE_CHECKING:
    from attrkit.rulesets.ruleset import Match, Ruleset
    from attrkit.runner import Fit


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--shape", callback=arguments.shape, metavar="N,C,...", help="Zeros of this shape as input."),
        click.option("--data", metavar="DATA", help="The first example of this as input."),
        click.option("--model", metavar="MODEL", help="Bind the ruleset to this model; references as for explain."),
        settings.set_option,
    ):
        command = option(command)
    return command


@click.group()
def rules() -> None:
    """List rules and rulesets, show what they do, check them."""


@rules.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all rules and rulesets."""
    from attrkit.registry import registry

    known = [
        {"name": name, "summary": spec.summary, "operations": sorted(spec.operations)}
        for name, spec in registry.all("rules").items()
    ]
    shipped = []
    for name, file in registry.rulesets().items():
        try:
            doc = _read(name, {}).doc
        except RulesetError as error:
            doc = f"not valid: {error.problems[0]}"
        shipped.append({"name": name, "doc": " ".join(doc.split()), "file": str(file)})
    if as_json:
        emit({"rules": known, "rulesets": shipped})
        return
    table([(r["name"], ", ".join(r["operations"]), r["summary"]) for r in known], ("rule", "operations", ""))
    click.echo()
    table([(r["name"], f"{r['doc']} ({r['file']})") for r in shipped], ("ruleset", ""))


@rules.command()
@click.argument("ruleset")
@_model_options
@json_option
def show(
    ruleset: str, given: Sequence[str], model: str | None, data: str | None, shape: tuple[int, ...] | None, *, as_json: bool
) -> None:
    """Show a ruleset's entries; with a model, what governs each of its operations."""
    parameters = settings.read(given)
    if model is None:
        _show_entries(_read(ruleset, parameters), as_json=as_json)
        return
    bound = bind(ruleset, parameters, model, data, shape)
    if as_json:
        emit({"operations": _rows(bound), "problems": bound.problems, "unused": bound.unused})
        return
    header = ("path", "operation", "rule", "entry", "parameters")
    table([(r["path"], r["operation"], r["rule"], r["entry"], settings_text(r["parameters"])) for r in _rows(bound)], header)
    for line in (*bound.unused, *bound.problems):
        note(f"warning: {line}")


@rules.command()
@click.argument("file")
@_model_options
@json_option
def check(
    file: str, given: Sequence[str], model: str | None, data: str | None, shape: tuple[int, ...] | None, *, as_json: bool
) -> None:
    """Check a ruleset, and whether it fits a model; every problem is one line."""
    parameters = settings.read(given)
    found, bound, problems = None, None, []
    try:
        found = _read(file, parameters)
        if model is not None:
            bound = bind(file, parameters, model, data, shape)
            problems = [*bound.problems, *bound.unused]
    except RulesetError as error:
        problems = [*error.problems]
    counts = {"entries": len(found.entries) if found else 0, "operations": len(bound.rows) if bound else 0}
    if as_json:
        emit({"ok": not problems, "problems": problems, **counts})
    elif problems:
        click.echo("\n".join(problems))
    else:
        governed = f", which govern {counts['operations']} operations of {model}" if bound else ""
        click.echo(f"ok: {counts['entries']} entries{governed}")
    if problems:
        check_failed()


def _read(source: str, parameters: dict[str, Any]) -> Ruleset:
    """The ruleset, with the values that are given in place of its parameters."""
    from attrkit.propagation import operations
    from attrkit.registry import registry
    from attrkit.rulesets.reader import read_ruleset
    from attrkit.rulesets.values import settled

    found = read_ruleset(source, registry, operations=frozenset(o.name for o in operations()))
    return settled(found, parameters) if parameters else found


def _show_entries(ruleset: Ruleset, *, as_json: bool) -> None:
    entries: list[dict[str, Any]] = [
        _chosen(e, "id", "rule", "parameters", "optional", "origin") | {"match": _match(e.match)} for e in ruleset.entries
    ]
    knobs = [_chosen(p, "name", "default", "type", "required", "doc") for p in ruleset.parameters.values()]
    if as_json:
        emit({"name": ruleset.name, "doc": ruleset.doc, "file": ruleset.origin, "entries": entries, "parameters": knobs})
        return
    click.echo(f"{ruleset.name}: {' '.join(ruleset.doc.split())}\n")
    rows = [(e["id"], settings_text(e["match"]) or "everything", e["rule"], settings_text(e["parameters"])) for e in entries]
    table(rows, ("entry", "matches", "rule", "parameters"))
    if knobs:
        click.echo()
        rows = [(k["name"], k["type"], "required" if k["required"] else str(k["default"]), k["doc"]) for k in knobs]
        table(rows, ("parameter", "type", "default", ""))


def _match(match: Match) -> dict[str, Any]:
    """The selectors that are given."""
    import attrs

    fields = {a.name.rstrip("_"): getattr(match, a.name) for a in attrs.fields(type(match))}
    return {
        name: _match(value) if name == "not" else list(value) if name == "op" else value
        for name, value in fields.items()
        if value not in (None, (), False)
    }


def _rows(bound: Fit) -> list[dict[str, Any]]:
    return [_chosen(row, "path", "operation", "rule", "parameters", "entry", "origin") for row in bound.rows]


def _chosen(value: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}
