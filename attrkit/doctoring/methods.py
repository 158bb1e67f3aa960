"""Trying a method: at the inputs, or else where its declaration says that it can attribute to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from attrkit.attributing import Request, answer
from attrkit.doctoring.diagnosis import MethodFinding
from attrkit.doctoring.examination import Examined
from attrkit.doctoring.trial import ROWS, Outcome, tried
from attrkit.specs import MethodSpec, Where


def method_finding(name: str, spec: MethodSpec, examined: Examined, baselines: Any, seed: int) -> MethodFinding:
    """Whether a method explains the model; the first place where it does is the one."""
    cost = f"{spec.forward_passes} forward, {spec.backward_passes} backward"
    compared: Mapping[str, Any] = {} if baselines is None or not spec.compares else {"baselines": baselines}
    lacking: Mapping[str, str] = {}
    if spec.baseline == "required" and baselines is None:
        compared = {"baselines": tuple(torch.zeros_like(t[:1]) for t in examined.arguments.tensors)}
        lacking = {"baselines": "... (here zeros)"}
    reasons: list[str] = []
    for place in _places(spec, examined):
        done = _tried(spec, examined, seed, {**place, **compared})
        if done.works:
            given = {**place, **lacking}
            return MethodFinding(name, works=True, given=given, reasons=tuple(reasons), notes=done.notes, cost=cost)
        reasons += [problem for problem in done.problems[:1] if problem not in reasons]
    missing = "to which a gradient comes back, " if spec.gradient else ""
    none = f"it attributes to layers, and none was found {missing}that runs and passes on real numbers; pass layer="
    return MethodFinding(name, works=False, reasons=tuple(reasons) or (none,), cost=cost)


def _places(spec: MethodSpec, examined: Examined) -> Iterator[dict[str, Any]]:
    """Where to try: at the inputs, then at layers, then what neurons look at."""
    if Where.INPUT in spec.where:
        yield {}
    for layer in examined.reached if spec.gradient else examined.layers:
        if Where.LAYER in spec.where:
            yield {"layer": layer}
        elif Where.NEURON in spec.where:
            yield {"layer": layer, "neuron": _first_neuron}


def _first_neuron(value: Any) -> Any:
    """The first neuron of a layer, whatever the layer passes on."""
    return (value[0] if isinstance(value, tuple) else value).flatten(1)[:, 0]


def _tried(spec: MethodSpec, examined: Examined, seed: int, given: Mapping[str, Any]) -> Outcome[Any]:
    request = Request(
        model=examined.model,
        arguments=examined.arguments,
        target=examined.target,
        baselines=given.get("baselines"),
        layers=(examined.layers[given["layer"]],) if "layer" in given else (),
        neuron=given.get("neuron"),
        rows=ROWS,
        seed=seed,
        together=False,
    )
    return tried(partial(answer, spec, request, {}, outputs=False))
