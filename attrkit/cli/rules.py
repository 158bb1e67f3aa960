"""``attrkit rules``: rules, rulesets, and what a ruleset does with a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from attrkit.cli import arguments, settings
from attrkit.cli.binding import bind
from attrkit.cli.declared import distribution_of, more_of, options_of, show_options
from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, facts, json_option, note, settings_text, table
from attrkit.errors import RulesetError, UsageError

if TYPE_CHECKING:
    from attrkit.propagation import Row
    from attrkit.rulesets.ruleset import Match, Ruleset


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--shape", callback=arguments.shape, metavar="N,C,...", help="Zeros of this shape as input."),
        click.option("--data", metavar="DATA", help="The first example of this as input."),
        click.option("--layer", metavar="PATH", help="Propagate back to this layer instead of the inputs."),
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
    """List all rules, all rulesets, and the groups of operations that they name."""
    from attrkit.registry import registry
    from attrkit.rulesets.vocabulary import GROUPS, MEANINGS

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
        groups = [{"name": name, "meaning": MEANINGS[name], "operations": sorted(GROUPS[name])} for name in GROUPS]
        emit({"rules": known, "rulesets": shipped, "groups": groups})
        return
    table([(r["name"], ", ".join(r["operations"]), r["summary"]) for r in known], ("rule", "operations", ""))
    click.echo()
    table([(r["name"], f"{r['doc']} ({r['file']})") for r in shipped], ("ruleset", ""))
    click.echo()
    table([(name, f"{MEANINGS[name]}: {', '.join(sorted(each))}") for name, each in GROUPS.items()], ("group", "operations"))


@rules.command()
@click.argument("ruleset", metavar="NAME")
@click.option("--rule", is_flag=True, help="NAME is a rule, where a ruleset has that name too.")
@_model_options
@json_option
def show(ruleset: str, given: Sequence[str], *, rule: bool, as_json: bool, **place: Any) -> None:
    """Show a ruleset's entries, or with a model what governs each of its operations; or all about one rule."""
    if rule or _is_rule(ruleset):
        if given or any(value is not None for value in place.values()):
            raise UsageError(f"{ruleset!r} is a rule; --model, --set and what goes with them are for rulesets")
        _show_rule(ruleset, as_json=as_json)
        return
    found = _read(ruleset, settings.read(given))
    if place["model"] is None:
        _show_entries(found, as_json=as_json)
        return
    bound = bind(_settled(found), **place)
    if as_json:
        rows = [_chosen(row, "path", "operation", "rule", "parameters", "entry", "origin") for row in bound.rows]
        emit({"operations": rows, "problems": bound.problems, "unused": bound.notes, "layer": bound.layer})
        return
    table(_grouped(bound.rows), ("path", "operation", "rule", "entry", "calls", "parameters"))
    for line in (*bound.notes, *bound.problems):
        note(f"warning: {line}")


@rules.command()
@click.argument("file")
@_model_options
@json_option
def check(file: str, given: Sequence[str], *, as_json: bool, **place: Any) -> None:
    """Check a ruleset, and whether it fits a model; every problem is one line."""
    found, bound, problems = None, None, []
    try:
        found = _read(file, settings.read(given))
        if place["model"] is not None:
            bound = bind(_settled(found), **place)
            problems = [*bound.problems, *bound.notes]
    except RulesetError as error:
        problems = [*error.problems]
    rows = bound.rows if bound else []
    own = [bool(row.entry) for row in rows if row.rule == "own gradient"]  # whether the fallback says so
    governed = [row for row in rows if row.entry and row.rule != "own gradient"]
    counts = {
        "entries": len(found.entries) if found else 0,
        "operations": len(governed),
        "by_themselves": own.count(False),
        "left_by_the_fallback": own.count(True),
    }
    if as_json:
        emit({"ok": not problems, "problems": problems, **counts})
    elif problems:
        click.echo("\n".join(problems))
    else:
        where = f", which govern {counts['operations']} operations of {place['model']}" if bound else ""
        more = [f"{own.count(False)} more share by contribution by themselves"] if own.count(False) else []
        more += [f"{own.count(True)} keep their own gradient by the fallback"] if own.count(True) else []
        click.echo(f"ok: {counts['entries']} entries{where}" + (f" ({', '.join(more)})" if more else ""))
    if problems:
        check_failed()


@rules.command()
def schema() -> None:
    """Print the format of rulesets as a JSON schema, for editors.

    It names the operations, rules, options and rulesets that are installed.
    """
    from attrkit.propagation import operations
    from attrkit.registry import registry
    from attrkit.rulesets.schema import ruleset_schema

    emit(ruleset_schema(registry, frozenset(o.name for o in operations())))


def _read(source: str, parameters: dict[str, Any]) -> Ruleset:
    """The ruleset, with the values that are given in place of its parameters."""
    from attrkit.propagation import operations
    from attrkit.registry import registry
    from attrkit.rulesets.reader import read_ruleset
    from attrkit.rulesets.values import settled

    found = read_ruleset(source, registry, operations=frozenset(o.name for o in operations()))
    return settled(found, parameters) if parameters else found


def _is_rule(name: str) -> bool:
    """Whether a name is that of a rule, and of no ruleset or file."""
    from pathlib import Path

    from attrkit.registry import registry

    if registry.ruleset(name) is not None or registry.find("rules", name) is None:
        return False
    return not Path(name).is_file()


def _show_rule(name: str, *, as_json: bool) -> None:
    from attrkit.registry import registry
    from attrkit.rulesets.vocabulary import members

    spec = registry.rule(name)
    described = {
        "name": spec.name,
        "summary": spec.summary,
        "doc": spec.doc,
        "operations": sorted(spec.operations),
        "options": options_of(spec),
        "carries": spec.carries,
        "returns": "depends on its options" if callable(spec.returns) else spec.returns,
        "conserves": spec.conserves,
        "references": spec.references,
        "distribution": distribution_of(spec),
    }
    if as_json:
        emit(described)
        return
    click.echo(f"{spec.name}: {spec.summary}\n")
    if more := more_of(spec.doc):
        click.echo(click.wrap_text(more, 100) + "\n")
    each = sorted(members(spec.operations))
    own = sorted(spec.operations)
    named = ", ".join(own)
    facts({
        "operations": named if each == own else f"{named}: {', '.join(each)}",
        "carries": spec.carries,
        "returns": described["returns"],
        "conserves": {"no": "no", "yes": "relevance", "without_bias": "relevance, where nothing is added"}[spec.conserves],
        "references": ", ".join(spec.references),
        "distribution": described["distribution"],
    })  # fmt: skip
    show_options(described)


def _settled(ruleset: Ruleset) -> Ruleset:
    """The ruleset with its parameters' defaults. Raises RulesetError where one is required and not given."""
    from attrkit.rulesets.values import settled

    return settled(ruleset, {})


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


def _grouped(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line for calls that differ in numbers within their paths only, as a ruleset would match them, and how many they are."""
    from attrkit.doctoring.mending import general

    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        key = general(row.path), row.operation, row.rule, row.entry, settings_text(row.parameters)
        groups.setdefault(key, []).append(row.path)
    return [
        (path if len(set(paths)) > 1 else paths[0], *said, str(len(paths)), parameters)
        for (path, *said, parameters), paths in groups.items()
    ]


def _chosen(value: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}
