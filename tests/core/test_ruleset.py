"""Reading rulesets: what a valid file comes to, and every message about one that is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from zipfile import ZipFile

import attrs
import numpy as np
import pytest
import yaml

from attrkit.errors import RulesetError, UnknownName, UsageTypeError
from attrkit.registry import Registry
from attrkit.rulesets.document import load
from attrkit.rulesets.reader import LEVELS, read_ruleset, settled
from attrkit.rulesets.ruleset import Entry, Fallback, Match, Parameter, Ruleset
from attrkit.specs import Deprecation, RulesetSource, rule

HEAD = "schema: attrkit/ruleset@1\nname: my\n"  # what a test adds to it starts in line 3


def unrunnable(*_):
    pytest.fail("a rule ran while a ruleset was read")


@rule("epsilon", operations={"linear_like", "add", "avg_pool"})
def epsilon(step, relevance, *, epsilon: float = 1e-6, relative: bool = False, bias: str = "absorb"):
    unrunnable()


@rule("gamma")
def gamma(step, relevance, *, gamma: float | None = 0.25, rounds: int = 1, stabilizer: Path | None = None):
    unrunnable()


@rule("pass", operations={"activation"})
def passed(step, relevance):
    unrunnable()


@rule("stop", operations={"activation", "softmask"}, deprecated=Deprecation("1", "2", "pass"))
def stop(step, relevance):
    unrunnable()


@pytest.fixture
def registry():
    made = Registry(autoload=False)
    for spec in (epsilon, gamma, passed, stop):
        made.register(spec)
    return made


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ships(tmp_path, monkeypatch, registry):
    """Ships rulesets, given as file names and texts, from a package of a distribution."""

    def ship(dist, **texts):
        package = tmp_path / "site" / f"{tmp_path.name}_{dist}"  # modules outlive a test: no two share a name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        for name, text in texts.items():
            (package / f"{name}.yaml").write_text(text)
        registry.register(RulesetSource(package.name), f"{dist}:rulesets")

    monkeypatch.syspath_prepend(tmp_path / "site")
    return ship


def write(name, text):
    Path(name).write_text(text)
    return name


def problems(source, registry, **given):
    with pytest.raises(RulesetError) as raised:
        read_ruleset(source, registry, **given)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return list(raised.value.problems)


def problems_of(text, registry):
    return problems(write("my.yaml", text), registry)


# What a valid ruleset comes to.

EVERYTHING = """\
schema: attrkit/ruleset@1
name: all_of_it
doc: Every key there is.
params:
  strength: {default: 1e-6, type: number, min: 0, max: 1e+3, doc: how much}
  low: {type: tensor, required: true}
  high: {default: [1, 2.5], type: tensor}
  which: {default: epsilon, type: choice, choices: [epsilon, gamma]}
  margin: {default: {epsilon: 1E-3, relative: true}, type: stabilizer}
  strict: {default: false, type: bool}
set: {strength: .5}
canonize: [merge_batch_norm]
rules:
  - id: first
    match: {op: conv, module: "torch.nn:Conv2d", exact: true, position: {depth: [0, 0.33]}}
    rule: gamma
    with: {gamma: $strength, rounds: 2, stabilizer: {epsilon: $strength, bounds: [$low, $high]}}
  - {id: heads, match: {within: Att, path: "layers.*.mlp.**", path_regex: "a+", not: {op: [add], not: {path: x}}}, rule: $which}
  - {id: rest, match: {op: [linear_like, add], position: input}, rule: epsilon, optional: true}
