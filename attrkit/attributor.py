"""What the classes of ``attrkit.attr`` share: from arguments as people know them to an attribution, and back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.attributing import Answer, Request, answer
from attrkit.bases import Attribution, given_layer
from attrkit.devices import devices_of
from attrkit.errors import UsageError, UsageTypeError, did_you_mean
from attrkit.forms import Form
from attrkit.reading import arguments_of
from attrkit.runner import root_of
from attrkit.specs import MethodSpec, Where
from attrkit.wrapping import Wrapped

_FORMER = {"neuron_index": "neuron_selector"}  # what parameters were called in the established API once


@attrs.frozen
class Parameters:
    """A signature that arguments are bound to at every call, for which inspect would take longer than a small model."""

    signature: inspect.Signature
    _places: tuple[str, ...] = attrs.field(init=False)  # of positional arguments
    _defaults: dict[str, Any] = attrs.field(init=False)
    _required: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Take the signature apart."""
        each = {name: p for name, p in self.signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
        places = tuple(name for name, p in each.items() if p.kind is p.POSITIONAL_OR_KEYWORD)
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_defaults", {name: p.default for name, p in each.items()})
        object.__setattr__(self, "_required", frozenset(name for name, p in each.items() if p.default is p.empty))

    @property
    def names(self) -> Iterable[str]:
        """The parameters' names."""
        return self._defaults

    def bound(self, what: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in; ``what`` is what was called.

        Raises:
            UsageTypeError: they do not fit.
        """
        if not _FORMER.keys().isdisjoint(kwargs):
            kwargs = {_FORMER.get(k, k) if _FORMER.get(k) in self._defaults else k: v for k, v in kwargs.items()}
        given = dict(zip(self._places, args, strict=False))
        fits = len(args) <= len(self._places) and given.keys().isdisjoint(kwargs) and kwargs.keys() <= self._defaults.keys()
        given |= kwargs
        if not fits or not self._required <= given.keys():
            self._refuse(what, args, kwargs)
        return self._defaults | given

    def _refuse(self, what: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        each = self.signature.parameters
        for name in kwargs:
            if name not in each:
                known = ", ".join(each)
                raise UsageTypeError(f"{what} has no parameter {name!r}.{did_you_mean(name, each)} Parameters: {known}")
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageTypeError(f"{what}: {error}; its parameters: {', '.join(map(str, each.values()))}") from None


class Attributor(Attribution):
    """What the generated classes share: from arguments as people know them to an attribution, and back."""

    spec: MethodSpec
    form: Form
    _signature: Parameters
    _constructor: Parameters

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = self._constructor.bound(type(self).__name__, args, kwargs)
        model = given.pop(self.form.model)
        Attribution.__init__(self, model)
        if self.form.where is not Where.INPUT:
            layer = given.pop("layer")
            self.layer = layer if self.form.every and layer is None else given_layer(self, layer)
            self.device_ids = given.pop("device_ids", None)
        setattr(self, self.form.model, model)
        self._options = given

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are multiplied by the inputs, or by their difference from the baseline."""
        known = {**self.form.fixed, **self._options}.get("multiply_by_inputs", self.form.multiplies)
        return not self.spec.gradient if known is None else bool(known)

    def has_convergence_delta(self) -> bool:
        """Whether ``attribute`` takes ``return_convergence_delta``."""
        return "return_convergence_delta" in self._signature.signature.parameters

    def _attribute(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self.spec, args, kwargs, {})

    def run(self, spec: MethodSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any], further: Mapping[str, Any]) -> Any:
        """What ``attribute`` returns for these arguments, by ``spec``: this class's method, or a wrapper around it.

        ``further`` are the wrapper's options, and its seed.
        """
        own = {k: v for k, v in kwargs.items() if k in self._signature.names} if self.form.keywords else kwargs
        given = self._signature.bound(f"{type(self).__name__}.attribute", args, own)
        if self.form.keywords:
            given[self.form.keywords] = {k: v for k, v in kwargs.items() if k not in own}
        for name, label in self.form.renamed.items():
            given[name] = given.pop(label)
        if "seed" in further:
            given["seed"] = further["seed"]
        inputs, delta, verbose = given.pop("inputs"), given.pop("return_convergence_delta", False), given.pop("verbose", False)
        shape = given.pop("return_input_shape", True)
        options = {o.name: given.pop(o.name) for o in self.spec.options if o.name in given}
        options |= {k: v for k, v in further.items() if k != "seed"}
        sampled = spec is not self.spec or spec.distribution
        request = self._request(spec, inputs, given, per_sample=delta and sampled)
        found = answer(spec, request, {**self.form.fixed, **self._options, **options}, outputs=delta and not sampled)
        if delta and found.delta is None and isinstance(spec, Wrapped):
            raise UsageTypeError(f"{spec.name} has no convergence delta; leave return_convergence_delta out")
        if verbose:
            _print_rules(found)
        if not shape:
            return found.details["scores"].to(found.values[0])
        if spec.lands == "features":
            return found.values[0]
        if self.form.flat and any(v.dim() != x.dim() for v, x in zip(found.values, found.site, strict=True)):
            found = attrs.evolve(found, values=tuple(map(_flat, found.values, found.site)))
        shaped = _shaped(found, inputs, many=bool(request.patterns) or isinstance(getattr(self, "layer", None), list))
        if not delta or found.delta is None:
            return shaped
        gap = -found.delta if self.spec.baseline == "none" else found.delta
        return shaped, list(gap.reshape(len(found.layers), -1)) if isinstance(shaped, list) else gap

    def _request(self, spec: MethodSpec, inputs: Any, given: dict[str, Any], *, per_sample: bool) -> Request:
        arguments = arguments_of(self.forward_func, inputs, given.get("additional_forward_args"))
        layer = getattr(self, "layer", None)
        if isinstance(layer, list) and not layer:
            raise UsageError(f"layer: {type(self).__name__} was given an empty list; give at least one")
        if "neuron_selector" in given and given["neuron_selector"] is None:
            raise UsageTypeError("neuron_selector must be an integer, a tuple of integers or slices, or a function, got None")
        per_pass = given.get("perturbations_per_eval")
        if per_pass is not None and (not isinstance(per_pass, int) or per_pass < 1):
            raise UsageTypeError(f"perturbations_per_eval must be an integer of at least 1, got {per_pass!r}")
        seed = given.get("seed")
        if spec.stochastic and seed is None:
            seed = int(torch.randint(2**62, (1,)))
        ids = getattr(self, "device_ids", None)
        return Request(
            model=self.forward_func,
            arguments=arguments,
            target=given.get("target"),
            baselines=given.get("baselines"),
            layers=() if layer is None else tuple(layer) if isinstance(layer, list) else (layer,),
            patterns=_innermost(self.forward_func) if layer is None and self.form.where is Where.LAYER else (),
            neuron=given.get("neuron_selector"),
            io="input" if given.get(f"attribute_to_{self.form.where}_input") else "output",
            rows=given.get("internal_batch_size") if per_pass is None else per_pass * max(1, len(arguments)),
            seed=seed or 0,
            grad_options={} if given.get("grad_kwargs") is None else given["grad_kwargs"],
            progress=f"{self.get_name()} attribution" if given.get("show_progress") else "",
            per_sample=per_sample,
            devices=devices_of(ids) if ids is not None and torch.cuda.is_available() else (),
        )


def _innermost(model: Any) -> tuple[str, ...]:
    """The paths of the modules that hold no other."""
    if (root := root_of(model)) is None:
        raise UsageError("layer is None, for all layers, but the model is a plain function, which has none; pass its modules")
    return tuple(path for path, module in root.named_modules() if path and next(module.children(), None) is None)


def _flat(value: Tensor, site: Tensor) -> Tensor:
    """Attributions of several outputs with a row for each."""
    return value.flatten(0, value.dim() - site.dim())


def _shaped(found: Answer, inputs: Any, *, many: bool) -> Any:
    """A tensor for a tensor, a tuple for a tuple, a dictionary for a mapping; for layers, a tensor where there is one.

    For a list of layers, a list.
    """
    if not found.layers and isinstance(inputs, Mapping):
        return dict(zip(found.names, found.values, strict=True))
    if not found.layers:
        return found.values if isinstance(inputs, tuple) else found.values[0]

    def per_layer() -> Iterator[Any]:
        rest = iter(found.values)
        for _, count in found.layers:
            own = tuple(next(rest) for _ in range(count))
            yield own[0] if count == 1 else own

    return list(per_layer()) if many else next(per_layer())


def _print_rules(found: Answer) -> None:
    width = max((len(row.path) for row in found.rules), default=0)
    for row in found.rules:
        plain = {k: v for k, v in row.parameters.items() if isinstance(v, bool | int | float | str | Mapping)}
        parameters = ", ".join(f"{k}={v}" for k, v in plain.items())
        sys.stdout.write(f"{row.path:{width}}  {row.operation:14} {row.rule} {parameters}\n")
