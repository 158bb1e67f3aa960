"""Errors a caller may want to catch. Each says what is wrong, what was expected and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches


class AttrkitError(Exception):
    """Base of every error that attrkit raises on purpose."""


class UsageError(AttrkitError, ValueError, AssertionError):
    """An argument is wrong. Also an AssertionError, which callers of the established API catch."""


class UsageTypeError(UsageError, TypeError):
    """An argument has the wrong type."""


class UsageIndexError(UsageError, IndexError):
    """An argument has too few or too many entries."""


class ModelError(UsageError, RuntimeError):
    """The model's forward pass refused what it was called with."""


class UnknownName(UsageError, LookupError):
    """No plugin provides the requested method, rule, ruleset or option."""


class PluginUnavailable(AttrkitError):
    """The plugin exists but is broken, blocked, incompatible or ambiguous."""


class MissingExtra(AttrkitError, ImportError):
    """A feature needs packages of an extra that is not installed."""

    def __init__(self, feature: str, extra: str, missing: str) -> None:
        super().__init__(f"{feature} needs {missing}, which is not installed; run: pip install 'attrkit[{extra}]'")


class RulesetError(UsageError):
    """A ruleset is not valid, or does not fit a model. ``problems`` holds one line each, with file:line:column."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UngovernedError(RulesetError, TypeError):
    """A ruleset does not cover an operation of a model, and its fallback for that is ``error``."""


class AttrkitWarning(UserWarning):
    """Something that a careful reader of the result should know."""


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def warn(message: str) -> None:
    """Warn the caller, and whoever listens with :func:`heard`."""
    listening = _heard.get()
    if listening is not None:
        listening.append(message)
    warnings.warn(message, AttrkitWarning, stacklevel=3)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what is warned about in this block, by this thread; it is still warned about."""
    listening: list[str] = []
    token = _heard.set(listening)
    try:
        yield listening
    finally:
        _heard.reset(token)


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """`` Did you mean 'x'?`` when a known name is close to ``word``, else nothing; append it to a message."""
    close = get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
