"""The ruleset format as a JSON schema, for editors: the tables that files are read by, and the names that are installed.

It is laxer than reading, which also knows what one part says of another: an editor helps to write, ``rules check`` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrkit.registry import Registry
from attrkit.rulesets.checks import undefined
from attrkit.rulesets.grammar import grammar, operations_read, words
from attrkit.rulesets.options import REFERENCE, option_values
from attrkit.rulesets.ruleset import SCHEMA
from attrkit.rulesets.shape import Fragment, described, record
from attrkit.rulesets.sources import SUFFIXES
from attrkit.specs import RuleSpec

DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors know of
_IN_FULL = {"type": "string", "pattern": ":"}  # distribution:name


def ruleset_schema(registry: Registry, operations: frozenset[str]) -> Fragment:
    """What editors need to know of rulesets that use these operations and what is registered."""
    rules: Mapping[str, RuleSpec] = registry.all("rules")
    shipped = sorted(registry.rulesets())
    on_disk = {"type": "string", "pattern": "/|(" + "|".join(suffix.replace(".", r"\.") for suffix in SUFFIXES) + ")$"}
    whole = grammar(
        operations,
        rule={"anyOf": [_names(rules), REFERENCE, _IN_FULL]},
        parent={"anyOf": [{"enum": shipped}, on_disk, _IN_FULL]},
        cases=list(_cases(rules, words(operations))),
    )
    return {"$schema": DIALECT, "title": SCHEMA, **whole.schema}


def _names(rules: Mapping[str, RuleSpec]) -> Fragment:
    names = sorted(rules)
    return {"enum": names, "enumDescriptions": [rules[name].summary for name in names]}


def _cases(rules: Mapping[str, RuleSpec], known: frozenset[str]) -> Iterator[Fragment]:
    """For each rule, the operations that it is defined for and its options."""
    for name in sorted(rules):
        spec = rules[name]
        defined = [word for word in known if not undefined(spec, word)]
        options = {o.name: option_values(o.type).read for o in spec.options}
        helps = {o.name: f"{o.help} Default: {o.default!r}.".strip() for o in spec.options}
        limited = {"match": {"properties": {"op": operations_read(defined).schema}}} if len(defined) < len(known) else {}
        yield {
            "if": {"properties": {"rule": {"const": name}}, "required": ["rule"]},
            "then": {
                "properties": {
                    "rule": described({}, spec.summary),
                    "with": record(options, about=helps).schema,
                    **limited,
                }
            },
        }
