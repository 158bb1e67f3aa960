"""The published schema of rulesets: what the reader is made of, and what editors are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from attrkit.registry import Registry
from attrkit.rulesets.document import load, parse
from attrkit.rulesets.grammar import grammar
from attrkit.rulesets.options import option_values
from attrkit.rulesets.schema import ruleset_schema
from attrkit.rulesets.shape import At
from attrkit.specs import rule

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "docs/ruleset.schema.json").read_text())
SHIPPED = sorted((ROOT / "rulesets/attrkit_rulesets").glob("*.yaml"))
HEAD = "schema: attrkit/ruleset@1\nname: my\n"


@rule("bend", operations={"linear_like"})
def bend(step, relevance, *, by: float = 1.0, how: str = "up"):
    """Bend it.

    Args:
        by: how much.
    """


@pytest.fixture(scope="module")
def schema():
    """That of a registry with one rule, and of one operation beyond the vocabulary."""
    registry = Registry(autoload=False)
    registry.register(bend)
    return ruleset_schema(registry, frozenset({"fold"}))


def misfits(schema, text):
    return [error.json_path for error in Draft7Validator(schema).iter_errors(parse(text, "my.yaml").value)]


def test_the_published_schema_is_the_one_that_the_command_prints():
    pytest.importorskip("torch")
    environment = {**os.environ, "ATTRKIT_ONLY": "attrkit:*", "ATTRKIT_BLOCK": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "attrkit", "rules", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT)
    again = "run: ATTRKIT_ONLY='attrkit:*' attrkit rules schema > docs/ruleset.schema.json"
    assert json.loads(done.stdout) == PUBLISHED, again


def test_it_is_a_schema(schema):
    Draft7Validator.check_schema(PUBLISHED)
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_ruleset_fits(file):
    assert [error.message for error in Draft7Validator(PUBLISHED).iter_errors(load(file, file.name).value)] == []


def test_there_are_shipped_rulesets():
    assert len(SHIPPED) > 4


def test_what_is_installed_is_named(schema):
    entry = schema["properties"]["rules"]["items"]
    assert entry["properties"]["rule"]["anyOf"][0] == {"enum": ["bend"], "enumDescriptions": ["Bend it."]}
    options = entry["allOf"][0]["then"]["properties"]["with"]["properties"]
    assert options["by"]["description"] == "how much. Default: 1.0."
    words = entry["properties"]["match"]["properties"]["op"]["anyOf"][0]["enum"]
    assert {"fold", "conv", "activation"} <= set(words)
    assert "glob" in entry["properties"]["match"]["properties"]["path"]["description"]


GOOD = [
    "rules: []",
    "extends: [./other.yaml, dist:other]",
    "rules: [{id: a, match: {}, rule: bend, with: {by: 1e-3, how: down}}]",
    "rules: [{id: a, match: {op: conv, not: {not: {path: a}}}, rule: bend, with: {by: $by}}]",
    "rules: [{id: a, match: {op: [linear, linear_like], position: {depth: [0, 0.5]}}, rule: $which}]",
    "rules: [{id: a, match: {op: fold, module: X, exact: true}, rule: 'dist:other', with: {x: [1]}}]",
    "rules: []\nparams: {p: {default: 1}, q: {type: tensor, default: [1, 2]}, r: {type: bool, required: true}}",
    "rules: []\nparams: {s: {type: stabilizer, default: {epsilon: 1, relative: true}}}\nset: {s: 3}",
    "rules: []\nfallback: {nonlinear: pass}\ncanonize: [merge_batch_norm]",
]
BAD = [  # and where it is
    ("", "$"),
    ("rules: {}", "$.rules"),
    ("ruls: []\nrules: []", "$"),
    ("extends: [nothing]", "$.extends[0]"),
    ("rules: [{id: a, match: {}}]", "$.rules[0]"),
    ("rules: [{id: a, match: {}, rule: bent}]", "$.rules[0].rule"),
    ("rules: [{id: a, match: {op: cnov}, rule: bend}]", "$.rules[0].match.op"),
    ("rules: [{id: a, match: {op: []}, rule: bend}]", "$.rules[0].match.op"),
    ("rules: [{id: a, match: {op: relu}, rule: bend}]", "$.rules[0].match.op"),
    ("rules: [{id: a, match: {op: [linear, relu]}, rule: bend}]", "$.rules[0].match.op"),
    ("rules: [{id: a, match: {exact: true}, rule: bend}]", "$.rules[0].match"),
    ("rules: [{id: a, match: {not: {}}, rule: bend}]", "$.rules[0].match.not"),
    ("rules: [{id: a, match: {not: {position: first}}, rule: bend}]", "$.rules[0].match.not.position"),
    ("rules: [{id: a, match: {not: {not: {pth: x}}}, rule: bend}]", "$.rules[0].match.not.not"),
    ("rules: [{id: a, match: {position: frist}, rule: bend}]", "$.rules[0].match.position"),
    ("rules: [{id: a, match: {position: {depth: [0]}}, rule: bend}]", "$.rules[0].match.position"),
    ("rules: [{id: a, match: {}, rule: bend, with: {bye: 1}}]", "$.rules[0].with"),
    ("rules: [{id: a, match: {}, rule: bend, with: {by: much}}]", "$.rules[0].with.by"),
    ("rules: [{id: a, match: {}, rule: bend, with: {how: 1}}]", "$.rules[0].with.how"),
    ("rules: [{id: a, match: {}, rule: bend, optional: 1}]", "$.rules[0].optional"),
    ("rules: []\nparams: {p: {}}", "$.params.p"),
    ("rules: []\nparams: {p: {default: one}}", "$.params.p.default"),
    ("rules: []\nparams: {p: {default: 1, type: bool}}", "$.params.p.default"),
    ("rules: []\nparams: {p: {default: {eps: 1}, type: stabilizer}}", "$.params.p.default"),
    ("rules: []\nfallback: {linear: pass}", "$.fallback.linear"),
    ("rules: []\ncanonize: [merge]", "$.canonize[0]"),
]


@pytest.mark.parametrize("body", GOOD)
def test_what_is_right_fits(schema, body):
    assert misfits(schema, HEAD + body) == []


@pytest.mark.parametrize(("body", "place"), BAD)
def test_what_is_wrong_does_not_fit_and_is_found_where_it_is(schema, body, place):
    assert set(misfits(schema, HEAD + body)) == {place}


def test_what_the_schema_refuses_the_reader_refuses():
    """The schema may be laxer than the reader, and never stricter; names of rules and rulesets are looked up elsewhere."""
    names = {"rule: bent", "[nothing]", "op: relu", "[linear, relu]", "with:"}
    for body, _ in BAD:
        if not any(name in body for name in names):
            document = parse(HEAD + body, "my.yaml")
            grammar(frozenset({"fold"}))(At(document, document.value))
            assert document.problems, body


# The types of options.


@pytest.mark.parametrize(
    ("annotation", "fitting", "unfitting"),
    [
        ("float", [1, 0.5, -2], ["1", True, None, [1], float("nan")]),
        ("int", [1, -2], [0.5, "1", True]),
        ("bool", [True], [1, "true", None]),
        ("str", ["", "a"], [1, None, ["a"]]),
        ("float | None", [1.5, None], ["None", True]),
        ("Optional[int]", [3, None], [0.5]),
        ("Union[int, str]", [3, "x"], [0.5, None]),
        ("Literal['absorb', 'zero']", ["absorb", "zero"], ["asborb", 1, None]),
        ("int | Literal['auto']", [3, "auto"], ["automatic", 0.5]),
        ("Literal[1, 2]", [1, 2], [3, True, "1"]),
        ("float | Mapping[str, float | bool]", [1, {"epsilon": 1e-6, "relative": True}, {"epsilon": "$e"}], ["1", {"e": "x"}]),
        ("list[int]", [[], [1, 2], ["$one"]], [1, "x", [0.5]]),
        ("tuple[float, ...]", [[1, 0.5]], [["x"]]),
        ("Any", [1, "x", None, {}], []),
        ("Tensor | float", [1, "x"], []),
        ("tuple[int, str]", [1, "x"], []),
        ("not a type", [1], []),
    ],
)
def test_what_an_option_of_a_type_may_be(annotation, fitting, unfitting):
    values = option_values(annotation)
    validator = Draft7Validator(values.read.schema)
    for value in [*fitting, "$parameter"]:
        assert values.misfit(value) == ""
        assert validator.is_valid(value)
    for value in unfitting:
        assert values.misfit(value).startswith(f"expected {values.words}, got ")
        assert not validator.is_valid(value) or str(value) == "nan"  # which JSON does not know


def test_a_misspelt_word_is_guessed():
    assert option_values("Literal['absorb', 'zero']").misfit("asborb").endswith("Did you mean 'absorb'?")
