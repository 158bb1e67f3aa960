"""The classes of ``attrkit.attr``, made from declarations: IntegratedGradients, LayerConductance, NeuronGradient and so on."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from attrkit.around import Around
from attrkit.attributor import Attributor, Parameters
from attrkit.bases import (
    Attribution,
    GradientAttribution,
    LayerAttribution,
    NeuronAttribution,
    PerturbationAttribution,
)
from attrkit.errors import did_you_mean
from attrkit.forms import FORMS, Form
from attrkit.futures import in_future
from attrkit.registry import registry
from attrkit.specs import Declared, MethodSpec, Where
from attrkit.wrapping import WrapperSpec

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+")
_PLACES = {Where.LAYER: LayerAttribution, Where.NEURON: NeuronAttribution}
_FAMILIES = {"gradient": (GradientAttribution,), "perturbation": (PerturbationAttribution,), "none": ()}
_DELTA = "return_convergence_delta"
_made: dict[str, type[Attribution]] = {}


def class_name(spec: MethodSpec, where: Where) -> str:
    """What the class of a method at a place is called."""
    if where in spec.classes:
        return spec.classes[where]
    prefix = "" if where is Where.INPUT else where.capitalize()
    return prefix + camel(spec.name)


def camel(name: str) -> str:
    """A declaration's name as that of a class."""
    return "".join(word.capitalize() for word in name.split("_"))


def _snake(name: str) -> str:
    return "_".join(word.lower() for word in _WORD.findall(name))


def find_class(name: str) -> type[Attribution]:
    """The class called ``name``; most are found without loading another plugin than the method's.

    Raises:
        AttributeError: no method of any plugin has a class of that name.
    """
    if name in FORMS:
        return _class(name, registry.method(FORMS[name].method), FORMS[name])
    if (wrapper := registry.find("wrappers", _snake(name))) and not wrapper.several:
        return _around_class(name, wrapper)
    for spec in chain(_likely(name), registry.all("methods").values()):
        for where in spec.where:
            if class_name(spec, where) == name:
                return _class(name, spec, _form(spec, where))
    for label, wrapper in registry.all("wrappers").items():
        if camel(label) == name and not wrapper.several:
            return _around_class(name, wrapper)
    if name in (further := further_names()):
        return further[name]  # type: ignore[no-any-return]
    raise AttributeError(f"module 'attrkit.attr' has no class {name!r}.{did_you_mean(name, class_names())}")


def _likely(name: str) -> Iterator[MethodSpec]:
    """The methods whose plugins have the name that the class is made of by convention."""
    for prefix in ("Layer", "Neuron", ""):
        method = _snake(name.removeprefix(prefix)) if name.startswith(prefix) else ""
        if method and registry.named(method) and (spec := registry.find("methods", method)):
            yield spec


def further_names() -> dict[str, Any]:
    """What plugins offer beside the classes of methods."""
    registry.load_all()
    return {name: thing for offered in registry.manager.hook.attrkit_names() for name, thing in offered.items()}


def class_names() -> list[str]:
    """The names of all classes."""
    specs = registry.all("methods").values()
    wrappers = (camel(name) for name, wrapper in registry.all("wrappers").items() if not wrapper.several)
    return sorted({*FORMS, *wrappers, *further_names(), *(class_name(spec, where) for spec in specs for where in spec.where)})


def _form(spec: MethodSpec, where: Where) -> Form:
    """The form that a declaration gives by itself."""
    every = " ".join(p for p in _parameters(spec, where) if p not in ("grad_kwargs", "seed"))
    return Form(spec.name, where, every)


def _parameters(spec: MethodSpec, where: Where) -> Mapping[str, Any]:
    """Every parameter of ``attribute`` and its default, in the order that classes without a form of their own have."""
    required = inspect.Parameter.empty
    found: dict[str, Any] = {"inputs": required}
    if where is Where.NEURON:
        found["neuron_selector"] = required
    if spec.baseline != "none":
        found["baselines"] = required if spec.baseline == "required" else None
    if where is not Where.NEURON or spec.neuron == "through":
        found["target"] = None
    found["additional_forward_args"] = None
    found |= {o.name: o.default for o in spec.options}
    if where is not Where.INPUT:
        found[f"attribute_to_{where}_input"] = False
    found["internal_batch_size" if spec.gradient else "perturbations_per_eval"] = None
    if spec.gradient:
        found["grad_kwargs"] = None
    if spec.complete != "no" and where is not Where.NEURON:
        found[_DELTA] = False
    found |= {"show_progress": False, "verbose": False, "seed": None}
    if not spec.stochastic:
        del found["seed"]
    if not _propagates(spec):
        del found["verbose"]
    return found


def _propagates(spec: MethodSpec) -> bool:
    """Whether rules govern the method, so that there is a table to print."""
    return any(o.name == "rules" for o in spec.options)


