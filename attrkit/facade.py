"""The classes of ``attrkit.attr``, made from declarations: IntegratedGradients, LayerConductance, NeuronGradient and so on."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from attrkit.attributing import Answer, Request, answer, arguments_of
from attrkit.bases import (
    Attribution,
    GradientAttribution,
    InternalAttribution,
    LayerAttribution,
    NeuronAttribution,
    PerturbationAttribution,
)
from attrkit.errors import UsageTypeError, did_you_mean
from attrkit.forms import FORMS, Form
from attrkit.registry import registry
from attrkit.specs import MethodSpec, Where

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+")
_PLACES = {Where.LAYER: LayerAttribution, Where.NEURON: NeuronAttribution}
_FAMILIES = {"gradient": (GradientAttribution,), "perturbation": (PerturbationAttribution,), "none": ()}
_made: dict[str, type[Attribution]] = {}


def class_name(spec: MethodSpec, where: Where) -> str:
    """What the class of a method at a place is called."""
    if where in spec.classes:
        return spec.classes[where]
    prefix = "" if where is Where.INPUT else where.capitalize()
    return prefix + "".join(word.capitalize() for word in spec.name.split("_"))


def _snake(name: str) -> str:
    return "_".join(word.lower() for word in _WORD.findall(name))


def find_class(name: str) -> type[Attribution]:
    """The class called ``name``; most are found without loading another plugin than the method's.

    Raises:
        AttributeError: no method of any plugin has a class of that name.
    """
    if name in FORMS:
        return _class(name, registry.method(FORMS[name].method), FORMS[name])
    for where in (Where.LAYER, Where.NEURON, Where.INPUT):
        prefix = "" if where is Where.INPUT else where.capitalize()
        method = _snake(name.removeprefix(prefix)) if name.startswith(prefix) else ""
        if method and registry.named(method):
            spec = registry.method(method)
            if where in spec.where and class_name(spec, where) == name:
                return _class(name, spec, _form(spec, where))
    for spec in registry.all("methods").values():
        for where in spec.where:
            if class_name(spec, where) == name:
                return _class(name, spec, _form(spec, where))
    raise AttributeError(f"module 'attrkit.attr' has no class {name!r}.{did_you_mean(name, class_names())}")


def class_names() -> list[str]:
    """The names of all classes."""
    specs = registry.all("methods").values()
    return sorted({*FORMS, *(class_name(spec, where) for spec in specs for where in spec.where)})


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
        found["return_convergence_delta"] = False
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
    offered = {k: v for k, v in _parameters(spec, form.where).items() if k not in (*form.fixed, *form.constructor)}
    offered = {form.renamed.get(k, k): form.defaults.get(k, v) for k, v in offered.items()}
    place, word = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, place, default=offered.pop(name)) for name in form.order]
    return inspect.Signature([*parameters, *(inspect.Parameter(name, word, default=v) for name, v in offered.items())])


def constructor_signature(spec: MethodSpec, form: Form) -> inspect.Signature:
    """The signature of a class's constructor, without self."""
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(form.model, place)]
    if form.where is not Where.INPUT:
        parameters.append(inspect.Parameter("layer", place))
        if form.devices:
            parameters.append(inspect.Parameter("device_ids", place, default=None))
    defaults = {o.name: o.default for o in spec.options}
    return inspect.Signature([*parameters, *(inspect.Parameter(n, place, default=defaults[n]) for n in form.constructor)])


