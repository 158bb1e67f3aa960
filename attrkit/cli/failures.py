"""What becomes of an error: one line on stderr, and the exit status."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import attrs
import click

from attrkit.errors import AttrkitError, RulesetError, UsageError

CHECK_FAILED, WRONG_USAGE, FAILED_INSIDE, INTERRUPTED = 1, 2, 3, 130


@attrs.define
class Settings:
    """How attrkit was called."""

    arguments: Sequence[str]
    debug: bool = False


def check_failed() -> NoReturn:
    """End the command: it did what it should, and what it checked is not in order."""
    click.get_current_context().exit(CHECK_FAILED)


def finished(command: click.Command, arguments: Sequence[str] | None) -> int:
    """The exit status of a command, after it has run."""
    settings = Settings(sys.argv[1:] if arguments is None else arguments)
    try:
        with _warnings_in_one_line():
            return int(command.main(arguments, "attrkit", standalone_mode=False, obj=settings) or 0)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody is further out
        if settings.debug and not isinstance(error, click.ClickException):
            traceback.print_exception(error)
        click.echo(f"error: {_line(error)}", err=True)
        return _status(error)


def _status(error: Exception) -> int:
    return WRONG_USAGE if isinstance(error, UsageError | click.ClickException | OSError) else FAILED_INSIDE


def _line(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return _joined(error.format_message()) + (f" (see {context.command_path} --help)" if context else "")
    if isinstance(error, RulesetError) and len(error.problems) > 1:
        return f"{_joined(error.problems[0])} (and {len(error.problems) - 1} more: attrkit rules check lists them)"
    if isinstance(error, AttrkitError | OSError):
        return _joined(str(error))
    return f"{type(error).__name__}: {_joined(str(error)) or 'no message'} (attrkit --debug shows where)"


def _joined(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = _joined(str(message))
        if text not in shown:
            shown.add(text)
            click.echo(f"warning: {text}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in (UserWarning, RuntimeWarning):
            warnings.filterwarnings("always", category=kind)
        warnings.filterwarnings("always", category=DeprecationWarning, module=r"attrkit\b")
        warnings.showwarning = show
        yield