def signature(spec: MethodSpec, form: Form) -> inspect.Signature:
    """The signature of a class's ``attribute``, without self."""
    hidden = {*form.fixed, *form.constructor, form.keywords, *({_DELTA} - {*form.order})}
    offered = {k: v for k, v in _parameters(spec, form.where).items() if k not in hidden}
    if form.scores:
        offered["return_input_shape"] = True
    offered = {form.renamed.get(k, k): form.defaults.get(k, v) for k, v in offered.items()}
    place, word = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, place, default=offered.pop(name)) for name in form.order]
    parameters += [inspect.Parameter(name, word, default=v) for name, v in offered.items()]
    if form.keywords:
        parameters.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def constructor_signature(spec: MethodSpec, form: Form) -> inspect.Signature:
    """The signature of a class's constructor, without self."""
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(form.model, place)]
    if form.where is not Where.INPUT:
        parameters.append(inspect.Parameter("layer", place))
        if form.devices:
            parameters.append(inspect.Parameter("device_ids", place, default=None))
    defaults = {o.name: inspect.Parameter.empty if form.required else o.default for o in spec.options}
    return inspect.Signature([*parameters, *(inspect.Parameter(n, place, default=defaults[n]) for n in form.constructor)])


def _delta_without_baseline(self: Attributor, attributions: Any, output: Tensor) -> Tensor:  # noqa: ARG001 - a method
    """Output minus sum of the attributions, shape ``(batch,)``."""
    given = attributions if isinstance(attributions, tuple) else (attributions,)
    return output - sum((t.flatten(1).sum(1) for t in given), torch.zeros_like(output))


def wrapper_signature(spec: WrapperSpec) -> inspect.Signature:
    """The signature of the ``attribute`` of a wrapper's class, without self, and without what it passes on."""
    place, word = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(o.name, place, default=o.default) for o in spec.options]
    return inspect.Signature([inspect.Parameter("inputs", place), *own, inspect.Parameter("seed", word, default=None)])


def _around_class(name: str, spec: WrapperSpec) -> type[Attribution]:
    made = _made.get(name)
    if made is not None and getattr(made, "wrapper", None) is spec:
        return made
    own = wrapper_signature(spec)
    shown = own.replace(parameters=[*own.parameters.values(), inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])
    body = {"__module__": "attrkit.attr", "__doc__": spec.doc, "wrapper": spec, "_signature": Parameters(own)}
    cls: Any = type(name, (Around,), {**body, "attribute": _attributing(spec, shown)})
    _made[name] = cls
    return _made[name]


def _class(name: str, spec: MethodSpec, form: Form) -> type[Attribution]:
    made = _made.get(name)
    if made is not None and getattr(made, "spec", None) is spec:
        return made
    body: dict[str, Any] = {
        "__module__": "attrkit.attr",
        "__doc__": spec.doc,
        "spec": spec,
        "form": form,
        "_signature": Parameters(signature(spec, form)),
        "_constructor": Parameters(constructor_signature(spec, form)),
    }
    body["__init__"] = _constructing(body["_constructor"].signature)
    body["attribute"] = _attributing(spec, body["_signature"].signature)
    future = _attributing(spec, body["_signature"].signature, later=True)
    body["attribute_future"] = future if form.futures else Attribution.attribute_future
    if spec.baseline == "none" and spec.complete != "no":
        body["compute_convergence_delta"] = _delta_without_baseline
    cls: Any = type(name, _bases(spec, form), body)
    _made[name] = cls
    return _made[name]


def _bases(spec: MethodSpec, form: Form) -> tuple[type, ...]:
    place = (_PLACES[form.where],) if form.where in _PLACES and spec.lands == "site" else ()
    if form.parents:
        parents = tuple(map(find_class, form.parents))
        return parents if any(issubclass(p, kind) for p in parents for kind in place) else (*parents, *place)
    family = form.family or ("gradient" if spec.gradient else "perturbation")
    return (Attributor, *place, *_FAMILIES[family])


def _with_self(signature: inspect.Signature) -> inspect.Signature:
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[this, *signature.parameters.values()])


def _constructing(signature: inspect.Signature) -> Any:
    def __init__(self: Attributor, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes one
        Attributor.__init__(self, *args, **kwargs)

    __init__.__signature__ = _with_self(signature)  # type: ignore[attr-defined]
    return __init__


def _attributing(spec: Declared, signature: inspect.Signature, *, later: bool = False) -> Any:
    def attribute(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._attribute(*args, **kwargs)

    def attribute_future(self: Any, *args: Any, **kwargs: Any) -> Any:
        return in_future(self, args, kwargs)

    if later:
        attribute_future.__doc__ = "As ``attribute``, of a model that returns a future; returns a future."
        attribute_future.__signature__ = _with_self(signature)  # type: ignore[attr-defined]
        return attribute_future

    attribute.__doc__ = spec.doc
    attribute.__signature__ = _with_self(signature)  # type: ignore[attr-defined]

    attribute.generated = True  # type: ignore[attr-defined]

    @functools.wraps(attribute)
    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._attribute(*args, **kwargs)

    return outer  # callers of the established API reach through ``attribute.__wrapped__``
