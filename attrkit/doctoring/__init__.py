"""``attrkit.doctor``: what will work on a model with some inputs, what will not, and what would mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrkit.doctoring.diagnosis import Diagnosis as Diagnosis
from attrkit.doctoring.diagnosis import Fallen as Fallen
from attrkit.doctoring.diagnosis import MethodFinding as MethodFinding
from attrkit.doctoring.diagnosis import RulesetFinding as RulesetFinding
from attrkit.doctoring.examination import described, examined
from attrkit.doctoring.methods import method_finding
from attrkit.doctoring.rulesets import ruleset_finding
from attrkit.errors import UsageError, UsageTypeError
from attrkit.layers import LayerLike
from attrkit.reading import arguments_of
from attrkit.registry import registry
from attrkit.runner import root_of
from attrkit.specs import MethodSpec
from attrkit.targets import TargetLike


def doctor(
    model: Any,
    inputs: Tensor | tuple[Tensor, ...] | Mapping[str, Any],
    *,
    target: TargetLike = None,
    baselines: Any = None,
    layer: LayerLike | None = None,
    additional_forward_args: Any = None,
    methods: Sequence[str] | None = None,
    rulesets: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Say which methods and rulesets will work on a model with these inputs, and what would mend those that will not.

    Everything is tried for a few passes with two of the examples; the model stays as it is. Print what is returned.

    Args:
        model, inputs, additional_forward_args: as of :func:`attrkit.explain`.
        target: which output to explain in the trials; None takes each example's largest.
        baselines: what methods that compare are given; None leaves that to each.
        layer: where methods that cannot attribute to the inputs are tried; None tries a few.
        methods: the methods to try, by name; None tries all that are installed.
        rulesets: the rulesets to try, names or files; None tries all that are installed.
        parameters: values for the parameters of rulesets, by name; each takes those that it has.
        seed: of every random draw.

    Raises:
        UsageError: an argument is wrong, or names what is not there.
        PluginUnavailable: the plugin that provides a method is broken.
    """
    for name, given in (("methods", methods), ("rulesets", rulesets)):
        if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
            raise UsageTypeError(f"{name} must be a list of names, or None for all, got {given!r}")
    if not isinstance(parameters or {}, Mapping):
        raise UsageTypeError(f"parameters must be a mapping from names to values, got {type(parameters).__name__}")
    arguments = arguments_of(model, inputs, additional_forward_args)
    for name, tensor in zip(arguments.names, arguments.tensors, strict=True):
        if not tensor.dim() or not len(tensor):
            raise UsageError(f"inputs: {name!r} has shape {tuple(tensor.shape)}; expected a batch of at least one example")
    specs: Mapping[str, MethodSpec] = registry.all("methods") if methods is None else {m: registry.method(m) for m in methods}
    sources = registry.rulesets() if rulesets is None else rulesets
    kind, found = _kind(model), examined(model, arguments, target, layer)
    tried = found.healthy
    return Diagnosis(
        model=kind,
        inputs={name: described(t) for name, t in zip(arguments.names, arguments.tensors, strict=True)},
        output=found.output,
        target=None if found.target is None else found.target.to_json(),
        layer=next(iter(found.layers), ""),
        healthy=found.healthy,
        notes=found.notes,
        methods=tuple(method_finding(n, s, found, baselines, seed) for n, s in specs.items()) if tried else (),
        rulesets=tuple(ruleset_finding(s, found, parameters or {}, kind) for s in sources) if tried else (),
    )


def _kind(model: Any) -> str:
    """What a model is called."""
    root = root_of(model)
    return type(root).__name__ if root is not None else getattr(model, "__qualname__", type(model).__name__)
