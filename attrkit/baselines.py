"""What attributions compare with: one value for each example, or a distribution to draw from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageIndexError, UsageTypeError
from attrkit.protocols import Tensors


def matched(given: Any, like: Tensors, what: str, names: tuple[str, ...] = (), label: str = "baselines") -> Tensors:
    """A baseline as one tensor per tensor of ``like``, from numbers or tensors that broadcast over the batch.

    A mapping gives some of them by their ``names``; the others are their own baselines. ``label`` is what the caller calls it.

    Raises:
        UsageIndexError: another number of tensors.
        UsageError: a shape that is neither that of ``what`` nor one example of it, or an unknown name.
        UsageTypeError: neither a number nor a tensor.
    """
    if isinstance(given, Mapping):
        for name in given:
            if name not in names:
                known = ", ".join(names) or "none, give a tuple"
                raise UsageError(f"{label} has an entry {name!r}, which is no input that is explained; those are: {known}")
        parts = tuple(given.get(name, x) for name, x in zip(names, like, strict=True))
    elif isinstance(given, tuple | list):
        parts = tuple(given)
    else:
        parts = (given,) if isinstance(given, Tensor) else (given,) * len(like)
    _check_count(parts, like, what, label)
    keys = list(map(repr, names)) if isinstance(given, Mapping) else list(range(len(like)))
    labels = [label] if len(like) == 1 else [f"{label}[{key}]" for key in keys]
    return tuple(_matched(part, x, what, one) for part, x, one in zip(parts, like, labels, strict=True))


def _check_count(parts: tuple[Any, ...], like: Tensors, what: str, label: str = "baselines") -> None:
    if len(parts) != len(like):
        raise UsageIndexError(
            f"{label} has {len(parts)} entries, but {what} has {len(like)} tensors; give one baseline for each"
        )


def _matched(part: Any, x: Tensor, what: str, label: str) -> Tensor:
    if isinstance(part, Real):
        _check_held(torch.tensor(float(part)), x, label)
        return torch.full_like(x, float(part))
    if not isinstance(part, Tensor):
        raise UsageTypeError(f"{label} must be a number or a tensor, got {type(part).__name__}")
    if part.shape == x.shape or part.shape == (1, *x.shape[1:]):
        _check_held(part, x, label)
        return part.detach().to(x).expand_as(x)
    raise UsageError(
        f"{label} has shape {tuple(part.shape)}, but {what} has shape {tuple(x.shape)}; give that shape, one example of it "
        f"({(1, *x.shape[1:])}), or a number"
    )


def _check_held(part: Tensor, x: Tensor, label: str) -> None:
    """Refuse fractions in place of integers or booleans, which would be cut off."""
    if part.is_floating_point() and not x.is_floating_point() and not torch.equal(part.to(x.dtype).to(part.dtype), part):
        raise UsageError(
            f"{label} has values that {x.dtype} does not hold, which is what it is compared with; give whole numbers"
        )


def _wants_inputs(function: Any) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except ValueError:  # one of torch's own, like zeros_like
        return True


def distribution(given: Any, inputs: Tensors, label: str = "baselines") -> Tensors:
    """A distribution of baselines: for each input a tensor of any number of rows, equal rows belonging together.

    ``given`` is that, or a function that returns it from the inputs or from nothing; ``label`` is what the caller calls it.

    Raises:
        UsageIndexError: another number of tensors than inputs.
        UsageError: rows that do not look like an example, none at all, or not as many for each input.
        UsageTypeError: no tensors.
    """
    if callable(given):
        wants = _wants_inputs(given)
        given = given(*inputs if len(inputs) == 1 else (inputs,)) if wants else given()
    parts = given if isinstance(given, tuple) else (given,)
    _check_count(parts, inputs, "the input", label)
    for part, x in zip(parts, inputs, strict=True):
        if not isinstance(part, Tensor):
            raise UsageTypeError(
                f"{label} must be a tensor with a row for each baseline (or a tuple of them, or a function that returns "
                f"them), got {type(part).__name__}"
            )
        if part.dim() != x.dim() or part.shape[1:] != x.shape[1:] or not len(part):
            raise UsageError(
                f"{label} has shape {tuple(part.shape)}; give one or more rows like an example of the input, shape "
                f"(rows, {', '.join(map(str, x.shape[1:]))})"
            )
    if len({len(part) for part in parts}) != 1:
        counts = [len(part) for part in parts]
        raise UsageError(f"{label} has {counts} rows; the rows of one draw belong together, give as many for each input")
    return tuple(part.detach().to(x) for part, x in zip(parts, inputs, strict=True))