fallback: {linear: warn, nonlinear: pass}
"""


def test_every_key_is_read(registry):
    assert read_ruleset(write("my.yaml", EVERYTHING), registry) == Ruleset(
        name="all_of_it",
        doc="Every key there is.",
        parameters={
            "strength": Parameter("strength", 0.5, min=0, max=1000.0, doc="how much"),
            "low": Parameter("low", type="tensor", required=True),
            "high": Parameter("high", [1, 2.5], type="tensor"),
            "which": Parameter("which", "epsilon", type="choice", choices=("epsilon", "gamma")),
            "margin": Parameter("margin", {"epsilon": 0.001, "relative": True}, type="stabilizer"),
            "strict": Parameter("strict", False, type="bool"),
        },
        canonize=frozenset({"merge_batch_norm"}),
        entries=(
            Entry(
                "first",
                Match(op=("conv",), module="torch.nn:Conv2d", exact=True, position=(0.0, 0.33)),
                "gamma",
                {"gamma": "$strength", "rounds": 2, "stabilizer": {"epsilon": "$strength", "bounds": ["$low", "$high"]}},
                origin="my.yaml:14:5",
            ),
            Entry(
                "heads",
                Match(within="Att", path="layers.*.mlp.**", path_regex="a+", not_=Match(op=("add",), not_=Match(path="x"))),
                "$which",
                origin="my.yaml:18:5",
            ),
            Entry("rest", Match(op=("linear_like", "add"), position="input"), "epsilon", {}, True, "my.yaml:19:5"),
        ),
        fallback=Fallback(linear="warn", nonlinear="pass", unknown="error"),
        origin="my.yaml",
    )


def test_a_mapping_comes_to_the_same_but_for_origins(registry):
    def bare(ruleset):
        return attrs.evolve(ruleset, origin="", entries=tuple(attrs.evolve(e, origin="") for e in ruleset.entries))

    from_file = read_ruleset(write("my.yaml", EVERYTHING), registry)
    plain = yaml.safe_load(EVERYTHING.replace("1e-6", "1.0e-6").replace("1e+3", "1.0e+3").replace("1E-3", "1.0E-3"))
    from_mapping = read_ruleset(plain, registry)
    assert bare(from_mapping) == bare(from_file)
    assert (from_mapping.origin, from_mapping.entries[1].origin) == ("<mapping>", "<mapping>: rules[1]")


def test_a_ruleset_is_returned_as_it_is(registry):
    ruleset = Ruleset("mine", ())
    assert read_ruleset(ruleset, registry) is ruleset


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-6", 1e-6),
        ("-2E3", -2000.0),
        (".5e1", 5.0),
        ("1.e+2", 100.0),
        ("'1e-6'", "1e-6"),
        ("1e", "1e"),
        ("e6", "e6"),
        ("7", 7),
    ],
)
def test_numbers_are_numbers_with_or_without_a_point(registry, written, value):
    body = f"rules: [{{id: a, match: {{op: conv}}, rule: gamma, with: {{stabilizer: {written}}}}}]"
    found = read_ruleset(write("my.yaml", HEAD + body), registry).entries[0].parameters["stabilizer"]
    assert (found, type(found)) == (value, type(value))


def test_dates_stay_text_and_aliases_expand(registry):
    body = """\
        doc: 2024-01-01
        rules:
          - {id: a, match: &where {op: conv}, rule: gamma}
          - {id: b, match: *where, rule: epsilon}
        """
    ruleset = read_ruleset(write("my.yaml", HEAD + textwrap.dedent(body)), registry)
    assert ruleset.doc == "2024-01-01"
    assert ruleset.entries[1] == Entry("b", Match(op=("conv",)), "epsilon", origin="my.yaml:6:5")


def test_ranges_include_their_bounds(registry):
    body = in_match("op: conv, position: {depth: [0, 1]}") + "\nparams: {p: {default: 1, min: 1, max: 1}}"
    assert read_ruleset(write("my.yaml", HEAD + body), registry).entries[0].match.position == (0.0, 1.0)


def test_operations_of_plugins_are_known_when_given(registry):
    document = {
        "schema": "attrkit/ruleset@1",
        "name": "my",
        "rules": [{"id": "a", "match": {"op": ["softmask", "relu"]}, "rule": "stop"}],
    }
    with pytest.warns(DeprecationWarning, match="stop is deprecated"):
        assert read_ruleset(document, registry, frozenset({"softmask"})).entries[0].match.op == ("softmask", "relu")
    with pytest.warns(DeprecationWarning, match="stop is deprecated"):
        (problem,) = problems(document, registry)
    assert problem.startswith("<mapping>: rules[0].match.op[0]: got 'softmask'; expected one of abs, activation, ")
    assert problem.endswith(" Did you mean 'softmax'?")


def test_a_rule_of_a_distribution_may_be_named_in_full(registry):
    registry.register(rule("special")(lambda step, relevance: None), "dist:rules")
    body = "rules: [{id: a, match: {op: conv}, rule: 'dist:special'}]"
    assert read_ruleset(write("my.yaml", HEAD + body), registry).entries[0].rule == "dist:special"


HEAD_OF_HEIR = {"schema": "attrkit/ruleset@1", "name": "my", "extends": ["./folder.yaml"]}

# What is wrong in a document, with its position.

OK = "{id: ok, match: {op: conv}, rule: gamma}"
KEYS = "schema, name, doc, extends, params, set, canonize, rules, fallback"
PARAMETER_KEYS = "default, type, min, max, choices, required, doc"
SELECTORS = "op, module, exact, within, path, path_regex"
DEPTH = "expected [low, high] with 0 <= low < high <= 1, got"
STABILIZER = "expected a number or {epsilon: number, relative: true or false}, got"
TENSOR = "expected a number, a list of numbers or a tensor, got"
CHOICES = "choices belong to type choice and only there; got type"


def in_rule(rest):
    return f"rules:\n  - {{id: a, {rest}}}"


def in_match(rest):
    return in_rule(f"match: {{{rest}}}, rule: gamma")


def in_with(rule, options):
    return in_rule(f"match: {{}}, rule: {rule}, with: {{{options}}}")


def in_param(rest):
    return f"rules: []\nparams:\n  p: {rest}"


def without_marks(marked):
    """The text without its ``§``, and the line:column of each."""
    pieces = marked.split("§")
    before = ["".join(pieces[: i + 1]) for i in range(len(pieces) - 1)]
    return "".join(pieces), [f"{text.count(chr(10)) + 1}:{len(text) - text.rfind(chr(10))}" for text in before]


PROBLEMS = [  # what is wrong has a § before it, as many as there are problems
    # the ruleset itself
    ("rules: []\n§canonise: []", f"unknown key 'canonise'; expected one of {KEYS}. Did you mean 'canonize'?"),
    ("rules: []\n§zzz: 1", f"unknown key 'zzz'; expected one of {KEYS}."),
    ("rules: []\n§<<: {a: 1}", f"unknown key '<<'; expected one of {KEYS}."),
    ("§rules:", "expected a list, got nothing"),
    ("§rules: {a: 1}", "expected a list, got {'a': 1}"),
    ("rules: []\n§doc: [1]", "expected text, got [1]"),
    ("rules: []\n§params: 3", "expected a mapping, got 3"),
    (
        "rules: []\ncanonize:\n- §merge_batchnorm",
        "got 'merge_batchnorm'; expected merge_batch_norm. Did you mean 'merge_batch_norm'?",
    ),
    ("rules: []\n§canonize: merge_batch_norm", "expected a list, got 'merge_batch_norm'"),
    ("rules: []\nfallback: {§linear: pass}", "got 'pass'; expected one of error, gradient, warn."),
    ("rules: []\nfallback: {§unknown: pass}", "got 'pass'; expected one of error, gradient, warn."),
    ("rules: []\nfallback: {§unknown: [error]}", "got ['error']; expected one of error, gradient, warn. Did you mean 'error'?"),
    (
        "rules: []\nfallback: {§nonlinear: passs}",
        "got 'passs'; expected one of error, gradient, pass, warn. Did you mean 'pass'?",
    ),
    (
        "rules: []\nfallback: {§nonlinar: pass}",
        "unknown key 'nonlinar'; expected one of linear, nonlinear, unknown. Did you mean 'nonlinear'?",
    ),
    # a rule
    ("rules:\n  - §nonsense", "expected a mapping of id, match, rule, with, optional, got 'nonsense'"),
    ("rules:\n  - §§§{}", *(f"key {key!r} is missing; expected id, match, rule here" for key in ("id", "match", "rule"))),
    (
        in_rule("match: {}, rule: gamma, §wiht: {}"),
        "unknown key 'wiht'; expected one of id, match, rule, with, optional. Did you mean 'with'?",
    ),
    (in_rule("match: {}, rule: gamma, §optional: 1"), "expected true or false, got 1"),
    (in_rule("match: {}, §rule: ' '"), "expected text, got ' '"),
    (in_rule("match: {}, §rule: gama"), "no rule 'gama'. Did you mean 'gamma'? Known: epsilon, gamma, pass, stop"),
    (
        f"rules:\n  - {OK}\n  - {OK.replace('id', '§id')}",
        "id 'ok' is taken by the rule at my.yaml:4:5; expected one of its own",
    ),
    ("rules:\n  - {§id: no, match: {}, rule: gamma}", "expected text, got False"),
    # what it matches
    (in_match("§opp: conv"), f"unknown key 'opp'; expected one of {SELECTORS}, position, not. Did you mean 'op'?"),
    (in_rule("§match: conv, rule: gamma"), f"expected a mapping of {SELECTORS}, position, not, got 'conv'"),
    (in_match("§op: []"), "expected a list of at least 1, got []"),
    (in_match("§module: [Linear]"), "expected text, got ['Linear']"),
    (in_match("§exact: true"), "exact says how to compare a module; expected the key 'module' too"),
    (
        in_match("§path_regex: 'a('"),
        "expected a regular expression, got 'a(': missing ), unterminated subpattern at position 1",
    ),
    (in_match("§path_regex: 1"), "expected text, got 1"),
    (
        in_match("§position: frist"),
        "got 'frist'; expected one of first, input, last or {depth: [low, high]}. Did you mean 'first'?",
    ),
    (in_match("§position: {}"), "key 'depth' is missing; expected depth here"),
    (
        in_match("§position: {§dept: [0, 1]}"),
        "key 'depth' is missing; expected depth here",
        "unknown key 'dept'; expected one of depth. Did you mean 'depth'?",
    ),
    (in_match("position: {§depth: [0.5, 0.5]}"), f"{DEPTH} [0.5, 0.5]"),
    (in_match("position: {§depth: [0, 1.1]}"), f"{DEPTH} [0, 1.1]"),
    (in_match("position: {§depth: [-0.1, 1]}"), f"{DEPTH} [-0.1, 1]"),
    (in_match("position: {§depth: [0.5]}"), f"{DEPTH} [0.5]"),
    (in_match("position: {§depth: [0, 0.5, 1]}"), f"{DEPTH} [0, 0.5, 1]"),
    (in_match("position: {§depth: [false, 1]}"), f"{DEPTH} [False, 1]"),
    (in_match("position: {§depth: [a, 1]}"), f"{DEPTH} ['a', 1]"),
    (in_match("position: {§depth: 0.5}"), f"{DEPTH} 0.5"),
    (in_match("§not: {}"), f"expected at least one of {SELECTORS}, got nothing, which would match everything"),
    (
        in_match("op: conv, not: {§position: first}"),
        "a position is found among what the whole match selects; expected it outside 'not'",
    ),
    (
        in_match("not: {not: {§paht: a}}"),
        f"unknown key 'paht'; expected one of {SELECTORS}, position, not. Did you mean 'path'?",
    ),
    # its rule and the rule's options
    (in_rule("match: {op: relu}, §rule: gamma"), "rule 'gamma' is not defined for op relu; rules for it: pass, stop"),
    (
        in_rule("match: {op: [conv, activation, pooling]}, §§rule: epsilon"),
        "rule 'epsilon' is not defined for op activation; rules for it: pass, stop",
        "rule 'epsilon' is not defined for op pooling (max_pool); rules for it: none",
    ),
    (
        in_with("gamma", "§gama: 1"),
        "rule 'gamma' has no option 'gama'; its options: gamma=0.25, rounds=1, stabilizer=None. Did you mean 'gamma'?",
    ),
    (in_with("pass", "§a: 1"), "rule 'pass' has no option 'a'; its options: none."),
    (in_rule("match: {}, rule: pass, §with: [a]"), "expected a mapping, got ['a']"),
    (in_with("gamma", "§gamma: much"), "option 'gamma' of rule 'gamma': expected a finite number or nothing, got 'much'"),
    (
        in_with("gamma", "§gamma: true, §rounds: 1.5"),
        "option 'gamma' of rule 'gamma': expected a finite number or nothing, got True",
        "option 'rounds' of rule 'gamma': expected an integer, got 1.5",
    ),
    (
        in_with("epsilon", "§epsilon: null, §relative: 1, §bias: 0"),
        "option 'epsilon' of rule 'epsilon': expected a finite number, got nothing",
        "option 'relative' of rule 'epsilon': expected true or false, got 1",
        "option 'bias' of rule 'epsilon': expected text, got 0",
    ),
    # parameters
    (
        in_with("gamma", "§gamma: $gama") + "\nparams: {gamma: {default: 1}}",
        "unknown parameter '$gama'; expected one of gamma. Did you mean 'gamma'?",
    ),
    (in_with("gamma", "§stabilizer: {epsilon: [$x]}"), "unknown parameter '$x'; expected one of none."),
    (in_rule("match: {}, §rule: $which"), "unknown parameter '$which'; expected one of none."),
    (
        in_rule("match: {}, §rule: $g") + "\nparams: {g: {default: 1}}",
        "expected a parameter of type choice to name the rule, '$g' is of type number",
    ),
    (
        in_rule("match: {}, §rule: $w") + "\nparams: {w: {type: choice, choices: [gamma, epsilo], default: gamma}}",
        "no rule 'epsilo'. Did you mean 'epsilon'? Known: epsilon, gamma, pass, stop",
    ),
    (
        in_rule("match: {op: add}, §rule: $w, with: {§gamma: 1}")
        + "\nparams: {w: {type: choice, choices: [gamma, epsilon], default: gamma}}",
        "rule 'gamma' is not defined for op add; rules for it: epsilon",
        "rule 'epsilon' has no option 'gamma'; its options: epsilon=1e-06, relative=False, bias='absorb'.",
    ),
    (
        "rules: []\nparams: {§a-b: {default: 1}}",
        "expected letters, digits and underscores as a parameter's name, got 'a-b'",
    ),
    ("rules: []\nparams:\n  §p: 0.25", f"expected a mapping of {PARAMETER_KEYS}, got 0.25"),
    (in_param("{§defualt: 1}"), f"unknown key 'defualt'; expected one of {PARAMETER_KEYS}. Did you mean 'default'?"),
    (
        in_param("{default: 1, §type: nubmer}"),
        "got 'nubmer'; expected one of bool, choice, number, stabilizer, tensor. Did you mean 'number'?",
    ),
    ("rules: []\nparams:\n  §p: {type: number}", "expected either a default or 'required: true'"),
    (in_param("{§default: 1, required: true}"), "expected either a default or 'required: true'"),
    (in_param("{§default: one}"), "expected a finite number, got 'one'"),
    (in_param("{§default: true}"), "expected a finite number, got True"),
    (in_param("{§default: .nan}"), "expected a finite number, got nan"),
    (in_param("{§default: 1e999}"), "expected a finite number, got inf"),
    (in_param("{default: 1, §min: low}"), "expected a finite number, got 'low'"),
    (in_param("{§default: 1, min: 2}"), "expected at least 2, got 1"),
    (in_param("{§default: 3, max: 2}"), "expected at most 2, got 3"),
    (in_param("{default: 1, min: 2, §max: 1}"), "expected at least the min of 2, got 1"),
    (in_param("{default: true, type: bool, §min: 0}"), "only a parameter of type number has a min, this one is of type bool"),
    ("rules: []\nparams:\n  §p: {default: a, type: choice}", f"{CHOICES} choice"),
    (in_param("{default: 1, §choices: [1]}"), f"{CHOICES} number"),
    (in_param("{default: 1, type: choice, §choices: []}"), "expected a list of at least 1, got []"),
    (in_param("{default: 1, type: choice, choices: [1, §{}]}"), "expected text, a number, true or false, got {}"),
    (
        in_param("{§default: bata, type: choice, choices: [alpha, beta]}"),
        "expected one of alpha, beta, got 'bata'. Did you mean 'beta'?",
    ),
    (in_param("{§default: 1, type: choice, choices: [true]}"), "expected one of True, got 1."),
    (in_param("{§default: 3, type: bool}"), "expected true or false, got 3"),
    (in_param("{§default: [], type: tensor}"), f"{TENSOR} []"),
    (in_param("{§default: [a], type: tensor}"), f"{TENSOR} ['a']"),
    (in_param("{§default: {eps: 1}, type: stabilizer}"), f"{STABILIZER} {{'eps': 1}}"),
    (
        in_param("{§default: {epsilon: 1, relative: 1}, type: stabilizer}"),
        f"{STABILIZER} {{'epsilon': 1, 'relative': 1}}",
    ),
    # set
    (in_param("{default: 1}\nset: {§q: 1}"), "unknown parameter 'q'; expected one of p."),
    (in_param("{default: 1, min: 0}\nset: {§p: -1}"), "expected at least 0, got -1"),
    (in_param("{default: 1}\nset: {§p: x}"), "expected a finite number, got 'x'"),
]


@pytest.mark.parametrize(("body", "expected"), [(body, expected) for body, *expected in PROBLEMS])
def test_a_problem_is_named_with_its_position(registry, body, expected):
    text, positions = without_marks(HEAD + body)
    assert problems_of(text, registry) == [f"my.yaml:{at}: {line}" for at, line in zip(positions, expected, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "rules: []",
            ["key 'schema' is missing; expected schema, name here", "key 'name' is missing; expected schema, name here"],
        ),
        (
            "schema: attrkit/ruleset@2\nname: a\nrules: []",
            ["got 'attrkit/ruleset@2'; expected attrkit/ruleset@1. Did you mean 'attrkit/ruleset@1'?"],
        ),
        ("schema: attrkit/ruleset@1\nname: a", ["there is nothing in it; expected 'rules', 'extends' or both"]),
        ("- a\n- b", [f"expected a mapping of {KEYS}, got ['a', 'b']"]),
        ("just text", [f"expected a mapping of {KEYS}, got 'just text'"]),
    ],
)
def test_what_is_no_ruleset_is_refused(registry, text, expected):
    assert problems_of(text, registry) == [f"my.yaml:1:1: {line}" for line in expected]


def test_all_problems_come_at_once_from_top_to_bottom(registry):
    marked = """\
        schema: attrkit/ruleset@1
        name: my
        rules:
          - {id: a, match: {op: [conv, §cnov]}, §rule: gama, with: {x: §!!python/name:os.system }}
          - {§id: a, match: {op: relu}, §rule: gamma, with: {gamma: $g}}
        params: {g: {§default: x}, §g: {default: 1}}
        set: {g: wrong, §h: 1}
        §1: 2
        """
    text, positions = without_marks(textwrap.dedent(marked))
    assert [line.partition(": ")[0] for line in problems_of(text, registry)] == [f"my.yaml:{at}" for at in positions]


def test_what_could_not_be_read_causes_no_further_problems(registry):
    marked = """\
        schema: attrkit/ruleset@1
        name: my
        params: {g: {default: §!custom x}, w: §!custom 1}
        set: {g: 1, w: 2}
        rules:
          - {id: a, match: {op: conv}, rule: $w, with: {gamma: $g}}
          - {id: §!custom 2, match: §!custom {}, rule: §!custom c, with: §!custom {}, optional: §!custom 3}
          - §!custom d
          - {id: e, match: {op: §!custom conv, position: {depth: §!custom [0, 1]}, path_regex: §!custom a}, rule: gamma}
        """
    text, positions = without_marks(textwrap.dedent(marked))
    refused = "tag '!custom' is refused here; expected plain text, numbers, lists and mappings"
    assert problems_of(text, registry) == [f"my.yaml:{at}: {refused}" for at in positions]


def test_a_mapping_names_paths_in_place_of_positions(registry):
    document = {
        "schema": "attrkit/ruleset@1",
        "name": "my",
        1: 2,
        "rules": [
            {"id": "a", "match": {"op": ["conv", None]}, "rule": "gamma", "with": {"rounds": "x", 3: 4}},
            {"id": "b", "match": {"not": {"path_regex": "("}}, "rule": "gama"},
        ],
        "params": {"p": {"default": {1}}},
    }
    paths = [line.removeprefix("<mapping>: ").partition(": ")[0] for line in problems(document, registry)]
    assert paths == [
        "[1]", "rules[0].match.op[1]", "rules[1].match.not.path_regex", "params.p.default", "rules[0].with.rounds",
        "rules[0].with[3]", "rules[1].rule",
    ]  # fmt: skip
    assert problems({}, registry)[0] == "<mapping>: key 'schema' is missing; expected schema, name here"


# Hostile and broken files.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty; expected a ruleset, which starts with 'schema: attrkit/ruleset@1'"),
        ("# nothing\n", "1:1: the file is empty; expected a ruleset, which starts with 'schema: attrkit/ruleset@1'"),
        (
            "a: {b: 1\nc: 2",
            "2:2: cannot be read as YAML: while parsing a flow mapping, expected ',' or '}', but got ':'",
        ),
        (
            "\ta: 1",
            "1:1: cannot be read as YAML: while scanning for the next token, found character '\\t' that cannot start any token",
        ),
        (
            "a: 1\n---\nb: 2",
            "2:1: cannot be read as YAML: expected a single document in the stream, but found another document",
        ),
        ("a: *b", "1:4: cannot be read as YAML: found undefined alias 'b'"),
        ("a: b\nc: \x07", "2:4: character '\\x07' is not allowed; expected printable text"),
        ("a: &a [1, *a]", "1:4: contains itself through an alias; expected a value that ends"),
        ("a: &a {b: {c: *a}}", "1:4: contains itself through an alias; expected a value that ends"),
        ("[" * 100_000, "1:51: cannot be read as YAML: more than 50 levels; expected a ruleset, which needs far fewer"),
        ("- " * 60 + "a", "1:101: cannot be read as YAML: more than 50 levels; expected a ruleset, which needs far fewer"),
        (
            "[" + "1," * 400_000 + "]",
            "1:40000: cannot be read as YAML: more than 20000 values; expected a ruleset, which needs far fewer",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_at_all(registry, text, expected):
    assert problems_of(text, registry) == [f"my.yaml:{expected}"]


def test_aliases_that_explode_are_refused(registry):
    laughs = "a: &a0 [ha, ha]\n" + "".join(f"b{i}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30))
    (problem,) = problems_of(laughs, registry)
    assert problem.endswith(": more than 20000 values once aliases are expanded; expected far fewer")


@pytest.mark.parametrize(
    "tagged",
    [
        "!!python/object/apply:os.system ['touch pwned']", "!!python/object/new:os.system ['touch pwned']",
        "!!python/name:os.system ", "!!python/module:os ", "!!set {a}", "!!binary aGk=", "!!omap [a: 1]", "!!str {a: 1}",
        "!!map [1]", "!<tag:x.org,2000:y> 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["rules", "name", "doc"])
def test_no_tag_constructs_anything(registry, tagged, place):
    document = {"schema": "attrkit/ruleset@1", "name": "my", "rules": "[]"} | {place: tagged}
    found = problems_of("".join(f"{key}: {value}\n" for key, value in document.items()), registry)
    line = list(document).index(place) + 1
    tag = tagged.split()[0].removeprefix("!<").removesuffix(">")
    expected = "expected plain text, numbers, lists and mappings"
    assert found == [f"my.yaml:{line}:{len(place) + 3}: tag {tag!r} is refused here; {expected}"]
    assert not Path("pwned").exists()


@pytest.mark.parametrize("scalar", ["!!int foo", "!!int ''", "!!float x", "!!bool maybe", "1" * 101, "1" + ":59" * 200_000])
def test_a_literal_that_is_none_is_refused_wherever_it_is_used(registry, scalar):
    tag = "int" if "!!" not in scalar else scalar.split()[0][2:]
    text = scalar.split()[-1].strip("'")[:100]
    expected = f": expected {tag}, got {text!r}"
    assert problems_of(HEAD + f"doc: &a {scalar}\nrules: [*a]\nname: x", registry) == [
        f"my.yaml:3:6{expected}",
        "my.yaml:5:1: key 'name' comes twice, first at 2:1; expected it once",
    ]


@pytest.mark.parametrize(
    ("key", "got"), [("1", "'1'"), ("on", "'on'"), ("~", "'~'"), ("? [a]\n", "a sequence"), ("!!python/none x", "'x'")]
)
def test_a_key_that_is_no_text_is_refused(registry, key, got):
    column = 3 if key.startswith("?") else 1
    assert problems_of(HEAD + f"rules: []\n{key}: 1", registry) == [
        f"my.yaml:4:{column}: expected a name as key, got {got}; quote it if it is meant as text"
    ]


def test_a_key_that_comes_twice_is_reported_with_both_positions(registry):
    body = f"rules:\n  - {OK}\n  - {{id: a, id: b, match: {{op: add, op: conv}}, rule: epsilon}}\nrules: []"
    assert problems_of(HEAD + body, registry) == [
        "my.yaml:5:13: key 'id' comes twice, first at 5:6; expected it once",
        "my.yaml:5:37: key 'op' comes twice, first at 5:28; expected it once",
        "my.yaml:6:1: key 'rules' comes twice, first at 3:1; expected it once",
    ]


def test_a_large_file_is_refused_by_its_size(registry):
    write("big.yaml", HEAD + "#" * 1_000_000)
    assert problems("big.yaml", registry) == ["big.yaml:1:1: the file has 1000035 bytes; expected a ruleset of at most 1000000"]


def test_the_largest_file_is_read(registry):
    body = HEAD + "rules: []\n"
    assert read_ruleset(write("big.yaml", body + "#" * (1_000_000 - len(body))), registry).name == "my"


@pytest.mark.parametrize("values", ["[{}&a [1]]", "[{}&a [1], *a, *a, *a]"])
def test_the_last_value_that_is_too_many_is_refused_and_no_earlier(registry, values):
    spare = 20_000 - (1 + 2 * values.count("a"))
    (most,) = problems_of(values.format("x, " * spare), registry)
    assert most.startswith("my.yaml:1:1: expected a mapping of ")
    (more,) = problems_of(values.format("x, " * (spare + 1)), registry)
    assert "more than 20000 values" in more


def test_levels_are_counted_inwards_alone(registry):
    (most,) = problems_of("[" + "[]," * 60 + "[" * 49 + "]" * 50, registry)
    assert most.startswith("my.yaml:1:1: expected a mapping of ")
    (more,) = problems_of("[" + "[]," * 60 + "[" * 50 + "]" * 51, registry)
    assert more.startswith("my.yaml:1:231: cannot be read as YAML: more than 50 levels")


def test_the_longest_numeral_is_read(registry):
    body = f"rules: []\nparams: {{p: {{default: {'1' * 100}}}}}"
    assert read_ruleset(write("my.yaml", HEAD + body), registry).parameters["p"].default == int("1" * 100)


def test_what_was_refused_inside_a_value_is_called_so(registry):
    assert problems_of(HEAD + in_match("position: {depth: [!custom 0, 1]}"), registry) == [
        "my.yaml:4:32: expected [low, high] with 0 <= low < high <= 1, got [what was refused, 1]",
        "my.yaml:4:40: tag '!custom' is refused here; expected plain text, numbers, lists and mappings",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "rules: [" + ", ".join(f"{{id: r{i}, match: {{op: relv{i}}}, rule: gamma}}" for i in range(400)) + "]",
        "extends: [" + ", ".join(f"./f{i}.yaml" for i in range(400)) + "]",
        "rules: []\n" + "\n".join(f"kex{i}: 1" for i in range(400)),
    ],
)
def test_reading_ends_after_many_problems(registry, body):
    found = problems_of(HEAD + body, registry)
    assert len(found) == 201
    assert found[-1].endswith(": reading ends here, after 200 problems")


def test_a_folder_is_no_ruleset(registry, here):
    (here / "folder.yaml").mkdir()
    with pytest.raises(UnknownName, match="^ruleset 'folder.yaml' is a folder; expected a file$"):
        read_ruleset("folder.yaml", registry)
    assert problems(HEAD_OF_HEIR, registry) == ["<mapping>: extends[0]: ruleset 'folder.yaml' is a folder; expected a file"]


@pytest.mark.parametrize(
    ("selector", "trouble"),
    [
        ("path_regex: '(a+)+$'", "what repeats holds a repeat or alternatives"),
        ("path_regex: '(\\w+\\.)*x'", "what repeats holds a repeat or alternatives"),
        ("path_regex: '(a|ab)*c'", "what repeats holds a repeat or alternatives"),
        ("path_regex: '(?:a{1,30}){1,30}'", "what repeats holds a repeat or alternatives"),
        ("path_regex: '((a?)b){9}'", "what repeats holds a repeat or alternatives"),
        ("path_regex: '.*.*.*.*.*.*x'", "it has 6 repeats and alternatives, expected at most 5; write several entries"),
        (f"path_regex: {'a' * 501}", "it has 501 characters, expected at most 500"),
        (f"path: '{'**a' * 6}'", "it has 6 wildcards **, expected at most 5; write several entries"),
        (f"path: '{'*a' * 11}'", "it has 11 wildcards, expected at most 10; write several entries"),
        (f"path: {'a' * 501}", "it has 501 characters, expected at most 500"),
    ],
)
def test_a_pattern_that_may_take_for_ever_is_refused(registry, selector, trouble):
    (problem,) = problems_of(HEAD + in_match(selector), registry)
    assert problem.startswith("my.yaml:4:21: a ")
    assert f" is refused: {trouble}" in problem


@pytest.mark.parametrize(
    "selector",
    [
        r"path_regex: 'layers\.\d+\.(conv|fc)\d*'", r"path_regex: '(?!head).*'", r"path_regex: '(ab){2,3}'",
        r"path_regex: '(a+)?b'", "path_regex: '.*.*.*.*.*x'", f"path: '{'**a' * 5}'", "path: '*.*.*.*.*.*.*.*.*.*'",
    ],
)  # fmt: skip
def test_a_pattern_that_is_read_is_matched_in_little_time(registry, selector):
    (entry,) = read_ruleset(write("my.yaml", HEAD + in_match(selector)), registry).entries
    pytest.importorskip("torch")
    from attrkit.layers import path_pattern

    pattern = re.compile(entry.match.path_regex) if entry.match.path_regex else path_pattern(entry.match.path)
    start = time.process_time()
    for worst in ("a" * 60 + "!", "a." * 30 + "!", "ab" * 30 + "!"):
        pattern.fullmatch(worst)
    assert time.process_time() - start < 5  # most of it takes a hundredth of that; what is refused would take years


def test_bytes_that_are_no_utf8_are_named(registry):
    Path("my.yaml").write_bytes(HEAD.encode() + b"doc: gr\xfcn\n")
    assert problems("my.yaml", registry) == ["my.yaml:3:8: byte 0xfc is not UTF-8; expected a text file in UTF-8"]


def test_a_byte_order_mark_is_no_problem(registry):
    Path("my.yaml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode() + b"rules: []")
    assert read_ruleset("my.yaml", registry).name == "my"


def test_a_file_without_permission_says_so():
    class Locked:
        def open(self, mode):
            raise PermissionError(13, "Permission denied")

    with pytest.raises(RulesetError, match="^my.yaml:1:1: the file cannot be read: Permission denied$"):
        load(Locked(), "my.yaml")


def test_reading_needs_no_torch():
    program = """
        import sys
        sys.modules["torch"] = None
        from attrkit.rulesets.reader import read_ruleset
        from attrkit.registry import Registry
        empty = {"schema": "attrkit/ruleset@1", "name": "read", "rules": []}
        print(read_ruleset(empty, Registry(autoload=False)).name)
        """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.stderr) == ("read\n", "")


# Where rulesets are found.


def test_a_file_may_be_a_path_or_a_str_with_a_separator(registry, here):
    write("my.yml", HEAD + "rules: []")
    write("bare", HEAD + "rules: []")
    for source in ("my.yml", Path("my.yml"), Path("bare"), "./bare", str(here / "my.yml")):
        assert read_ruleset(source, registry).name == "my"


def test_messages_name_a_file_as_it_was_given(registry, here):
    write("my.yaml", "")
    assert problems(here / "my.yaml", registry)[0].startswith(f"{here / 'my.yaml'}:1:1: ")


def test_a_file_that_is_not_there_is_named_with_those_that_are(registry):
    write("mine.yaml", HEAD)
    with pytest.raises(UnknownName, match="^no ruleset file 'mien.yaml'; '.' holds mine.yaml. Did you mean 'mine.yaml'\\?$"):
        read_ruleset("mien.yaml", registry)
    with pytest.raises(UnknownName, match="^no ruleset file 'nowhere/a.yaml'; 'nowhere' holds no .yaml file.$"):
        read_ruleset("nowhere/a.yaml", registry)
    with pytest.raises(UnknownName, match="no ruleset file"):
        read_ruleset(Path(), registry)
    with pytest.raises(UnknownName, match="no ruleset file"):
        read_ruleset(HEAD + "doc: " + "x" * 5000, registry)


def test_a_message_names_some_files_of_a_full_folder(registry):
    for i in range(30):
        write(f"f{i:02}.yaml", HEAD)
    with pytest.raises(UnknownName, match="holds f00.yaml, .*, f19.yaml, ....$"):
        read_ruleset("./zzzzzzzzzzzzzzzzzzzz.yml", registry)


def test_a_message_names_all_files_if_they_are_few(registry):
    for i in range(20):
        write(f"f{i:02}.yaml", HEAD)
    with pytest.raises(UnknownName, match=r"f18.yaml, f19.yaml\."):
        read_ruleset("other.yaml", registry)


def test_shipped_rulesets_go_by_name(registry, ships):
    ships("one", plus=HEAD + f"rules: [{OK}]")
    ships("two", plus=HEAD.replace("my", "other") + "rules: []")
    assert read_ruleset("plus", registry).entries[0].origin == "plus.yaml:3:9"
    assert read_ruleset("two:plus", registry).name == "other"
    expected = "^no ruleset 'pluss'; expected a file that ends in .yaml, or one of: plus, two:plus. Did you mean 'plus'\\?$"
    with pytest.raises(UnknownName, match=expected):
        read_ruleset("pluss", registry)


def test_other_sources_are_refused(registry):
    with pytest.raises(UsageTypeError, match="^expected a ruleset's name, its file, a mapping or a Ruleset, got 3$"):
        read_ruleset(3, registry)


# Extending other rulesets.

BASE = """\
schema: attrkit/ruleset@1
name: base
params:
  g: {default: 1, min: 0}
  low: {type: tensor, required: true}
  which: {default: gamma, type: choice, choices: [gamma, epsilon]}
