"""Files of tensors, read so that nothing in them is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def existing(path: str) -> Path:
    """The path of a file that is there. Raises UsageError if it is not."""
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path!r}")
    return Path(path)


def read_torch(path: str) -> Any:
    """What a file of ``torch.save`` holds: tensors and plain containers.

    Raises:
        UsageError: there is no such file, or it holds more than that, which reading would execute.
    """
    import pickle

    import torch

    try:
        return torch.load(existing(path), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UsageError(f"{path!r} is not read: it holds more than tensors, and could run code; save tensors only") from error
    except (RuntimeError, EOFError, IndexError, ValueError, KeyError) as error:
        raise UsageError(f"{path!r} is no file of torch.save: {error}") from error


def read_safetensors(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        UsageError: there is no such file, or it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(existing(path))
    except SafetensorError as error:
        raise UsageError(f"{path!r} is no safetensors file: {error}") from error


def read_numpy(path: str) -> dict[str, Tensor]:
    """The arrays of a .npy or .npz file, by name.

    Raises:
        UsageError: there is no such file, or it holds something else than arrays of numbers.
    """
    from zipfile import BadZipFile

    import numpy as np
    import torch

    file = existing(path)
    try:
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            arrays = dict(found) if isinstance(found, Mapping) else {"": found}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    except (ValueError, TypeError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path!r} does not hold arrays of numbers, which need no pickle: {error}") from error
