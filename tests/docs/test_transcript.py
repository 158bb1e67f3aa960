"""The transcript of a first method is one of the method that the tutorial has, and keeps its bars."""

import re

from benchmarks.first_method import METHOD, TRANSCRIPT, TUTORIAL, authored, logic

SOURCE = '''"""Module."""
from a import b


@b("f")
def f(x):
    """Doc.

    More.
    """
    # why
    y = x

    return y
'''


def test_logic_counts_the_function_without_declaration_and_docstring():
    assert logic(SOURCE) == 2


def test_the_tutorials_method_is_short_and_the_transcript_says_how_long():
    lines = logic(authored(TUTORIAL)[METHOD])
    found = re.search(r"^\| lines of the author's logic \| (\d+) \| ≤ 15 \| pass \|$", TRANSCRIPT.read_text(), re.MULTILINE)
    assert found, "run python -m benchmarks.first_method --write"
    assert int(found[1]) == lines <= 15


def test_from_an_empty_folder_to_green_it_took_less_than_five_minutes():
    found = re.search(r"green conformance, with torch \| (\d+) s \| ≤ 300 s \| pass \|", TRANSCRIPT.read_text())
    assert found
    assert int(found[1]) <= 300