class Attributor(Attribution):
    """What the generated classes share: from arguments as people know them to an attribution, and back."""

    spec: MethodSpec
    form: Form
    _signature: inspect.Signature
    _constructor: inspect.Signature

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = _bound(type(self).__name__, self._constructor, args, kwargs)
        model = given.pop(self.form.model)
        if isinstance(self, InternalAttribution):
            InternalAttribution.__init__(self, model, given.pop("layer"), given.pop("device_ids", None))
        else:
            Attribution.__init__(self, model)
        setattr(self, self.form.model, model)
        self._options = given

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are multiplied by the inputs, or by their difference from the baseline."""
        known = {**self.form.fixed, **self._options}.get("multiply_by_inputs", self.form.multiplies)
        return not self.spec.gradient if known is None else bool(known)

    def has_convergence_delta(self) -> bool:
        """Whether ``attribute`` takes ``return_convergence_delta``."""
        return "return_convergence_delta" in self._signature.parameters

    def _attribute(self, *args: Any, **kwargs: Any) -> Any:
        given = _bound(f"{type(self).__name__}.attribute", self._signature, args, kwargs)
        for name, label in self.form.renamed.items():
            given[name] = given.pop(label)
        inputs, delta, verbose = given.pop("inputs"), given.pop("return_convergence_delta", False), given.pop("verbose", False)
        options = {o.name: given.pop(o.name) for o in self.spec.options if o.name in given}
        found = answer(self.spec, self._request(inputs, given), {**self.form.fixed, **self._options, **options}, outputs=delta)
        if verbose:
            _print_rules(found)
        shaped = _shaped(found, as_tuple=isinstance(inputs, tuple), many=isinstance(getattr(self, "layer", None), list))
        if not delta or found.delta is None:
            return shaped
        gap = -found.delta if self.spec.baseline == "none" else found.delta
        return shaped, list(gap.reshape(len(found.layers), -1)) if isinstance(shaped, list) else gap

    def _request(self, inputs: Any, given: dict[str, Any]) -> Request:
        arguments = arguments_of(self.forward_func, inputs, given.get("additional_forward_args"))
        layer = getattr(self, "layer", None)
        per_pass = given.get("perturbations_per_eval")
        if per_pass is not None and (not isinstance(per_pass, int) or per_pass < 1):
            raise UsageTypeError(f"perturbations_per_eval must be an integer of at least 1, got {per_pass!r}")
        seed = given.get("seed")
        if self.spec.stochastic and seed is None:
            seed = int(torch.randint(2**62, (1,)))
        return Request(
            model=self.forward_func,
            arguments=arguments,
            target=given.get("target"),
            baselines=given.get("baselines"),
            layers=() if layer is None else tuple(layer) if isinstance(layer, list) else (layer,),
            neuron=given.get("neuron_selector"),
            io="input" if given.get(f"attribute_to_{self.form.where}_input") else "output",
            rows=given.get("internal_batch_size") if per_pass is None else per_pass * max(1, len(arguments)),
            seed=seed or 0,
            grad_options=given.get("grad_kwargs") or {},
            progress=f"{self.get_name()} attribution" if given.get("show_progress") else "",
        )


def _bound(what: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    for name in kwargs:
        if name not in signature.parameters:
            known = ", ".join(signature.parameters)
            raise UsageTypeError(
                f"{what} has no parameter {name!r}.{did_you_mean(name, signature.parameters)} Parameters: {known}"
            )
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageTypeError(f"{what}: {error}; its parameters: {', '.join(map(str, signature.parameters.values()))}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _shaped(found: Answer, *, as_tuple: bool, many: bool) -> Any:
    """A tensor for a tensor and a tuple for a tuple; for layers, a tensor where there is one; for a list of layers, a list."""
    if not found.layers:
        return found.values if as_tuple else found.values[0]

    def per_layer() -> Iterator[Any]:
        rest = iter(found.values)
        for _, count in found.layers:
            own = tuple(next(rest) for _ in range(count))
            yield own[0] if count == 1 else own

    return list(per_layer()) if many else next(per_layer())


def _print_rules(found: Answer) -> None:
    width = max((len(row.path) for row in found.rules), default=0)
    for row in found.rules:
        parameters = ", ".join(f"{k}={v}" for k, v in row.parameters.items() if not isinstance(v, Tensor))
        sys.stdout.write(f"{row.path:{width}}  {row.operation:14} {row.rule} {parameters}\n")


def _delta_without_baseline(self: Attributor, attributions: Any, output: Tensor) -> Tensor:  # noqa: ARG001 - a method
    """Output minus sum of the attributions, shape ``(batch,)``."""
    given = attributions if isinstance(attributions, tuple) else (attributions,)
    return output - sum((t.flatten(1).sum(1) for t in given), torch.zeros_like(output))


def _class(name: str, spec: MethodSpec, form: Form) -> type[Attribution]:
    made = _made.get(name)
    if made is not None and getattr(made, "spec", None) is spec:
        return made
    body: dict[str, Any] = {
        "__module__": "attrkit.attr",
        "__doc__": spec.doc,
        "spec": spec,
        "form": form,
        "_signature": signature(spec, form),
        "_constructor": constructor_signature(spec, form),
    }
    body["__init__"] = _constructing(body["_constructor"])
    body["attribute"] = _attributing(spec, body["_signature"])
    if spec.baseline == "none" and spec.complete != "no":
        body["compute_convergence_delta"] = _delta_without_baseline
    cls: Any = type(name, _bases(spec, form), body)
    _made[name] = cls
    return _made[name]


def _bases(spec: MethodSpec, form: Form) -> tuple[type, ...]:
    place = (_PLACES[form.where],) if form.where in _PLACES else ()
    if form.parent:
        return (find_class(form.parent), *place)
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


def _attributing(spec: MethodSpec, signature: inspect.Signature) -> Any:
    def attribute(self: Attributor, *args: Any, **kwargs: Any) -> Any:
        return self._attribute(*args, **kwargs)

    attribute.__doc__ = spec.doc
    attribute.__signature__ = _with_self(signature)  # type: ignore[attr-defined]

    @functools.wraps(attribute)
    def outer(self: Attributor, *args: Any, **kwargs: Any) -> Any:
        return attribute(self, *args, **kwargs)

    return outer  # callers of the established API reach through ``attribute.__wrapped__``
