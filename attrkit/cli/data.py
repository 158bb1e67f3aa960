"""Data by reference: files of tensors, tables, and scikit-learn's bundled sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.cli.tabular import read_csv
from attrkit.errors import MissingExtra, UsageError, did_you_mean
from attrkit.loading.files import existing, read_numpy, read_safetensors, read_torch

if TYPE_CHECKING:
    from torch import Tensor, nn

BUNDLED = ("breast_cancer", "digits", "iris", "wine")
FORMS = ".npy, .npz, .pt, .safetensors, .csv or sklearn:NAME"


@attrs.frozen(eq=False)
class Data:
    """What a model is called with: a tensor, a tuple of them or tensors by argument name; and the names of columns."""

    inputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor]
    labels: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, in order."""
        if isinstance(self.inputs, Mapping):
            return tuple(self.inputs.values())
        return self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Data:
        """The same data with every tensor changed."""
        if isinstance(self.inputs, Mapping):
            return attrs.evolve(self, inputs={name: change(t) for name, t in self.inputs.items()})
        if isinstance(self.inputs, tuple):
            return attrs.evolve(self, inputs=tuple(map(change, self.inputs)))
        return attrs.evolve(self, inputs=change(self.inputs))


def load_data(reference: str) -> Data:
    """The data that ``reference`` names.

    Raises:
        UsageError: there is no such file or set, or it holds something else than tensors.
        MissingExtra: a bundled set is asked for and scikit-learn is not installed.
    """
    if reference.startswith("sklearn:"):
        return _bundled(reference.removeprefix("sklearn:"))
    suffix = Path(reference).suffix
    if suffix == ".csv":
        return _table(reference)
    if suffix not in _READERS:
        raise UsageError(f"data {reference!r}: expected {FORMS}")
    return _checked(_READERS[suffix](reference), reference)


def part(data: Data, text: str) -> Data:
    """The examples ``A:B`` of the data, as Python's slices count, or a single one.

    Raises:
        UsageError: the text is no slice, or no example is in it.
    """
    low, colon, high = text.partition(":")
    try:
        start = int(low) if low else None
        end = int(high) if high else None
    except ValueError as error:
        raise UsageError(f"--examples {text!r}: expected A:B, like 0:8, or the number of one example") from error
    if not colon and start is not None:
        end = start + 1 or None
    count = len(data.tensors[0])
    if not range(count)[start:end]:
        raise UsageError(f"--examples {text!r}: no example is in it; the data has {count}")
    return data.mapped(lambda tensor: tensor[start:end])


def suited(data: Data, model: nn.Module) -> Data:
    """The data on the device of the model's parameters, and floating-point numbers in their precision."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None:
        return data
    return data.mapped(lambda t: t.to(like.device, like.dtype) if t.is_floating_point() else t.to(like.device))


def _checked(value: Any, reference: str) -> Data:
    """Tensors, alone or in a list, tuple or mapping; a mapping of one is that one."""
    import torch

    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    inside = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    if not inside or not all(isinstance(t, torch.Tensor) for t in inside):
        raise UsageError(f"data {reference!r}: expected tensors, alone or in a list or mapping, got {type(value).__name__}")
    if any(t.dim() == 0 or not len(t) for t in inside):
        raise UsageError(f"data {reference!r}: a tensor has no examples; its first dimension must be the batch")
    return Data(dict(value) if isinstance(value, Mapping) else tuple(value) if isinstance(value, list | tuple) else value)


def _table(reference: str) -> Data:
    import torch

    labels, rows = read_csv(existing(reference))
    return Data(torch.tensor(rows), labels)


def _bundled(name: str) -> Data:
    if name not in BUNDLED:
        raise UsageError(f"data 'sklearn:{name}': no such set.{did_you_mean(name, BUNDLED)} Sets: {', '.join(BUNDLED)}")
    import torch

    try:
        from sklearn import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra(f"sklearn:{name}", "demo", "scikit-learn") from error
    found = getattr(datasets, f"load_{name}")()
    if name == "digits":
        return Data(torch.tensor(found.images, dtype=torch.get_default_dtype())[:, None])
    return Data(torch.tensor(found.data, dtype=torch.get_default_dtype()), tuple(map(str, found.feature_names)))


_READERS: Mapping[str, Callable[[str], Any]] = {
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".pt": read_torch,
    ".pth": read_torch,
    ".safetensors": read_safetensors,
}
