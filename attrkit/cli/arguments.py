"""Arguments that several commands read: indices, shapes, targets."""

from __future__ import annotations

import click

Indices = int | tuple[int, ...]


def _numbers(text: str, expected: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected {expected}, got {text!r}") from error


def index(_: click.Context, __: click.Parameter, text: str | None) -> Indices | None:
    """One number, or several with commas between them."""
    if text is None:
        return None
    numbers = _numbers(text, "a number like 3, or several like 3,0")
    return numbers[0] if len(numbers) == 1 else numbers


def target(context: click.Context, parameter: click.Parameter, text: str | None) -> Indices | str | None:
    """An index of the output, or ``pred``."""
    if text in {"pred", "predicted"}:
        return "predicted"
    try:
        return index(context, parameter, text)
    except click.BadParameter as error:
        raise click.BadParameter(f"expected pred, a number like 3, or several like 3,0, got {text!r}") from error


def shape(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Sizes of dimensions, the batch first."""
    if text is None:
        return None
    sizes = _numbers(text, "sizes like 1,3,224,224, the batch first")
    if min(sizes) < 1:
        raise click.BadParameter(f"expected sizes of at least 1, got {text!r}")
    return sizes
