"""The reference says everything that declarations say. It is written without Sphinx here, which only lays it out."""

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from attrkit.registry import KINDS, registry
from attrkit.testing.kinds import KINDS as CHECKED

EXTENSIONS = Path(__file__).parents[2] / "docs/_ext"


@pytest.fixture(scope="module")
def pages():
    """Every page's text, by its path."""
    sys.path.insert(0, str(EXTENSIONS))
    try:
        import declared

        return dict(declared.pages())
    finally:
        sys.path.remove(str(EXTENSIONS))
        for name in [name for name in sys.modules if name.partition(".")[0] == "declared"]:
            del sys.modules[name]


def rows(text):
    """The first cells of the rows of all tables."""
    return {found.strip("` ") for found in re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)}


def test_each_method_has_a_page_with_its_options_and_classes(pages):
    specs = registry.all("methods")
    assert len(specs) > 20
    for name, spec in specs.items():
        page = pages[f"methods/{name}"]
        assert {o.name for o in spec.options} <= rows(page)
        assert all(reference in page for reference in spec.references)
        assert len(re.findall(r"^\.\. py:class:: attrkit\.attr\.", page, re.MULTILINE)) >= len(spec.where)
        assert f"[{name}](methods/{name}.md)" in pages["methods"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"methods", "rulesets"}])
def test_each_declaration_of_a_kind_is_there_with_its_options(pages, kind):
    page = pages[kind if kind in {"wrappers", "rules"} else f"parts/{kind}"]
    for name, spec in registry.all(kind).items():
        assert f"\n## {name}\n" in page
        assert {o.name for o in spec.options} <= rows(page)


def test_each_ruleset_is_shown_as_it_is_written(pages):
    assert len(registry.rulesets()) > 15
    for name, file in registry.rulesets().items():
        assert file.read_text().strip() in pages[f"rulesets/{name}"]


def test_each_check_says_what_it_checks(pages):
    for kind in CHECKED.values():
        assert {*kind.checks} <= rows(pages["checks"])


def test_the_format_names_every_key(pages):
    keys = {"schema", "extends", "params.NAME.default", "set", "rules[].match.position.depth", "rules[].with"}
    assert keys <= rows(pages["schema"])


def test_every_command_is_there(pages):
    for command in ("attrkit explain", "attrkit rules check", "attrkit plugins new", "attrkit demo"):
        assert f"# {command}\n" in pages["commands"]


def test_text_of_docstrings_stays_text(pages):
    for name, page in pages.items():
        prose = re.sub(r"```.*?```|``.*?``|`.*?`", "", page, flags=re.DOTALL)
        assert not re.search(r":(class|func|meth):", prose), name
        assert not re.search(r"(?<!\\)\*\w", prose), name
