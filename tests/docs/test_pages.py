"""Every code block of the README and of docs/ does what it says."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs/reference/generated"
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if GENERATED not in p.parents)]
WITH_BLOCKS = [page for page in PAGES if "```" in page.read_text()]
#: What pages import and the extra `test` does not install.
OPTIONAL = ("transformers",)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_the_page_runs(run_page, page):
    for package in OPTIONAL:
        if re.search(rf"^(from|import) {package}\b", page.read_text(), re.MULTILINE):
            pytest.importorskip(package)
    status, said = run_page(page)
    assert status == 0, said


def test_there_are_pages():
    assert {"README.md", "plugins_api.md"} <= {page.name for page in WITH_BLOCKS}


def test_links_of_the_readme_lead_somewhere():  # those of docs/ are Sphinx's to check
    prose = re.sub(r"<!--.*?-->|```.*?```|`.*?`", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
