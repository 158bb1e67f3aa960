"""From a method's declaration to a parametrised pytest test, and to a table without pytest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch

from attrkit.errors import AttrkitWarning, UsageError, did_you_mean
from attrkit.registry import registry
from attrkit.specs import MethodSpec
from attrkit.testing.checks import CHECKS, Check, applying
from attrkit.testing.subject import Subject


@attrs.frozen
class Verdict:
    """What came of one check."""

    place: str
    check: Check
    error: BaseException | None = None


def conformance(
    name: str | MethodSpec, *, options: Mapping[str, Any] | None = None, expected: Mapping[str, str] | None = None
) -> Callable[..., None]:
    """A pytest test that runs every check of what a method's declaration promises.

    Args:
        name: the method's name, or its declaration.
        options: values for its options, with which it is checked.
        expected: checks that are known to fail, and why; one that passes then fails the test.

    Raises:
        UsageError: ``expected`` names no check.
    """
    import pytest

    known = expected or {}
    _check_names(known)
    cases = [
        pytest.param(
            check,
            subject,
            id=f"{subject.where}-{check.name}",
            marks=[pytest.mark.xfail(reason=known[check.name], strict=True)] if check.name in known else [],
        )
        for subject, check in _cases(name, options or {})
    ]

    @pytest.mark.parametrize(("check", "subject"), cases)
    def test(check: Check, subject: Subject) -> None:
        judged(check, subject)

    return test


def verdicts(name: str | MethodSpec, options: Mapping[str, Any] | None = None) -> Iterator[Verdict]:
    """What comes of every check of a method, one after another."""
    for subject, check in _cases(name, options or {}):
        try:
            judged(check, subject)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is a verdict
            yield Verdict(str(subject.where), check, error)
        else:
            yield Verdict(str(subject.where), check)


def judged(check: Check, subject: Subject) -> None:
    """Run one check. Raises whatever it finds wrong."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on busy cores, threads cost a small model ten times what they save
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # of NaN that a check put in, and the like
            check.run(subject)
    finally:
        torch.set_num_threads(threads)


def _cases(name: str | MethodSpec, options: Mapping[str, Any]) -> Iterator[tuple[Subject, Check]]:
    spec = registry.method(name) if isinstance(name, str) else name
    spec.resolve(options)
    for where in sorted(spec.where):
        subject = Subject(spec, where, options)
        yield from ((subject, check) for check in applying(subject))


def _check_names(expected: Mapping[str, str]) -> None:
    for name in expected:
        if name not in CHECKS:
            raise UsageError(f"expected names {name!r}, which is no check.{did_you_mean(name, CHECKS)}")
