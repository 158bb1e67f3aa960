"""From the columns of some rows to what a model is called with, ids and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.errors import UsageError, did_you_mean
from attrkit.jobs.job import Data

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(eq=False)
class Rows:
    """Some rows: tensors to explain, alone or by argument name, their ids and targets where there are such columns."""

    inputs: Tensor | dict[str, Tensor]
    ids: list[Any] | None = None
    targets: Tensor | None = None


def bound(columns: Mapping[str, Any], data: Data, target: Any, explained: tuple[str, ...] = ()) -> Rows:
    """What ``columns`` of some rows mean to a job; ``target`` is the job's, ``explained`` what the reader says of itself.

    Raises:
        UsageError: a column is missing, or holds no numbers, or that of targets holds others than whole ones.
    """
    label = target["column"] if isinstance(target, Mapping) else None
    ids = None if data.id is None else [_plain(value) for value in _column(columns, data.id, "data.id")]
    targets = None if label is None else _whole(_numbers(_column(columns, label, "target"), label), label)
    rest = [name for name in explained or columns if name not in (data.id, label)]
    if isinstance(data.columns, Mapping):
        inputs = {argument: _gathered(columns, given) for argument, given in data.columns.items()}
        return Rows(inputs, ids, targets)
    if data.columns:
        return Rows(_gathered(columns, data.columns), ids, targets)
    if not rest:
        raise UsageError("data: beside the columns of id and target there is none to explain")
    found = {name: _numbers(columns[name], name) for name in rest}
    if len(rest) == 1 and found[rest[0]].dim() > 1:
        return Rows(found[rest[0]], ids, targets)
    if all(tensor.dim() == 1 for tensor in found.values()):
        return Rows(_gathered(columns, rest), ids, targets)
    return Rows(found, ids, targets)


def _gathered(columns: Mapping[str, Any], given: str | Sequence[str]) -> Tensor:
    """One column as it is, or several with a number per row side by side."""
    import torch

    if isinstance(given, str):
        return _numbers(_column(columns, given, "data.columns"), given)
    each = [_numbers(_column(columns, name, "data.columns"), name) for name in given]
    if len(each) == 1 and each[0].dim() > 1:
        return each[0]
    for name, tensor in zip(given, each, strict=True):
        if tensor.dim() != 1:
            raise UsageError(
                f"data.columns: {name!r} has shape {tuple(tensor.shape[1:])} per row; only numbers are put together"
            )
    return torch.stack([t if t.is_floating_point() else t.to(torch.get_default_dtype()) for t in each], 1)


def _column(columns: Mapping[str, Any], name: str, key: str) -> Any:
    if name not in columns:
        known = ", ".join(map(repr, columns))
        raise UsageError(f"{key}: the data have no column {name!r}.{did_you_mean(name, columns)} Columns: {known}")
    return columns[name]


def _numbers(values: Any, name: str) -> Tensor:
    import numpy as np
    import torch

    if isinstance(values, torch.Tensor):
        return values
    try:
        array = np.asarray(values)
        if array.dtype == object:
            raise UsageError(f"data: column {name!r} holds rows of different shapes, or no numbers")
        return torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        like = next((f", like {value!r}" for value in values if isinstance(value, str)), "")
        raise UsageError(
            f"data: column {name!r} holds what is no number{like}; if all of it is like that, name the others in data.columns"
        ) from error


def _whole(numbers: Tensor, name: str) -> Tensor:
    if numbers.is_floating_point() and bool((wrong := ~numbers.isfinite() | (numbers != numbers.round())).any()):
        raise UsageError(f"target: column {name!r} holds {numbers[wrong][0].item()}; expected the number of a class")
    return numbers.long()


def _plain(value: Any) -> Any:
    """An id as JSON can hold it: of a date, of NaN or of a list the text."""
    found = value.tolist() if hasattr(value, "tolist") else value
    whole = found is None or isinstance(found, str | int) or (isinstance(found, float) and isfinite(found))
    return found if whole else str(found)
