"""What commands print: aligned tables or JSON on stdout, notes on stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from attrkit.views.columns import columns

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def emit(value: Any) -> None:
    """Print a value as JSON; what JSON cannot hold becomes text, and what is no finite number null."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def note(text: str) -> None:
    """Say something beside the result."""
    click.echo(text, err=True)


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in columns that fit the terminal."""
    for line in columns(rows, header):
        click.echo(line)


def facts(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one line each, leaving out what is empty."""
    table([(name, str(value)) for name, value in pairs.items() if value not in {"", None}])


def settings_text(values: Mapping[str, Any]) -> str:
    """Parameters as one would write them."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
