"""Trying things on a model: a few small passes, whatever the method would cost, and what came of them as a value."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import attrs

from attrkit.errors import AttrkitError, RulesetError
from attrkit.hookspecs import hookimpl
from attrkit.protocols import Executor, Result, Work
from attrkit.registry import registry
from attrkit.runner import Serial

T = TypeVar("T")

ROWS = 4  # of one pass
PASSES = 6  # of one trial: enough to meet everything that a method does for the first time

_left: ContextVar[list[int] | None] = ContextVar("left", default=None)  # passes, within a trial


class _EnoughError(BaseException):
    """The trial has run as far as it may; no method is to take that for a failure of its own."""


class _Few:
    """Implements the Executor protocol: runs a few pieces of work, then ends the trial."""

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]:
        for result in Serial().run(work, do):
            yield result
            if (left := _left.get()) is not None:
                left[0] -= 1
                if left[0] < 1:
                    raise _EnoughError


class _Trials:
    """Offers that executor to what is tried."""

    @hookimpl(tryfirst=True)
    def attrkit_executor(self, model: Any, devices: tuple[str, ...]) -> Executor | None:  # noqa: ARG002 - as the hook is called
        return None if _left.get() is None else _Few()


registry.manager.register(_Trials(), "attrkit.doctoring")


@attrs.frozen
class Outcome(Generic[T]):
    """What came of a trial: its result, None where it failed or was ended early; and what was said."""

    result: T | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether nothing went wrong."""
        return not self.problems


def tried(attempt: Callable[[], T]) -> Outcome[T]:
    """What comes of an attempt, with every error and warning as text. The attempt ends after a few passes."""
    result: T | None = None
    problems: tuple[str, ...] = ()
    token = _left.set([PASSES])
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                result = attempt()
            except _EnoughError:
                pass
            except RulesetError as error:
                problems = error.problems
            except Exception as error:  # noqa: BLE001 - a model, a method and a rule may raise anything
                problems = (_said(error),)
    finally:
        _left.reset(token)
    return Outcome(result, problems, tuple(dict.fromkeys(_joined(str(w.message)) for w in warned)))


def _said(error: Exception) -> str:
    text = _joined(str(error))
    return text if isinstance(error, AttrkitError) else f"{type(error).__name__}: {text}"


def _joined(text: str) -> str:
    return " ".join(text.split())
