"""What an operation is: the torch functions that compute it, and what its handler makes of a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from attrkit.propagation.calls import Call


@attrs.frozen(eq=False)
class Operation:
    """A named operation, the functions that compute it, and how a call of one is governed.

    A plugin adds some by the hook ``attrkit_operations``; an operation of a plugin replaces attrkit's own for its functions.

    Attributes:
        name: what rulesets call it.
        functions: the torch functions that compute it, like ``(torch.special.erfcx,)``.
        govern: gets the :class:`~attrkit.protocols.OperationCall`, and returns the function's output by one of its methods.
        parts: the same by operations that rules may govern each, with the function's own arguments; None where there are none.
    """

    name: str
    functions: tuple[Callable[..., Any], ...]
    govern: Callable[[Call], Any]
    parts: Callable[..., Any] | None = None


def live(value: Any) -> bool:
    """Whether a value depends on what is attributed."""
    return isinstance(value, Tensor) and value.requires_grad


_NN: Any = getattr(torch._C, "_nn")  # noqa: B009 - torch's stub leaves it out


def found(*names: str) -> tuple[Callable[..., Any], ...]:
    """The functions and methods of torch that have one of these names."""
    places = (torch, F, Tensor, torch.special, torch.linalg, _NN)
    return tuple(f for name in names for place in places if callable(f := getattr(place, name, None)))


def spelt(name: str) -> tuple[Callable[..., Any], ...]:
    """The functions, methods and operators of torch by that name, those in place too."""
    return found(name, f"{name}_", f"__{name}__", f"__r{name}__", f"__i{name}__")


def by_function(operations: Iterable[Operation]) -> Mapping[Callable[..., Any], Operation]:
    """The operation of each function; a later one replaces an earlier."""
    return {function: operation for operation in operations for function in operation.functions}


#: Functions that write into their first argument.
IN_PLACE: frozenset[Any] = frozenset(
    {getattr(Tensor, n) for n in dir(Tensor) if n.endswith("_") and not n.startswith("_")}
    | {getattr(Tensor, f"__i{n}__") for n in ("add", "sub", "mul", "truediv", "div", "pow", "floordiv")}
    | {Tensor.__setitem__}
    | {getattr(place, n) for place in (torch, F) for n in dir(place) if n.endswith("_") and not n.startswith("_")}
) - {Tensor.requires_grad_, Tensor.detach_}  # fmt: skip


@lru_cache(maxsize=4096)
def _inplace_position(function: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C, where being in place is in the name
        return None
    return names.index("inplace") if "inplace" in names else None


def writes(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call writes into its first argument."""
    if function in IN_PLACE or kwargs.get("inplace"):
        return True
    position = _inplace_position(function)
    return position is not None and len(args) > position and bool(args[position])


#: Functions that only move entries around, so that relevance moves with them.
RESHAPES: frozenset[Any] = frozenset(
    found(
        *("reshape", "flatten", "view", "view_as", "permute", "transpose", "swapaxes", "movedim", "unsqueeze", "squeeze"),
        *("contiguous", "unflatten", "flip", "roll", "pad", "expand", "__getitem__", "narrow", "select", "t", "clone", "chunk"),
        *("split", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split"),
    )
)
