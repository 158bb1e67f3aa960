"""``[tool.attrkit]`` of the user's project says which plugins are left out; the environment wins. Needs no torch."""

import subprocess
import sys

import pytest

from attrkit.errors import UnknownName, UsageError
from attrkit.registry import Registry
from attrkit.selection import selection


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a pyproject.toml; the current folder is two below it."""
    for variable in ("ATTRKIT_ONLY", "ATTRKIT_BLOCK"):
        monkeypatch.delenv(variable, raising=False)
    inner = tmp_path / "project" / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    def put(text, folder=tmp_path / "project"):
        file = folder / "pyproject.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return put


def left_out(name="one", dist="first"):
    return selection().refusal(name, f"{dist}:{name}", dist)


def test_without_a_table_everything_is_found(project):
    assert left_out() == ""
    project("[project]\nname = 'theirs'\ndependencies = ['attrkit']\n")
    assert left_out() == ""


def test_block_is_read_from_the_current_folder_upwards(project):
    file = project("[tool.attrkit]\nblock = ['first:*']\n")
    assert left_out() == f"block in [tool.attrkit] of {file}"
    assert left_out(dist="second") == ""


def test_only_is_read_too(project):
    file = project("[tool.attrkit]\nonly = ['first']\n")
    assert left_out() == ""
    assert left_out(dist="second") == f"only in [tool.attrkit] of {file}"


def test_an_empty_only_leaves_nothing(project):
    project("[tool.attrkit]\nonly = []\n")
    assert left_out()


def test_the_nearest_table_decides(project, tmp_path):
    project("[tool.attrkit]\nblock = ['*']\n", tmp_path)
    project("[tool.attrkit]\nblock = ['other']\n")
    assert left_out() == ""


def test_a_nearer_file_without_the_table_does_not_hide_it(project, tmp_path):
    project("[tool.attrkit]\nblock = ['*']\n", tmp_path)
    project("# attrkit is mentioned\n[tool.ruff]\n")
    assert left_out()


@pytest.mark.parametrize(("variable", "key"), [("ATTRKIT_ONLY", "only"), ("ATTRKIT_BLOCK", "block")])
def test_the_environment_wins_key_by_key(project, monkeypatch, variable, key):
    project("[tool.attrkit]\nonly = ['nothing']\nblock = ['*']\n")
    monkeypatch.setenv(variable, {"only": "*", "block": ""}[key])
    found = selection()
    assert {"only": found.only, "block": found.block}[key].source == f"{variable} or {key}="
    assert left_out()  # by the other key
    monkeypatch.setenv("ATTRKIT_ONLY", "*")
    monkeypatch.setenv("ATTRKIT_BLOCK", "")
    assert left_out() == ""


def test_arguments_win_over_all(project, monkeypatch):
    project("[tool.attrkit]\nonly = ['nothing']\n")
    monkeypatch.setenv("ATTRKIT_BLOCK", "*")
    assert selection(only=("one",), block=()).refusal("one") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.attrkit]\nblock = 'saliency'", r"\[tool.attrkit\] block must be a list of patterns .*got 'saliency'"),
        ("[tool.attrkit]\nonly = ['a', 3]", r"\[tool.attrkit\] only must be a list of patterns .*got \['a', 3\]"),
        ("[tool.attrkit]\nonly = ['']", r"\[tool.attrkit\] only must be a list of patterns"),
        ("[tool.attrkit]\nblok = []", r"\[tool.attrkit\] has no key 'blok'. Did you mean 'block'\? Keys: only, block"),
        ("[tool]\nattrkit = 5", "tool.attrkit must be a table with the keys only and block, got 5"),
        ("[tool.attrkit\nonly = []", r"cannot be read, for what \[tool.attrkit\] may say: .*line 1"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(project, text, message):
    file = project(text)
    with pytest.raises(UsageError, match=message) as caught:
        selection()
    assert str(caught.value).startswith(f"{file}: ")


def test_a_file_that_is_none_of_attrkits_business_may_be_broken(project):
    project("[tool.other\n")
    assert left_out() == ""


def test_bytes_that_are_no_text_are_refused_with_the_file(project):
    file = project("")
    file.write_bytes(b"# attrkit \xff")
    with pytest.raises(UsageError, match="cannot be read, for what"):
        selection()


def test_a_current_folder_that_is_gone_is_no_obstacle(project, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert left_out() == ""


def test_the_registry_goes_by_it(project, install):
    file = project("[tool.attrkit]\nblock = ['one']\n")
    install("first", "raise SystemExit", {"one": ":one"})
    message = "no method 'one' .first:one is left out by block in .tool.attrkit. of .*toml"
    with pytest.raises(UnknownName, match=message) as caught:
        Registry(only=("first:*", "one")).method("one")
    assert str(file) in str(caught.value)
    assert "first" not in sys.modules


def test_the_command_line_says_so_in_a_line(project):
    file = project("[tool.attrkit]\nonly = 'x'\n")
    done = subprocess.run([sys.executable, "-m", "attrkit", "plugins"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}: [tool.attrkit] only must be a list")
    assert done.stderr.count("\n") == 1