canonize: [merge_batch_norm]
rules:
  - {id: one, match: {op: conv}, rule: $which}
  - {id: two, match: {op: linear}, rule: gamma, with: {gamma: $g}}
  - {id: three, match: {op: relu}, rule: pass}
fallback: {linear: gradient, unknown: warn}
"""


def heir(body, extends="[./base.yaml]"):
    return write("my.yaml", HEAD + f"extends: {extends}\n" + body)


@pytest.fixture
def base():
    return write("base.yaml", BASE)


def test_own_rules_come_first_and_replace_those_of_the_same_id(registry, base):
    ruleset = read_ruleset(
        heir(
            "rules:\n  - {id: two, match: {op: conv}, rule: epsilon, with: {epsilon: $g}}\n  - {id: new, match: {}, rule: pass}"
        ),
        registry,
    )
    assert [(e.id, e.rule, e.origin) for e in ruleset.entries] == [
        ("two", "epsilon", "my.yaml:5:5"),
        ("new", "pass", "my.yaml:6:5"),
        ("one", "$which", "base.yaml:9:5"),
        ("three", "pass", "base.yaml:11:5"),
    ]
    assert (ruleset.name, ruleset.doc, ruleset.origin) == ("my", "", "my.yaml")


def test_what_is_not_given_is_inherited(registry, base):
    ruleset = read_ruleset(heir(""), registry)
    assert ruleset.canonize == {"merge_batch_norm"}
    assert ruleset.fallback == Fallback(linear="gradient", unknown="warn")
    assert list(ruleset.parameters) == ["g", "low", "which"]


def test_what_is_given_is_not_inherited(registry, base):
    ruleset = read_ruleset(heir("canonize: []\nfallback: {linear: error, nonlinear: pass}"), registry)
    assert ruleset.canonize == frozenset()
    assert ruleset.fallback == Fallback(linear="error", nonlinear="pass", unknown="warn")


def test_set_overrides_defaults_of_inherited_and_own_parameters(registry, base):
    ruleset = read_ruleset(heir("set: {g: 2, low: [0, 1], own: true}\nparams: {own: {default: false, type: bool}}"), registry)
    assert {name: p.default for name, p in ruleset.parameters.items()} == {
        "own": True, "g": 2, "low": [0, 1], "which": "gamma",
    }  # fmt: skip
    assert not ruleset.parameters["low"].required
    assert ruleset.parameters["g"].min == 0


def test_set_holds_for_the_heirs_of_heirs(registry, base):
    write("middle.yaml", HEAD + "extends: [./base.yaml]\nset: {g: 2}")
    assert read_ruleset(heir("", "[./middle.yaml]"), registry).parameters["g"].default == 2


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("set: {g: -1}", "4:7: expected at least 0, got -1"),
        ("set: {which: pass}", "4:7: expected one of gamma, epsilon, got 'pass'."),
        ("set: {gg: 1}", "4:7: unknown parameter 'gg'; expected one of g, low, which. Did you mean 'g'?"),
        (
            "params:\n  which: {default: pass, type: choice, choices: [pass]}",
            "5:3: rule 'pass' is not defined for op conv; rules for it: epsilon, gamma",
        ),
        (
            "params:\n  which: {default: 1}",
            "5:3: expected a parameter of type choice to name the rule, '$which' is of type number",
        ),
    ],
)
def test_what_does_not_fit_the_inherited_is_named_where_it_is_written(registry, base, body, problem):
    assert problems(heir(body), registry) == [f"my.yaml:{problem}"]


def test_a_parameter_may_be_declared_anew_where_it_fits(registry, base):
    replaced = "rules:\n  - {id: one, match: {op: relu}, rule: $which}\n"
    ruleset = read_ruleset(heir(replaced + "params:\n  which: {default: pass, type: choice, choices: [pass]}"), registry)
    assert ruleset.parameters["which"].choices == ("pass",)


def test_several_parents_count_in_order_and_a_common_one_once(registry, base):
    for name, value in (("left", 2), ("right", 3)):
        write(
            f"{name}.yaml",
            HEAD + f"extends: [./base.yaml]\nset: {{g: {value}}}\nrules:\n- {{id: {name}, match: {{}}, rule: pass}}",
        )
    ruleset = read_ruleset(heir("", "[./right.yaml, ./left.yaml]"), registry)
    assert [e.id for e in ruleset.entries] == ["right", "one", "two", "three", "left"]
    assert ruleset.parameters["g"].default == 3


def test_the_first_parent_that_says_it_decides(registry, base):
    write("silent.yaml", HEAD + "rules: []\nfallback: {linear: warn}")
    ruleset = read_ruleset(heir("", "[./silent.yaml, ./base.yaml]"), registry)
    assert ruleset.fallback == Fallback(linear="warn", unknown="warn")
    assert ruleset.canonize == {"merge_batch_norm"}


def test_a_path_is_relative_to_the_file_that_extends(registry):
    Path("deep/er").mkdir(parents=True)
    write("deep/base.yaml", HEAD + f"rules: [{OK}]")
    write("deep/er/middle.yml", HEAD + "extends: [../base.yaml]")
    ruleset = read_ruleset(heir("", "[./deep/er/middle.yml]"), registry)
    assert [e.origin for e in ruleset.entries] == ["deep/er/../base.yaml:3:9"]


def test_shipped_rulesets_can_be_extended_by_name(registry, ships):
    ships("one", plus=HEAD + "extends: [core]", core=HEAD + f"rules: [{OK}]")
    ships("two", plus=HEAD + "extends: [./near.yaml]", near=HEAD + "rules: [{id: near, match: {}, rule: pass}]")
    document = {"schema": "attrkit/ruleset@1", "name": "mine", "extends": ["two:plus", "plus"]}
    assert [e.id for e in read_ruleset(document, registry).entries] == ["near", "ok"]


def test_rulesets_in_an_archive_extend_others_by_name_alone(registry, tmp_path, monkeypatch):
    package = f"{tmp_path.name}_zipped"
    texts = {"plus": HEAD + "extends: [core]", "core": HEAD + f"rules: [{OK}]", "near": HEAD + "extends: [./core.yaml]"}
    with ZipFile("site.zip", "w") as archive:
        archive.writestr(f"{package}/__init__.py", "")
        for name, text in texts.items():
            archive.writestr(f"{package}/{name}.yaml", text)
    monkeypatch.syspath_prepend(tmp_path / "site.zip")
    registry.register(RulesetSource(package), "zipped:rulesets")
    write("core.yaml", HEAD + "rules: []")  # in the current folder, which has nothing to do with it
    assert [e.origin for e in read_ruleset("plus", registry).entries] == ["core.yaml:3:9"]
    (problem,) = problems("near", registry)
    assert problem.startswith("near.yaml:3:11: no ruleset file 'near.yaml/core.yaml'")


def test_parents_that_are_missing_are_named_where_they_are_asked_for(registry, ships, base):
    ships("one", plus=HEAD + "rules: []")
    extends = "\n  - pluss\n  - ./base.yml\n  - 3\n  - plus"
    assert problems(heir("rules: [{id: a, match: {}, rule: $unknowable}]\nset: {unknowable: 1}", extends), registry) == [
        "my.yaml:4:5: no ruleset 'pluss'; expected a file that ends in .yaml, or one of: plus. Did you mean 'plus'?",
        "my.yaml:5:5: no ruleset file 'base.yml'; '.' holds base.yaml, my.yaml. Did you mean 'base.yaml'?",
        "my.yaml:6:5: expected text, got 3",
    ]


def test_own_rules_are_checked_although_a_parent_is_missing(registry):
    own = "params: {w: {type: choice, choices: [gama], default: gama}}\nrules: [{id: a, match: {}, rule: $w}]"
    assert [line.partition(":")[2][:28] for line in problems(heir(own, "[nothing]"), registry)] == [
        "3:11: no ruleset 'nothing'; ",
        "5:28: no rule 'gama'. Did yo",
    ]


def test_problems_of_all_files_come_at_once_and_each_once(registry):
    write("base.yaml", HEAD + "rules: [{id: a, match: {}, rule: gama}]")
    write("broken.yaml", HEAD + "rules: [")
    write("left.yaml", HEAD + "extends: [./base.yaml, ./broken.yaml]")
    write("right.yaml", HEAD + "extends: [./base.yaml, ./broken.yaml]\nrules: 1")
    found = problems(heir("rules: [{id: b, match: {}, rule: $x}]\ndoc: 1", "[./left.yaml, ./right.yaml]"), registry)
    assert [line.partition(": ")[0] for line in found] == ["base.yaml:3:28", "broken.yaml:3:9", "right.yaml:4:1", "my.yaml:5:1"]


@pytest.mark.parametrize("first", ["a", "b", "c"])
def test_a_cycle_is_shown_where_it_closes(registry, first):
    files = ["a", "b", "c"]
    for name, following in zip(files, ["b", "c", "a"], strict=True):
        write(f"{name}.yaml", HEAD + f"extends:\n- ./{following}.yaml\n")
    start = files.index(first)
    order = [f"{name}.yaml" for name in files[start:] + files[:start]]
    cycle = " -> ".join([*order, order[0]])
    assert problems(f"{first}.yaml", registry) == [
        f"{order[-1]}:4:3: expected a ruleset that does not extend this one, got a cycle: {cycle}"
    ]


def test_a_cycle_leaves_out_what_leads_to_it(registry):
    write("self.yaml", HEAD + f"extends: [../{Path.cwd().name}/self.yaml]")
    assert problems(heir("", "[./self.yaml]"), registry) == [
        "self.yaml:3:11: expected a ruleset that does not extend this one, got a cycle: self.yaml -> self.yaml"
    ]


def test_shipped_rulesets_that_extend_one_another_are_a_cycle(registry, ships):
    ships("one", plus=HEAD + "extends: [minus]", minus=HEAD + "extends: [plus]")
    assert problems("plus", registry) == [
        "minus.yaml:3:11: expected a ruleset that does not extend this one, got a cycle: plus.yaml -> minus.yaml -> plus.yaml"
    ]


def test_a_long_chain_ends_in_a_message(registry):
    for i in range(300):
        write(f"f{i}.yaml", HEAD + f"extends: [./f{i + 1}.yaml]")
    assert problems("f0.yaml", registry) == [
        f"f{LEVELS}.yaml:3:11: expected at most {LEVELS} rulesets that extend one another, got more"
    ]


# Settling the parameters.


def parametrised(**parameters):
    return Ruleset(
        "mine",
        (
            Entry("a", Match(), "$which", {"x": "$number", "y": {"epsilon": "$number", "all": ["$flag", 1]}, "z": "plain"}),
            Entry("b", Match(), "gamma", {}, True, "f:1:1"),
        ),
        parameters={
            "which": Parameter("which", "gamma", "choice", choices=("gamma", "pass")),
            "number": Parameter("number", 0.5, min=0, max=1),
            "flag": Parameter("flag", False, "bool"),
            **{name: Parameter(name, **facts) for name, facts in parameters.items()},
        },
    )


def test_defaults_and_given_values_take_the_place_of_names():
    ruleset = settled(parametrised(), {"number": 1, "which": "pass"})
    assert ruleset.entries == (
        Entry("a", Match(), "pass", {"x": 1, "y": {"epsilon": 1, "all": [False, 1]}, "z": "plain"}),
        Entry("b", Match(), "gamma", {}, True, "f:1:1"),
    )


def test_the_original_stays_as_it_was():
    original = parametrised()
    settled(original, {"number": 1})
    assert original == parametrised()


def test_a_settled_ruleset_says_what_was_used_and_is_settled_again_as_itself():
    ruleset = settled(parametrised(low={"type": "tensor", "required": True}), {"number": 1, "low": 3})
    assert (ruleset.parameters["number"].default, ruleset.parameters["low"].default) == (1, 3)
    assert settled(ruleset, {}) == ruleset


def test_all_that_is_wrong_with_the_values_comes_at_once():
    ruleset = parametrised(low={"type": "tensor", "required": True}, high={"type": "tensor", "required": True})
    with pytest.raises(RulesetError) as raised:
        settled(ruleset, {"numbr": 1, "which": "passs", "number": "x", "flag": 1, "high": None})
    assert raised.value.problems == (
        "mine: no parameter 'numbr'; expected one of which, number, flag, low, high. Did you mean 'number'?",
        "mine: parameter 'which': expected one of gamma, pass, got 'passs'. Did you mean 'pass'?",
        "mine: parameter 'number': expected a finite number, got 'x'",
        "mine: parameter 'flag': expected true or false, got 1",
        "mine: parameter 'low' is required: pass parameters={'low': ...}",
        "mine: parameter 'high': expected a number, a list of numbers or a tensor, got nothing",
    )


def test_a_ruleset_without_parameters_takes_none():
    with pytest.raises(RulesetError, match="^mine: no parameter 'x'; expected one of none.$"):
        settled(Ruleset("mine", ()), {"x": 1})


class Shaped:
    shape = (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", 0), ("number", 1), ("number", np.float32(0.5)), ("number", np.int64(1)), ("tensor", 2), ("tensor", -1.5),
        ("tensor", [0, 1.5]), ("tensor", [1]),
        ("tensor", (0, 1)), ("tensor", np.zeros(3)), ("tensor", Shaped()), ("stabilizer", 1e-9),
        ("stabilizer", {"epsilon": 1e-3}), ("stabilizer", {"epsilon": 1, "relative": True}), ("stabilizer", {"relative": True}),
        ("bool", True),
    ],
)  # fmt: skip
def test_values_that_fit(kind, value):
    bounds = {"min": 0, "max": 1} if kind == "number" else {}
    ruleset = Ruleset("mine", (Entry("a", Match(), "r", {"x": "$p"}),), parameters={"p": Parameter("p", None, kind, **bounds)})
    assert settled(ruleset, {"p": value}).entries[0].parameters["x"] is value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("number", -0.1, "at least 0, got -0.1"),
        ("number", 1.1, "at most 1, got 1.1"),
        ("number", float("nan"), "a finite number, got nan"),
        ("number", 10**400, "at most 1, got 1000"),
        ("number", True, "a finite number, got True"),
        ("number", None, "a finite number, got nothing"),
        ("number", [1], "a finite number, got \\[1\\]"),
        ("tensor", "0", "a number, a list of numbers or a tensor, got '0'"),
        ("tensor", [True], "a number, a list of numbers or a tensor, got \\[True\\]"),
        ("tensor", [[1]], "a number, a list of numbers or a tensor, got \\[\\[1\\]\\]"),
        ("stabilizer", {"epsilon": 1, "clip": 1}, "a number or {epsilon: number, relative: true or false}, got {"),
        ("stabilizer", {"epsilon": "a"}, "a number or {epsilon: number, relative: true or false}, got {"),
        ("stabilizer", {"relative": 1}, "a number or {epsilon: number, relative: true or false}, got {"),
        ("stabilizer", "1e-6", "a number or {epsilon: number, relative: true or false}, got '1e-6'"),
        ("bool", "true", "true or false, got 'true'"),
        ("bool", 0, "true or false, got 0"),
    ],
)
def test_values_that_do_not_fit(kind, value, expected):
    bounds = {"min": 0, "max": 1} if kind == "number" else {}
    ruleset = Ruleset("mine", (), parameters={"p": Parameter("p", None, kind, **bounds)})
    with pytest.raises(RulesetError, match=f"^mine: parameter 'p': expected {expected}"):
        settled(ruleset, {"p": value})


def test_a_choice_is_no_other_value_that_is_equal():
    parameters = {"p": Parameter("p", 1, "choice", choices=(1, "a", False))}
    ruleset = Ruleset("mine", (), parameters=parameters)
    assert settled(ruleset, {"p": False}).parameters["p"].default is False
    for value in (True, 0, "1", None, np.zeros(2)):
        with pytest.raises(RulesetError, match="^mine: parameter 'p': expected one of 1, a, False, got "):
            settled(ruleset, {"p": value})
