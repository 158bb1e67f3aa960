"""Pages of rules, rulesets and their format."""

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import yaml

from attrkit.cli import main
from attrkit.registry import registry
from attrkit.rulesets.vocabulary import GROUPS, MEANINGS
from attrkit.specs import RuleSpec
from declared.pieces import body, code, codes, facts, fenced, hidden_toctree, joined, links, options, prose, table


def printed(*arguments: str) -> Any:
    """What a command prints as JSON, which is public."""
    with redirect_stdout(StringIO()) as out:
        assert main(arguments) == 0
    return json.loads(out.getvalue())


def rules_page() -> str:
    """All rules, each with its parameters."""
    specs: dict[str, RuleSpec] = registry.all("rules")
    rows = [
        (f"[{n}](#{n})", prose(s.summary), codes(sorted(s.operations)), s.conserves.replace("_", " ")) for n, s in specs.items()
    ]
    parts = []
    for name, spec in specs.items():
        promises = {
            "operations": codes(sorted(spec.operations)),
            "carries": spec.carries,
            "returns": "depends on its parameters" if callable(spec.returns) else spec.returns,
            "conserves relevance": spec.conserves.replace("_", " "),
            "papers": links(spec.references),
        }
        parts += [f"## {name}", body(spec), options(spec, "parameter"), facts(promises)]
    groups = [(code(group), MEANINGS[group], codes(sorted(members))) for group, members in GROUPS.items()]
    return joined(
        "# Rules",
        table(rows, ("rule", "", "operations", "conserves")),
        *parts,
        "## Groups of operations",
        "A declaration and a ruleset may name a group for its members.",
        table(groups, ("group", "", "operations")),
    )


def ruleset_pages() -> Iterator[tuple[str, str]]:
    """One page for each ruleset, and their list."""
    rows = []
    for name, file in registry.rulesets().items():
        shown = printed("rules", "show", name, "--json")
        entries = [(code(e["id"]), flow(e["match"]), code(e["rule"]), flow(e["parameters"])) for e in shown["entries"]]
        knobs = [
            (code(k["name"]), k["type"], "required" if k["required"] else code(k["default"]), prose(k["doc"]))
            for k in shown["parameters"]
        ]
        rows.append((f"[{name}](rulesets/{name}.md)", prose(shown["doc"])))
        yield (
            f"rulesets/{name}",
            joined(
                f"# {name}",
                prose(shown["doc"]),
                fenced(f'attrkit.explain(model, inputs, "lrp", rules="{name}")', "python"),
                "## Parameters" if knobs else "",
                table(knobs, ("parameter", "type", "default", "")),
                "## Entries",
                "The first that matches an operation governs it.",
                table(entries, ("entry", "matches", "rule", "parameters")),
                "## The file",
                fenced(file.read_text(encoding="utf-8"), "yaml"),
            ),
        )
    listed = hidden_toctree(f"rulesets/{name}" for name in registry.rulesets())
    yield "rulesets", joined("# Rulesets", table(rows, ("ruleset", "")), listed)


def flow(mapping: dict[str, Any]) -> str:
    """A mapping as a ruleset has it on one line."""
    return code(yaml.safe_dump(mapping, default_flow_style=True, sort_keys=False, width=1000).strip()) if mapping else ""


def schema_page() -> str:
    """The format of rulesets."""
    rows = schema_rows(printed("rules", "schema"))
    download = "For editors: {download}`ruleset.schema.json <../../ruleset.schema.json>`, or `attrkit rules schema`."
    return joined("# The ruleset format", download, table(rows, ("key", "value", "")))


def schema_rows(schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    """A row for each key, keys inside after it."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        path = f"{above}{name}"
        said = prose(inner.get("description", ""))
        yield code(path), values(inner), f"{said} Required." if name in required else said
        inside = [(each, ".") for each in (inner, *inner.get("anyOf", ()))]
        for below, mark in (*inside, (inner.get("items"), "[]."), (inner.get("additionalProperties"), ".NAME.")):
            if isinstance(below, dict):
                yield from schema_rows(below, path + mark)


def values(schema: dict[str, Any]) -> str:
    """What a key may be, in short."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(values, schema["anyOf"])))
    if "enum" in schema:
        listed = schema["enum"]
        return codes(listed) if len(listed) < 10 else f"{codes(listed[:3])} and {len(listed) - 3} others"
    if "pattern" in schema:
        return "text" if schema["pattern"] == r"\S" else f"text with {code(schema['pattern'])}"
    given = schema.get("type", "")
    if given == "array":
        return f"list of {values(schema.get('items', {}))}"
    return " or ".join(given) if isinstance(given, list) else given or "any"
