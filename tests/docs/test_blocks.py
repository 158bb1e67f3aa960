"""The harness that runs pages finds what is wrong with them, and says where."""

import pytest

pytest.importorskip("torch")


@pytest.fixture
def said(run_page, tmp_path):
    """Runs a page of this text; returns whether all went well, and what was printed."""

    def run(text):
        page = tmp_path / "page.md"
        page.write_text(text)
        status, out = run_page(page)
        return status == 0, out

    return run


GOOD = """# A page

<!-- invisible-code-block: python
hidden = 1
-->

```python
# mine/net.py
answer = 42
```

- in a list:

  ```python
  from mine.net import answer
  shown = hidden + answer
  ```

```sh
python -c 'import mine.net, attrkit'
attrkit --version
echo 43 > shown.txt
```

```python
from pathlib import Path
assert shown == int(Path("shown.txt").read_text()) == 43
```

```yaml
schema: attrkit/ruleset@1
name: mine
rules: [{id: all, match: {}, rule: epsilon}]
```

```toml
[project]
name = "x"
```

```text
not: [run
```

<!-- skip: next "takes an hour" -->

```sh
exit 1
```

```{note}
A directive is no block.
```
"""


def test_a_page_where_all_is_well(said):
    well, out = said(GOOD)
    assert well, out
    line = GOOD[: GOOD.index("```sh\nexit 1")].count("\n") + 1
    assert f"page.md:{line}: skipped: takes an hour" in out


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("```python\nassert 1 == 2\n```", "AssertionError"),
        ("```python\nx = undefined\n```", "NameError"),
        ("```python\nimport sys\nsys.exit(0)\n```", "SystemExit"),
        ("```python\nimport warnings\nwarnings.warn('old')\n```", "UserWarning: old"),
        ("<!-- invisible-code-block: python\nassert not 1\n-->", "AssertionError"),
        ("```sh\nfalse\ntrue\n```", "CalledProcessError"),
        ("```sh\nfalse | true\n```", "CalledProcessError"),
        ("```sh\necho $undefined\n```", "CalledProcessError"),
        ("```sh\nattrkit methods no_such_method\n```", "CalledProcessError"),
        ("```yaml\na: [\n```", "ParserError"),
        ("```yaml\nschema: attrkit/ruleset@1\nname: x\nrules: [{id: a, match: {}, rule: epsilno}]\n```", "attrkit rules check"),
        (
            "```yaml\n# mine.yaml\nschema: attrkit/ruleset@1\nname: x\nrules: [{id: a, match: {}, rule: epsilno}]\n```",
            "Did you mean 'epsilon'?",
        ),
        ("```toml\na = \n```", "TOMLDecodeError"),
        ("```json\n{'a': 1}\n```", "JSONDecodeError"),
        ("```console\n$ true\n```", "blocks of console are not tested"),
        ("```\ntrue\n```", "blocks of no language are not tested"),
        ("```{code-block} python\nassert 1 == 2\n```", "AssertionError"),
    ],
)
def test_a_broken_block_is_reported_with_its_line(said, block, reason):
    well, out = said(f"# A page\n\n```text\nfine\n```\n\n{block}\n")
    assert not well
    assert "page.md:7: this block fails" in out
    assert reason in out


def test_a_block_is_skipped_with_a_reason_or_not_at_all(said):
    well, out = said("<!-- skip: next -->\n\n```sh\nfalse\n```\n")
    assert not well
    assert "skip: next needs a reason" in out


DISTRIBUTION = """```python
# mine/attrkit_planted.py
from attrkit import method

@method("planted")
def planted(problem):
    \"\"\"Nothing.\"\"\"
    return problem.zeros()
```

```toml
# mine/pyproject.toml
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "attrkit-planted"
version = "1.0"
dependencies = ["attrkit>=0.1"]

[project.entry-points.attrkit]
planted = "attrkit_planted:planted"

[tool.hatch.build.targets.wheel]
include = ["attrkit_planted.py"]
```

```sh
pip install EDITABLE ./mine
attrkit methods planted
python -c 'from attrkit.attr import LayerPlanted'
```

```python
from attrkit.registry import registry
assert registry.method("planted").summary == "Nothing."
```
"""


@pytest.mark.parametrize("editable", ["-e", "-q"])
def test_a_page_installs_into_an_environment_of_its_own(said, editable):
    well, out = said(DISTRIBUTION.replace("EDITABLE", editable))
    assert well, out
    from attrkit.registry import registry

    assert not registry.named("planted")
