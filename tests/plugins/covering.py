"""Which methods of a package no conformance test is about, so that a new one cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrkit.registry import registry


def uncovered(tests: Mapping[str, Any], package: str, left_out: Iterable[str] = ()) -> set[str]:
    """The package's methods without a test among a module's global names, apart from those that are left out."""
    marks = [mark for test in tests.values() for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    cases = [case for mark in marks if mark.args[0] == ("check", "subject") for case in mark.args[1]]
    covered = {case.values[1].spec.name for case in cases}
    known = {name for name, spec in registry.all("methods").items() if spec.function.__module__.startswith(f"{package}.")}
    assert known >= covered | set(left_out)
    assert not covered & set(left_out)
    return known - covered - set(left_out)
