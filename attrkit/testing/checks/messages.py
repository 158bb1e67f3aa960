"""What is wrong is said, and named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from attrkit.errors import UsageError
from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.declared import judge_nonsense, judge_options
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject
from attrkit.wrapping import Wrapped


def refused(s: Subject, word: str, /, **given: object) -> None:
    """Fail unless a call is refused with a message that has a word in it."""
    try:
        s.values(seeded(), points(3, 5), **given)
    except UsageError as error:
        assert word in str(error), f"the message does not name {word}: {error}"  # noqa: PT017 - no pytest here
    else:
        raise AssertionError(f"no error for {given!r}")


@check(lambda s: s.spec.objective and s.where is not Where.NEURON)
def a_wrong_target_is_named(s: Subject) -> None:
    """A target out of range is an error that says ``target``."""
    refused(s, "target", target=3)


@check(lambda s: s.spec.baseline != "none")
def a_wrong_baseline_is_named(s: Subject) -> None:
    """A baseline of another width is an error that says ``baselines``."""
    refused(s, "baselines", baselines=torch.zeros(3, 4, dtype=torch.float64))


def _has_options(s: Subject) -> bool:
    """Whether there are options of its own, and this is the first of the places, at which they are tried."""
    return s.where is min(s.spec.where) and bool(s.spec.options) and not isinstance(s.spec, Wrapped)


def _used(s: Subject, options: Mapping[str, Any]) -> Any:
    """A method's attributions with other options."""
    return s.changed(options=options).values(seeded(), points(3, 5))


@check(_has_options)
def refuses_options_that_are_nonsense(s: Subject) -> None:
    """An option of no type that makes sense is refused by a UsageError that names the option."""
    judge_nonsense(_used, s)


@check(_has_options)
def says_what_is_wrong_with_options(s: Subject) -> None:
    """Text, None, -1, NaN, nothing or any tensor for an option: numbers, or a UsageError that names the option."""
    judge_options(_used, s)


@check()
def counts_refuse_zero(s: Subject) -> None:
    """An option that counts something (``n_...``) refuses 0 and numbers below, and names itself."""
    for option in s.spec.options:
        if option.name.startswith("n_") and option.type == "int" and option.name not in s.options:
            for count in (0, -1):
                refused(s, option.name, **{option.name: count})
