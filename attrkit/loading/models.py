"""Models by reference: ``package.module:name``, ``file.py:name`` or ``file.pt2``, each with ``+weights=FILE`` if need be."""

from __future__ import annotations

import copy
import inspect
import os
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from attrkit.errors import UsageError, did_you_mean
from attrkit.loading.files import read_safetensors, read_torch

if TYPE_CHECKING:
    from torch import nn

FORMS = "package.module:name, file.py:name or file.pt2"
_WEIGHTS = "+weights="


def load_model(reference: str, folder: Path | None = None) -> nn.Module:
    """The model that ``reference`` names, in evaluation mode; a copy of it where a name stands for a module itself.

    Files are looked for in ``folder``, and modules from there too; without one, in the working directory.

    Raises:
        UsageError: there is no such model, making it failed, or the weights are not its own; says what was tried.
    """
    folder = folder or Path()
    source, _, weights = reference.partition(_WEIGHTS)
    model = _exported(source, folder) if source.endswith(".pt2") else _made(source, folder)
    if weights:
        _fill(model, os.fspath(folder / weights))
    return model


def _exported(source: str, folder: Path) -> nn.Module:
    import torch

    if not (folder / source).is_file():
        raise UsageError(f"model {source!r}: there is no such file")
    try:
        return torch.export.load(folder / source).module()
    except (Exception, SystemExit) as error:  # what a model's author wrote may raise anything
        raise UsageError(f"model {source!r}: torch.export.load failed: {_said(error)}") from error


def _made(source: str, folder: Path) -> nn.Module:
    from torch import nn

    found = load_object(source, folder)
    model = _copied(found, source) if isinstance(found, nn.Module) else _called(found, source)
    if not isinstance(model, nn.Module):
        raise UsageError(f"model {source!r}: expected a torch.nn.Module, or what makes one, got {type(model).__name__}")
    return model.eval()


def load_object(source: str, folder: Path, what: str = "model", forms: str = FORMS) -> Any:
    """What a name in a Python file or module, ``file.py:name`` or ``package.module:name``, stands for; code in it is run.

    Args:
        source: the file, or the module, and the name.
        folder: where files are looked for, and modules too.
        what: what messages call it.
        forms: what messages say is expected.

    Raises:
        UsageError: there is no such file or name, or running the file failed.
    """
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"{what} {source!r}: expected {forms}")
    found: Any = _module(place, folder, f"{what} {source!r}")
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise UsageError(f"{what} {source!r}: {place} was read, and has no {name!r}.{did_you_mean(part, names)}")
        found = getattr(found, part)
    return found


def _module(place: str, folder: Path, what: str) -> Any:
    """The module at a path or of a name; the file's folder, or that of files, joins the places to import from."""
    path = folder / place
    is_file = place.endswith(".py")
    if is_file and not path.is_file():
        raise UsageError(f"{what}: there is no file {os.fspath(path)!r}")
    home = os.fspath(path.resolve().parent if is_file else folder.resolve())
    if home not in sys.path:
        sys.path.insert(0, home)
    try:
        return _executed(path) if is_file else import_module(place)
    except (Exception, SystemExit) as error:  # what a model's author wrote may raise anything
        doing = f"running {place}" if is_file else f"importing {place}, also from {home},"
        raise UsageError(f"{what}: {doing} failed: {_said(error)}") from error


def _executed(path: Path) -> Any:
    name = f"attrkit_model_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _copied(model: nn.Module, source: str) -> nn.Module:
    """A copy, which may be changed: the module may be in use elsewhere in this process."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # what a model's author wrote may raise anything
        said = _said(error)
        raise UsageError(f"model {source!r}: copying it failed: {said}; name a function that makes it anew") from error


def _called(make: Any, source: str) -> Any:
    if not callable(make):
        return make
    try:
        parameters = list(inspect.signature(make).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    if needed := [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
        raise UsageError(f"model {source!r}: making it needs {', '.join(needed)}; name a function that takes no arguments")
    try:
        return make()
    except (Exception, SystemExit) as error:  # what a model's author wrote may raise anything
        raise UsageError(f"model {source!r}: calling it failed: {_said(error)}") from error


def _fill(model: nn.Module, weights: str) -> None:
    state = read_safetensors(weights) if weights.endswith(".safetensors") else read_torch(weights)
    if not isinstance(state, dict):
        raise UsageError(f"weights {weights!r}: expected a mapping from names to tensors, got {type(state).__name__}")
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"weights {weights!r} do not fit {type(model).__name__}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")
