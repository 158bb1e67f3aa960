"""Write ``attrkit/attr.pyi`` from the declarations, so that editors and type checkers see the generated classes.

``python -m attrkit.stubs`` writes it, ``python -m attrkit.stubs --check`` fails when it is out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from attrkit.attributor import Attributor
from attrkit.facade import camel, class_name, constructor_signature, find_class, further_names, signature, wrapper_signature
from attrkit.forms import FORMS
from attrkit.registry import registry
from attrkit.specs import MethodSpec, Where
from attrkit.wrapping import WrapperSpec

STUB = Path(__file__).with_name("attr.pyi")

_HEAD = '''"""Written by "python -m attrkit.stubs"; do not edit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, overload

from torch import Tensor, nn

from attrkit.bases import Attribution as Attribution
from attrkit.bases import GradientAttribution as GradientAttribution
from attrkit.bases import InternalAttribution as InternalAttribution
from attrkit.bases import LayerAttribution as LayerAttribution
from attrkit.bases import NeuronAttribution as NeuronAttribution
from attrkit.bases import PerturbationAttribution as PerturbationAttribution
<further>

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor, ...])
Baselines: TypeAlias = Tensor | float | tuple[Tensor | float, ...] | None
Target: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
Neuron: TypeAlias = int | tuple[int | slice, ...] | Callable[..., Tensor]
Layer: TypeAlias = str | nn.Module
LayerValues: TypeAlias = Any  # a tensor where the layer passes on one, else a tuple; a list for a list of layers
'''

_FURTHER = "<further>\n"

_TYPES = {
    "additional_forward_args": "Any",
    "attribute_to_layer_input": "bool",
    "attribute_to_neuron_input": "bool",
    "baselines": "Baselines",
    "device_ids": "list[int] | None",
    "feature_mask": "Tensor | tuple[Tensor, ...] | None",
    "forward_func": "Callable[..., Any]",
    "grad_kwargs": "Mapping[str, Any] | None",
    "inputs": "Inputs",
    "internal_batch_size": "int | None",
    "layer": "Layer | Sequence[Layer]",
    "layer_baselines": "Baselines",
    "layer_mask": "Tensor | tuple[Tensor, ...] | None",
    "model": "Callable[..., Any]",
    "neuron_selector": "Neuron",
    "perturbations_per_eval": "int | None",
    "seed": "int | None",
    "show_progress": "bool",
    "target": "Target",
    "verbose": "bool",
}
_DELTA = "return_convergence_delta"


def _parameter(p: inspect.Parameter, types: dict[str, str]) -> str:
    text = f"{p.name}: {types.get(p.name, 'Any')}"
    return text if p.default is p.empty else f"{text} = {p.default!r}"


def _listed(parameters: Iterable[inspect.Parameter], types: dict[str, str], delta: str) -> str:
    """Parameters as they stand in a definition; ``delta`` is what ``return_convergence_delta`` is there."""
    listed, starred = ["self"], False
    for p in parameters:
        must_be_named = p.kind is p.KEYWORD_ONLY or (p.name == _DELTA and "=" not in delta)
        if must_be_named and not starred:
            listed.append("*")
            starred = True
        listed.append(f"{_DELTA}: {delta}" if p.name == _DELTA else _parameter(p, types))
    return ", ".join(listed)


def _method(name: str, parameters: Iterable[inspect.Parameter], types: dict[str, str], returns: str) -> list[str]:
    parameters = list(parameters)
    if not any(p.name == _DELTA for p in parameters):
        return [f"    def {name}({_listed(parameters, types, '')}) -> {returns}: ..."]
    with_delta = f"    def {name}({_listed(parameters, types, 'Literal[True]')}) -> tuple[{returns}, Tensor]: ..."
    without = f"    def {name}({_listed(parameters, types, 'Literal[False] = False')}) -> {returns}: ..."
    return ["    @overload", with_delta, "    @overload", without]


def _class(name: str, spec: MethodSpec, where: Where) -> str:
    cls = find_class(name)
    form = FORMS.get(name) or cls.form  # type: ignore[attr-defined]
    types = {**{o.name: o.type for o in spec.options}, **_TYPES}
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not Attributor)
    returns = "LayerValues" if where is Where.LAYER else "Inputs"
    attribute = _method("attribute", signature(spec, form).parameters.values(), types, returns)
    if form.parents:  # whose parameters are others
        attribute[0] += "  # type: ignore[override]"
        attribute[-1] += "  # pyright: ignore[reportIncompatibleMethodOverride]"
    return "\n".join([
        f"class {name}({bases}):",
        f'    """{spec.summary}"""',
        "",
        *_method("__init__", constructor_signature(spec, form).parameters.values(), types, "None"),
        *attribute,
    ])  # fmt: skip


def _shipped() -> Iterable[tuple[str, MethodSpec, Where]]:
    """The classes of attrkit's own methods."""
    for plugin in registry.plugins.values():
        if plugin.dist == "attrkit" and registry.load(plugin):
            for method in registry.provides(plugin).get("methods", ()):
                spec = registry.method(method)
                known = {(form.method, form.where) for form in FORMS.values()}
                yield from ((n, spec, form.where) for n, form in FORMS.items() if form.method == spec.name)
                yield from ((class_name(spec, w), spec, w) for w in spec.where if (spec.name, w) not in known)


def _wrapper(spec: WrapperSpec) -> str:
    types = {**{o.name: o.type for o in spec.options}, **_TYPES, "inputs": "Any"}
    listed = _listed(wrapper_signature(spec).parameters.values(), types, "")
    return "\n".join([
        f"class {camel(spec.name)}(Attribution):",
        f'    """{spec.summary}"""',
        "",
        "    def __init__(self, attribution_method: Attribution) -> None: ...",
        f"    def attribute({listed}, **kwargs: Any) -> Any: ...",
    ])  # fmt: skip


def _further() -> Iterable[str]:
    """Lines for what attrkit's own plugins offer beside the classes of methods."""
    for name, thing in sorted(further_names().items()):
        if thing.__module__.startswith("attrkit"):
            yield f"from {thing.__module__} import {name} as {name}\n"


def _shipped_wrappers() -> Iterable[WrapperSpec]:
    specs = registry.all("wrappers").values()
    single = (spec for spec in specs if not spec.several)
    return (spec for spec in single if (plugin := registry.origin(spec)) is not None and plugin.dist == "attrkit")


def text() -> str:
    """The whole stub."""
    classes = {name: _class(name, spec, where) for name, spec, where in _shipped()}
    classes |= {camel(spec.name): _wrapper(spec) for spec in _shipped_wrappers()}
    head = _HEAD.replace(_FURTHER, "".join(_further()))
    public = sorted({*re.findall(r"import \w+ as (\w+)", head), *classes})
    listed = "".join(f'    "{name}",\n' for name in public)
    return f"{head}\n__all__ = [\n{listed}]\n" + "".join(f"\n{classes[name]}\n" for name in sorted(classes))


def main() -> str | None:
    """Write the stub, or with ``--check`` say that it is out of date."""
    if "--check" not in sys.argv[1:]:
        STUB.write_text(text())
        return None
    return None if STUB.exists() and STUB.read_text() == text() else f"{STUB} is out of date: run python -m attrkit.stubs"


if __name__ == "__main__":
    sys.exit(main())
