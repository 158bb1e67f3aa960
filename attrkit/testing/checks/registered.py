"""The list of checks: each is a function of what is checked, and says when a declaration promises what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs

from attrkit.testing.subject import Subject

Needs: TypeAlias = "Callable[[Subject], bool]"


def always(_: Subject) -> bool:
    """A promise that every declaration makes."""
    return True


@attrs.frozen
class Check:
    """One promise: ``run`` raises AssertionError, or whatever the method raises, where it is broken."""

    name: str
    run: Callable[[Any], None]
    needs: Callable[[Any], bool]

    @property
    def summary(self) -> str:
        """What is promised, in a sentence."""
        return (self.run.__doc__ or "").partition("\n")[0]


CHECKS: dict[str, Check] = {}


def check(needs: Needs = always) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Make the decorated function a check of methods; ``needs`` says of what."""

    def added(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        CHECKS[function.__name__] = Check(function.__name__, function, needs)
        return function

    return added


def applying(subject: Subject) -> Iterator[Check]:
    """The checks of promises that a method makes."""
    return (each for each in CHECKS.values() if each.needs(subject))
