"""What is compared: each case as attrkit, Captum and raw torch do it, and the bar that attrkit is held to."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs
import captum.attr
import torch

import attrkit
import attrkit.attr
from benchmarks import raw
from benchmarks.measuring import Call
from benchmarks.models import CLASSES, Subject

_LIBRARIES = {"attrkit": attrkit.attr, "captum": captum.attr}
_STEPS, _LAYER_STEPS, _STREAMED_STEPS, _STREAMED_ROWS, _SAMPLES = 50, 16, 64, 32, 5


@attrs.frozen
class Bar:
    """What attrkit's time, and its memory where that is given, may be at most as ratios to another side's."""

    against: str
    time: float
    memory: float | None = None

    def met(self, time: float, memory: float) -> bool:
        """Whether measured ratios are within it."""
        return time <= self.time and (self.memory is None or memory <= self.memory)


@attrs.frozen
class Case:
    """One row of the tables. ``sides`` gives the calls by name: attrkit, captum and raw."""

    name: str
    sides: Callable[[Subject], dict[str, Call]]
    bar: Callable[[Subject], Bar | None] = lambda _: None
    applies: Callable[[Subject], bool] = lambda _: True
    differs: str = ""  # why results need not agree


class MissingError(Exception):
    """Attrkit does not have this yet."""


def _same(name: str, subject: Subject, layer: Any = None, **arguments: Any) -> dict[str, Call]:
    """The calls of both libraries' classes of the same name, with the same arguments."""
    place = () if layer is None else (layer,)
    return {
        library: partial(_class(library, name)(subject.model, *place).attribute, subject.x, **_extra(subject), **arguments)
        for library in _LIBRARIES
    }


def _class(library: str, name: str) -> Any:
    try:
        return getattr(_LIBRARIES[library], name)
    except AttributeError as error:
        raise MissingError(name) from error


def _extra(subject: Subject) -> dict[str, Any]:
    return {"additional_forward_args": subject.extra or None}


def _gradient(name: str, subject: Subject) -> dict[str, Call]:
    return {**_same(name, subject, target=raw.TARGET), "raw": partial(raw.gradient, subject, subject.x)}


def _integrated_gradients(subject: Subject) -> dict[str, Call]:
    def passes() -> Any:
        return raw.gradient(subject, raw.path(subject.x, _STEPS))

    return {**_same("IntegratedGradients", subject, target=raw.TARGET, n_steps=_STEPS), "raw": passes}


def _streamed(subject: Subject) -> dict[str, Call]:
    both = _same("IntegratedGradients", subject, target=raw.TARGET, n_steps=_STREAMED_STEPS)
    return {
        "attrkit": partial(both["attrkit"], internal_batch_size=_STREAMED_ROWS),
        "captum": both["captum"],
        "raw": partial(raw.gradient_in_parts, subject, _STREAMED_STEPS, _STREAMED_ROWS),
    }


def _sampled(subject: Subject) -> Call:
    def passes() -> Any:
        copies = subject.x.repeat(_SAMPLES, *[1] * (subject.x.dim() - 1))
        return raw.gradient(subject, copies + torch.randn_like(copies))

    return passes


def _gradient_shap(subject: Subject) -> dict[str, Call]:
    baselines = torch.zeros_like(subject.x)
    both = _same("GradientShap", subject, baselines=baselines, target=raw.TARGET, n_samples=_SAMPLES, stdevs=0.1)
    return {**both, "raw": _sampled(subject)}


def _noise_tunnel(subject: Subject) -> dict[str, Call]:
    def tunnel(library: str) -> Call:
        inner = _class(library, "Saliency")(subject.model)
        # noise so small that results of different draws must agree
        arguments = {"nt_samples": _SAMPLES, "stdevs": 1e-6, "target": raw.TARGET, **_extra(subject)}
        return partial(_class(library, "NoiseTunnel")(inner).attribute, subject.x, **arguments)

    return {**{library: tunnel(library) for library in _LIBRARIES}, "raw": _sampled(subject)}


def _activation(place: str, subject: Subject) -> dict[str, Call]:
    layer = subject.at(place)
    return {**_same("LayerActivation", subject, layer), "raw": partial(raw.activation, subject, layer, subject.x)}


def _layer_gradient(name: str, place: str, subject: Subject) -> dict[str, Call]:
    layer = subject.at(place)
    both = _same(name, subject, layer, target=raw.TARGET)
    return {**both, "raw": partial(raw.gradient_at, subject, [layer], subject.x)}


def _layer_gradients(subject: Subject) -> dict[str, Call]:
    both = _same("LayerGradientXActivation", subject, subject.every, target=raw.TARGET)
    return {**both, "raw": partial(raw.gradient_at, subject, subject.every, subject.x)}


def _layer_path(place: str, subject: Subject) -> dict[str, Call]:
    layer = subject.at(place)
    both = _same("LayerIntegratedGradients", subject, layer, target=raw.TARGET, n_steps=_LAYER_STEPS)
    return {**both, "raw": partial(raw.gradient_along, subject, layer, _LAYER_STEPS)}


