"""Lists of checks: each is a function of what is checked, and says when a declaration promises what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs

Needs: TypeAlias = "Callable[[Any], bool]"
Run: TypeAlias = "Callable[[Any], None]"


def always(_: Any) -> bool:
    """A promise that every declaration makes."""
    return True


@attrs.frozen
class Check:
    """One promise: ``run`` raises AssertionError, or whatever the plugin raises, where it is broken."""

    name: str
    run: Run
    needs: Needs

    @property
    def summary(self) -> str:
        """What is promised, in a sentence."""
        return (self.run.__doc__ or "").partition("\n")[0]


@attrs.frozen
class Checks:
    """The checks of one kind of plugin, by name. Called, it makes the decorated function one of them."""

    found: dict[str, Check] = attrs.field(factory=dict)

    def __call__(self, needs: Needs = always) -> Callable[[Run], Run]:
        """Make the decorated function a check; ``needs`` says of what."""

        def added(function: Run) -> Run:
            name = getattr(function, "__name__", "")
            self.found[name] = Check(name, function, needs)
            return function

        return added

    def applying(self, subject: Any) -> Iterator[Check]:
        """The checks of promises that what is checked makes."""
        return (each for each in self.found.values() if each.needs(subject))
