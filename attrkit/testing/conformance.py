"""From a plugin's declaration to a parametrised pytest test, and to a table without pytest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch

from attrkit.errors import AttrkitWarning, UsageError, did_you_mean
from attrkit.testing.kinds import Case, kind_of, label
from attrkit.testing.listed import Check


@attrs.frozen
class Verdict:
    """What came of one check; ``expected`` is why it is known to fail, None where it is not."""

    place: str
    check: Check
    error: BaseException | None = None
    expected: str | None = None

    @property
    def good(self) -> bool:
        """Whether it came out as it is to: a check that is known to fail must."""
        return (self.error is None) == (self.expected is None)


def conformance(
    name: Any,
    *,
    kind: str = "method",
    options: Mapping[str, Any] | None = None,
    expected: Mapping[str, str] | None = None,
) -> Callable[..., None]:
    """A pytest test that runs every check of what a plugin's declaration promises.

    Args:
        name: the plugin's name, or its declaration; of a ruleset also its file or the document as a mapping, of an executor
            also the executor itself, or what makes one.
        kind: what it is: method, wrapper, rule, ruleset, replacement, segmenter, design, estimator, surrogate, placement or
            executor.
        options: values for its options, or for a ruleset's parameters, with which it is checked.
        expected: checks that are known to fail, and why; one that passes then fails the test.

    Raises:
        UsageError: there is no such kind; or ``expected`` names no check, or one of something that is not promised.
    """
    import pytest

    known = expected or {}
    cases = list(kind_of(kind).cases(name, options or {}))
    _check_names(known, kind, label(name), cases)
    parameters = [
        pytest.param(
            check,
            subject,
            id=f"{place}-{check.name}",
            marks=[pytest.mark.xfail(reason=known[check.name], strict=True)] if check.name in known else [],
        )
        for place, subject, check in cases
    ]

    def test(check: Check, subject: Any) -> None:
        judged(check, subject)

    parametrised: Callable[..., None] = pytest.mark.parametrize(("check", "subject"), parameters)(test)
    return parametrised


def verdicts(
    name: Any,
    options: Mapping[str, Any] | None = None,
    *,
    kind: str = "method",
    expected: Mapping[str, str] | None = None,
) -> Iterator[Verdict]:
    """What comes of every check of a plugin, one after another; arguments as of :func:`conformance`."""
    known, cases = expected or {}, list(kind_of(kind).cases(name, options or {}))
    _check_names(known, kind, label(name), cases)
    for place, subject, check in cases:
        try:
            judged(check, subject)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is a verdict
            yield Verdict(place, check, error, known.get(check.name))
        else:
            yield Verdict(place, check, None, known.get(check.name))


def judged(check: Check, subject: Any) -> None:
    """Run one check. Raises whatever it finds wrong."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on busy cores, threads cost a small model ten times what they save
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttrkitWarning)  # of NaN that a check put in, and the like
            check.run(subject)
    finally:
        torch.set_num_threads(threads)


def _check_names(expected: Mapping[str, str], kind: str, name: str, cases: list[Case]) -> None:
    """Refuse names that would never come to anything."""
    every, run = kind_of(kind).checks, {check.name for _, _, check in cases}
    for check in expected:
        if check not in every:
            raise UsageError(f"expected names {check!r}, which is no check of a {kind}.{did_you_mean(check, every)}")
        if check not in run:
            raise UsageError(f"expected names {check!r}, which is not checked: {name} does not promise it")
