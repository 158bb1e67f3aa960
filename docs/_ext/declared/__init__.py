"""The pages of the reference, from declarations, the schema and the command line: ``reference/generated/``, never committed."""

import warnings
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path
from typing import Any

from attrkit.errors import AttrkitWarning
from declared.methods import method_pages, wrappers_page
from declared.others import PARTS, checks_page, commands_page, executors_page, part_page
from declared.rules import rules_page, ruleset_pages, schema_page


def pages() -> Iterator[tuple[str, str]]:
    """Every page: its path below reference/generated/, and its text."""
    yield from method_pages()
    yield "wrappers", wrappers_page()
    yield "rules", rules_page()
    yield from ruleset_pages()
    for kind in PARTS:
        yield f"parts/{kind}", part_page(kind)
    yield "executors", executors_page()
    yield "checks", checks_page()
    yield "schema", schema_page()
    yield "commands", commands_page()


def write(app: Any) -> None:
    """Write what changed, and remove what is gone."""
    folder = Path(app.srcdir) / "reference" / "generated"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AttrkitWarning)
        wanted = {folder / f"{name}.md": text for name, text in pages()}
    for warning in caught:  # of a plugin that does not load
        getLogger("sphinx.declared").warning("%s", warning.message)
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for file in folder.rglob("*.md"):
        if file not in wanted:
            file.unlink()


def without_hooks(_app: Any, what: str, name: str, *_: Any) -> bool | None:
    """Leave out the methods by which a declaration provides itself."""
    return True if what == "class" and name.startswith("attrkit_") else None


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("autodoc-skip-member", without_hooks)
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
