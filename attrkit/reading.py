"""Reading what a caller gives as the inputs of a model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from attrkit.arguments import Arguments
from attrkit.errors import UsageTypeError
from attrkit.runner import root_of


def arguments_of(model: Any, inputs: Any, extra: Any = ()) -> Arguments:
    """Read the inputs of a model: a tensor, a tuple of tensors, or a mapping of keyword arguments.

    Of a mapping the floating-point tensors are attributed, or where there is none all tensors; masks, by their names, never.

    Raises:
        UsageTypeError: they are none of these, or hold no tensor.
    """
    if not isinstance(inputs, Tensor | tuple) and isinstance(inputs, Mapping):
        given = {k: v for k, v in inputs.items() if isinstance(v, Tensor) and "mask" not in k}
        attributed = {k: v for k, v in given.items() if v.is_floating_point()} or given
        if not attributed:
            raise UsageTypeError(
                "inputs is a mapping without tensors beside masks; give the tensors to explain by argument name"
            )
        fixed = {k: v for k, v in inputs.items() if k not in attributed}
        values = _detached(attributed.values())
        return Arguments(tuple(attributed), values, keyword=True, extra=_extra(extra), fixed=fixed)
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            where = f"inputs[{i}]" if isinstance(inputs, tuple) else "inputs"
            several = isinstance(tensor, list) and any(isinstance(t, Tensor) for t in tensor)
            advice = "give several tensors as a tuple" if several else "convert it with torch.as_tensor"
            raise UsageTypeError(f"{where} must be a tensor, got {type(tensor).__name__}; {advice}")
    if not tensors:
        raise UsageTypeError("inputs is an empty tuple; give at least one tensor")
    return Arguments(input_names(model, len(tensors)), _detached(tensors), extra=_extra(extra))


def _detached(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same values, of which no graph of the caller's is continued."""
    return tuple([t.detach() if t.requires_grad else t for t in tensors])


def _extra(extra: Any) -> tuple[Any, ...]:
    if extra is None:
        return ()
    return extra if isinstance(extra, tuple) else (extra,)


def input_names(model: Any, count: int) -> tuple[str, ...]:
    """What the model calls its first arguments; ``input_0`` and so on where it does not say."""
    root = root_of(model)
    function = model if root is None else root.forward
    names = _known_parameters(function.__func__)[1:] if isinstance(function, MethodType) else _known_parameters(function)
    return names[:count] if len(names) >= count else tuple(f"input_{i}" for i in range(count))


_known: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()


def _known_parameters(function: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters; the function, which may hold a model, is not kept alive."""
    try:
        if (names := _known.get(function)) is None:
            names = _known[function] = _parameters(function)
    except TypeError:  # it takes no weak references, or has no hash
        return _parameters(function)
    return names


def _parameters(function: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