def _conductance(subject: Subject) -> dict[str, Call]:
    each = [_class("captum", "LayerConductance")(subject.model, layer) for layer in subject.every]
    arguments = {"target": raw.TARGET, "n_steps": _LAYER_STEPS, **_extra(subject)}

    def passes() -> Any:
        return raw.gradient_at(subject, subject.every, raw.path(subject.x, _LAYER_STEPS))

    return {
        "attrkit": partial(attrkit.explain, subject.model, subject.x, "conductance", layer=list(subject.layers), **arguments),
        "captum": lambda: [one.attribute(subject.x, **arguments) for one in each],
        "raw": passes,
    }


def _targets(subject: Subject) -> dict[str, Call]:
    saliency, targets = _class("captum", "Saliency")(subject.model), range(CLASSES)
    return {
        "attrkit": partial(_each_target, subject, targets),
        "captum": lambda: [saliency.attribute(subject.x, target=t, **_extra(subject)) for t in targets],
        "raw": partial(raw.gradients_of_targets, subject, targets),
    }


def _each_target(subject: Subject, targets: Iterable[int]) -> Any:
    explain_each = getattr(attrkit, "explain_each", None)
    if explain_each is None:
        return [attrkit.explain(subject.model, subject.x, "saliency", target=t, **_extra(subject)) for t in targets]
    return explain_each(subject.model, subject.x, "saliency", targets=targets, **_extra(subject))


def _neuron_gradient(subject: Subject) -> dict[str, Call]:
    layer = subject.at("early")
    both = _same("NeuronGradient", subject, layer, neuron_selector=subject.neuron)
    return {**both, "raw": partial(raw.gradient_of_neuron, subject, layer, subject.x)}


def _neuron_path(subject: Subject) -> dict[str, Call]:
    layer = subject.at("early")
    both = _same("NeuronIntegratedGradients", subject, layer, neuron_selector=subject.neuron, n_steps=_LAYER_STEPS)

    def passes() -> Any:
        return raw.gradient_of_neuron(subject, layer, raw.path(subject.x, _LAYER_STEPS))

    return {**both, "raw": passes}


def _few(sides: Callable[[Subject], dict[str, Call]]) -> Callable[[Subject], dict[str, Call]]:
    """The same of fewer examples, for what takes many passes."""
    return lambda subject: sides(subject.few)


def _single_pass(subject: Subject) -> Bar | None:
    return Bar("raw", 1.05) if subject.compute_bound else None


def _tiny(subject: Subject) -> Bar | None:
    return None if subject.compute_bound else Bar("captum", 0.4)


def _bound(time: float, memory: float | None = None) -> Callable[[Subject], Bar | None]:
    return lambda subject: Bar("captum", time, memory) if subject.compute_bound else None


def _per_layer(subject: Subject) -> Bar | None:
    return _bound(1.3 / len(subject.layers))(subject)


CASES: tuple[Case, ...] = (
    Case("Saliency", partial(_gradient, "Saliency"), _single_pass),
    Case("InputXGradient", partial(_gradient, "InputXGradient"), _single_pass),
    Case(f"IntegratedGradients, {_STEPS} steps", _few(_integrated_gradients), _tiny),
    Case(f"IntegratedGradients, {_STREAMED_STEPS} steps, {_STREAMED_ROWS} rows a pass", _few(_streamed), _bound(1.05, 0.25)),
    Case("GradientShap", _few(_gradient_shap), differs="random draws"),
    Case("NoiseTunnel(Saliency)", _few(_noise_tunnel)),
    Case("LayerActivation, first block", partial(_activation, "first"), _single_pass),
    Case("LayerActivation, last block", partial(_activation, "last"), _single_pass),
    Case("LayerGradientXActivation, first block", partial(_layer_gradient, "LayerGradientXActivation", "first"), _single_pass),
    Case("LayerGradientXActivation, last block", partial(_layer_gradient, "LayerGradientXActivation", "last"), _single_pass),
    Case("LayerGradientXActivation, list of all blocks", _layer_gradients),
    Case("LayerGradCam, last block", partial(_layer_gradient, "LayerGradCam", "last"), _single_pass, lambda s: s.maps),
    Case(f"LayerIntegratedGradients, first block, {_LAYER_STEPS} steps", _few(partial(_layer_path, "first")), _bound(1.0)),
    Case(f"LayerIntegratedGradients, last block, {_LAYER_STEPS} steps", _few(partial(_layer_path, "last")), _bound(0.45, 0.15)),
    Case(f"conductance, all blocks, {_LAYER_STEPS} steps", _few(_conductance), _per_layer, differs="another quadrature"),
    Case(f"Saliency, {CLASSES} targets", _few(_targets), _bound(0.5)),
    Case("NeuronGradient, early layer", _neuron_gradient, _bound(0.5)),
    Case(f"NeuronIntegratedGradients, early layer, {_LAYER_STEPS} steps", _few(_neuron_path)),
)
