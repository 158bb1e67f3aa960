"""The result: attributions by name, and everything needed to read, check and reproduce them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from attrkit.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from attrkit.views.conservation import Conservation

FORMAT = "attrkit/explanation@1"
_TENSORS = ("output", "baseline_output", "delta")


def plain(value: Any) -> Any:
    """A value as JSON can hold it; tensors and other objects as a short description."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<tensor of shape {tuple(value.shape)} and {value.dtype}>"
    return f"<{value}>" if isinstance(value, os.PathLike) else f"<{type(value).__name__}>"


@attrs.frozen(eq=False, kw_only=True)
class Explanation:
    """Attributions of a model's outputs.

    Attributes:
        values: attributions, by the name of an input or a layer; a layer with several tensors has ``name[0]``, ``name[1]`` ...
        inputs: what was explained, by the name of the input.
        method: the method's name.
        options: its options, defaults included.
        where: ``input``, ``layer`` or ``neuron``.
        target: which output, per example where they differ; None where the model returns one number.
        output: the explained number, shape ``(batch,)``.
        baseline_output: the same at the baseline, where there is one.
        delta: sum of attributions minus change of the output, shape ``(batch,)``, or ``(layers, batch)`` for several layers;
            None where no one sum is promised, as for a distribution of baselines.
        passes: forward and backward passes used, in batches.
        rows_per_pass: the most rows that one of them had; with that ``internal_batch_size`` no pass has more again.
        rules: what governed each operation, for methods with propagation rules.
        errors: standard errors of sampled attributions, by the same names; empty where they are no estimates.
        details: what the method found out beside attributions, like which estimator was used, by name.
        seed: the seed of every random draw.
        model: class and fingerprint of the model.
        versions: of attrkit, torch, python and the method's distribution.
        warnings: what was warned about on the way.
    """

    values: Mapping[str, Tensor] = attrs.field(repr=lambda values: str({name: tuple(t.shape) for name, t in values.items()}))
    inputs: Mapping[str, Tensor] = attrs.field(factory=dict, repr=False)
    method: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    where: str = "input"
    target: Any = None
    output: Tensor | None = attrs.field(default=None, repr=False)
    baseline_output: Tensor | None = attrs.field(default=None, repr=False)
    delta: Tensor | None = attrs.field(default=None, repr=False)
    passes: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    rows_per_pass: int = attrs.field(default=0, repr=False)
    rules: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    errors: Mapping[str, Tensor] = attrs.field(factory=dict, repr=False)
    details: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    seed: int = 0
    model: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    versions: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    warnings: tuple[str, ...] = attrs.field(default=(), repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file: tensors, and the rest as JSON in its metadata. Nothing is pickled.

        The file appears whole or not at all; one that is there already is replaced.

        Raises:
            FileNotFoundError: its folder is not there.
        """
        target = Path(path)
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{os.fspath(path)!r} cannot be written: there is no folder {os.fspath(target.parent)!r}")
        tensors = {f"values/{name}": t for name, t in self.values.items()}
        tensors |= {f"inputs/{name}": t for name, t in self.inputs.items()}
        tensors |= {f"errors/{name}": t for name, t in self.errors.items()}
        tensors |= {f"details/{name}": v for name, v in self.details.items() if hasattr(v, "detach")}
        tensors |= {name: t for name in _TENSORS if (t := getattr(self, name)) is not None}
        skipped = {"values", "inputs", "errors", "details", *_TENSORS}
        facts = {a.name: plain(getattr(self, a.name)) for a in attrs.fields(type(self)) if a.name not in skipped}
        facts["details"] = {name: plain(v) for name, v in self.details.items() if not hasattr(v, "detach")}
        stored = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
        try:  # through write_bytes, because safetensors' own files are readable by nobody else
            unfinished.write_bytes(save(stored, metadata={"explanation": json.dumps({"format": FORMAT, **facts})}))
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Explanation:
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: there is no such file.
            UsageError: the file holds no explanation, or one of another version.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {os.fspath(path)!r}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError as error:
            raise UsageError(f"{os.fspath(path)!r} is no explanation: it is not a safetensors file ({error})") from error
        described = metadata.get("explanation", "{}")
        try:
            return _assembled(cls, json.loads(described), tensors, os.fspath(path))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{os.fspath(path)!r} is damaged: its description cannot be read ({error})") from error

    def plot(self, example: int = 0, *, name: str | None = None, kind: str = "auto", ax: Axes | None = None) -> Axes:
        """Draw the attributions of one example; returns the axes and shows nothing. Needs the extra ``plot``.

        Args:
            example: which one of the batch.
            name: of the input or layer; may be left out where there is one.
            kind: ``image``, ``bar`` or ``auto``, which is image for values of two or more dimensions.
            ax: axes to draw into; new ones without.
        """
        from attrkit.views.plots import draw

        return draw(self, example, name=name, kind=kind, ax=ax)

    def conservation(self, example: int | None = None) -> Conservation:
        """How much relevance each layer holds, and what share of the output that is: a table, when it is printed.

        Args:
            example: which one of the batch; None for the sum of all.

        Raises:
            UsageError: the method explains no output, or there is no such example.
        """
        from attrkit.views.conservation import conservation

        return conservation(self, example)

    def interval(self, level: float = 0.95) -> dict[str, tuple[Tensor, Tensor]]:
        """Between which bounds each attribution lies with this probability, from its standard error: two tensors by name.

        Raises:
            UsageError: there are no standard errors, or ``level`` is not between 0 and 1.
        """
        from attrkit.views.intervals import half_width

        if not self.errors:
            raise UsageError(f"{self.method} gave no standard errors: its attributions are exact, or nothing is known of them")
        width = half_width(level, self.details.get("degrees_of_freedom"))
        return {name: (self.values[name] - width * e, self.values[name] + width * e) for name, e in self.errors.items()}

    def _repr_html_(self) -> str:
        from attrkit.views.html import summary

        return summary(self)


def _assembled(cls: type[Explanation], facts: dict[str, Any], tensors: Mapping[str, Tensor], path: str) -> Explanation:
    found = facts.pop("format", "nothing")
    if found != FORMAT:
        raise UsageError(f"{path!r} is no explanation of this version: its format is {found!r}, expected {FORMAT!r}")
    facts |= {"rules": tuple(facts["rules"]), "warnings": tuple(facts["warnings"])}
    facts |= {name: tensors[name] for name in _TENSORS if name in tensors}
    for kind in ("values", "inputs", "errors", "details"):
        named = {n.removeprefix(f"{kind}/"): t for n, t in tensors.items() if n.startswith(f"{kind}/")}
        facts[kind] = {**facts.get(kind, {}), **named}
    return cls(**facts)
