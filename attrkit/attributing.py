"""One attribution from arguments to tensors: build the problem, isolate the model, run the method, check what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from attrkit.errors import AttrkitError, UsageError, UsageTypeError, warn
from attrkit.hookspecs import hookimpl
from attrkit.layers import LayerLike, ModuleLayer, Neuron, Selector, find_layer
from attrkit.problem import Arguments, Problem, matched
from attrkit.propagation import Row
from attrkit.protocols import Tensors
from attrkit.registry import registry
from attrkit.runner import Fit, Forward, Passes, Runner, Serial, isolated, root_of
from attrkit.specs import MethodSpec, Where
from attrkit.targets import Target


@attrs.frozen(kw_only=True)
class Request:
    """What a caller asks for, in the caller's terms."""

    model: Any
    arguments: Arguments
    target: Any = None
    baselines: Any = None
    layers: tuple[LayerLike, ...] = ()
    neuron: Selector | None = None
    io: Literal["input", "output"] = "output"
    rows: int | None = None
    seed: int = 0
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    progress: str = ""  # what a progress bar on stderr is called; empty for none

    @property
    def where(self) -> Where:
        """The kind of attribution."""
        return Where.NEURON if self.neuron is not None else Where.LAYER if self.layers else Where.INPUT


@attrs.frozen(kw_only=True)
class Answer:
    """What came of it. ``values`` holds one tensor per tensor at the site; ``layers`` says to which layer each belongs."""

    values: Tensors
    site: Tensors
    layers: tuple[tuple[ModuleLayer, int], ...]  # in the order of the site, and how many tensors each has
    target: Target
    output: Tensor | None = None
    baseline_output: Tensor | None = None
    delta: Tensor | None = None
    forward_passes: int = 0
    backward_passes: int = 0
    rules: tuple[Row, ...] = ()


class _Compute:
    """The innermost implementation of the hook around an attribution: the method itself."""

    @hookimpl(trylast=True)
    def attrkit_attribute(self, spec: MethodSpec, problem: Problem, options: Mapping[str, Any]) -> Tensors:
        result: Tensors = spec.function(problem, **options)
        return result


registry.manager.register(_Compute(), "attrkit.attributing")


def answer(spec: MethodSpec, request: Request, options: Mapping[str, Any], *, outputs: bool) -> Answer:
    """Run a method. ``outputs`` asks for the objective and the convergence delta too.

    Raises:
        UsageError: an argument is wrong; the message names it.
        AttrkitError: the method returned something else than one tensor per tensor at the site.
    """
    _check(spec, request)
    root = root_of(request.model)
    layers = tuple(find_layer(root, layer, request.io) for layer in request.layers)
    target = Target.of(request.target, len(request.arguments))
    resolved = spec.resolve(options)

    def compute(forward: Forward) -> Answer:
        offered = registry.manager.hook.attrkit_executor(model=request.model, devices=())
        passes = Passes(forward, request.grad_options)
        runner = Runner(passes, request.rows, offered or Serial(), request.progress)
        problem = _problem(spec, request, runner, layers, target)
        values = registry.manager.hook.attrkit_attribute(spec=spec, problem=problem, options=resolved)
        values = _checked(spec, problem, values)
        forwards, backwards, runner.progress = passes.forwards, passes.backwards, ""
        ends = _ends(spec, problem) if outputs else (None, None)
        return Answer(
            values=values,
            site=tuple(t.detach() for t in problem.point),
            layers=tuple((layer, passes.sizes[layer]) for layer in problem.layers),
            target=target,
            output=ends[0],
            baseline_output=ends[1],
            delta=None if problem.through else _delta(spec, _per_layer(problem, passes, values), *ends),
            forward_passes=forwards,
            backward_passes=backwards,
            rules=runner.report,
        )

    registry.load_hooks()
    return isolated(request.model, compute)


def fit(request: Request, ruleset: Any, parameters: Mapping[str, Any]) -> Fit:
    """How a ruleset would govern the operations of a model; costs a forward pass.

    Raises:
        RulesetError: the ruleset itself is not valid, or its parameters are not.
    """

    def compute(forward: Forward) -> Fit:
        runner = Runner(Passes(forward))
        return runner.fit(Problem(runner, request.arguments, Target()), ruleset, parameters)

    return isolated(request.model, compute)


def _check(spec: MethodSpec, request: Request) -> None:
    if request.where not in spec.where:
        places = ", ".join(sorted(spec.where))
        raise UsageError(f"method {spec.name!r} attributes to {places}, not to {request.where}; choose another method or place")
    if request.baselines is not None and spec.baseline == "none":
        raise UsageError(f"method {spec.name!r} takes no baselines")
    if request.baselines is None and spec.baseline == "required":
        raise UsageError(f"method {spec.name!r} needs baselines=, a tensor like the inputs with one or more rows")
    if request.rows is not None and (not isinstance(request.rows, int) or request.rows < 1):
        raise UsageError(f"internal_batch_size must be an integer of at least 1, or None, got {request.rows!r}")
    if type(request.seed) is not int:
        raise UsageTypeError(f"seed must be an integer, got {request.seed!r}")
    for name, tensor in zip(request.arguments.names, request.arguments.tensors, strict=True):
        if tensor.dim() == 0:
            raise UsageError(f"inputs: {name!r} is a single number; its first dimension must be the batch")


def _problem(spec: MethodSpec, request: Request, runner: Runner, layers: Sequence[ModuleLayer], target: Target) -> Problem:
    neuron = Neuron(layers[0], request.neuron) if request.neuron is not None else None
    at_site = spec.baseline_at == "site" and bool(layers) and neuron is None
    given = 0 if request.baselines is None else request.baselines
    return Problem(
        runner=runner,
        arguments=request.arguments,
        target=target,
        input_baseline=None if request.baselines is None or at_site else matched(given, request.arguments.tensors, "the input"),
        site_baseline=given if at_site else None,
        layers=() if neuron else tuple(layers),
        neuron=neuron if spec.neuron == "objective" else None,
        through=neuron if spec.neuron == "through" else None,
        seed=request.seed,
    )


def _checked(spec: MethodSpec, problem: Problem, values: Any) -> Tensors:
    site = problem.point
    fits = isinstance(values, tuple) and len(values) == len(site) and all(isinstance(v, Tensor) for v in values)
    if not fits or not all(_broadcasts(v, x) for v, x in zip(values, site, strict=True)):
        wanted = ", ".join(str(tuple(x.shape)) for x in site)
        got = (
            [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in values]
            if isinstance(values, tuple)
            else values
        )
        raise AttrkitError(f"method {spec.name!r} must return a tuple of tensors shaped {wanted}, it returned {got}")
    bad = sum(int((~v.isfinite()).sum()) for v in values)
    if bad:
        total = sum(v.numel() for v in values)
        warn(f"{spec.name}: {bad} of {total} attributions are not finite")
    return tuple(v.detach() for v in values)


def _broadcasts(value: Tensor, site: Tensor) -> bool:
    """Whether a value has the site's shape, apart from dimensions that it summed up and kept as one."""
    return value.dim() == site.dim() and all(have in (1, size) for have, size in zip(value.shape, site.shape, strict=True))


def _ends(spec: MethodSpec, problem: Problem) -> tuple[Tensor, Tensor | None]:
    """The objective at the point and, where the method compares with one, at the baseline."""
    if problem.site_baseline is None:
        problem = attrs.evolve(problem, layers=())
    if spec.baseline == "none":
        return problem.value(), None
    point, baseline = problem.values([problem.point, problem.baseline])
    return point, baseline


def _per_layer(problem: Problem, passes: Passes, values: Tensors) -> list[Tensors]:
    """The values of each layer of the site, or all of them where the site is the inputs."""
    rest = iter(values)
    return [tuple(islice(rest, passes.sizes[layer])) for layer in problem.layers] or [values]


def _delta(spec: MethodSpec, sites: list[Tensors], output: Tensor | None, baseline_output: Tensor | None) -> Tensor | None:
    """Sum of the attributions minus the change of the objective, shape (batch,); (layers, batch) for several layers.

    None where the method promises no such sum, or a layer's rows are not the examples.
    """
    if output is None or spec.complete == "no":
        return None
    change = output if baseline_output is None else output - baseline_output
    if any(len(v) not in (1, len(change)) for values in sites for v in values):
        return None
    deltas = [sum((v.flatten(1).sum(1) for v in values), torch.zeros_like(change)) - change for values in sites]
    return deltas[0] if len(deltas) == 1 else torch.stack(deltas)


def arguments_of(model: Any, inputs: Any, extra: Any = ()) -> Arguments:
    """Read the inputs of a model: a tensor, a tuple of tensors, or a mapping of keyword arguments.

    Raises:
        UsageTypeError: they are none of these, or hold no tensor.
    """
    if isinstance(inputs, Mapping):
        given = {k: v for k, v in inputs.items() if isinstance(v, Tensor)}
        attributed = {k: v for k, v in given.items() if v.is_floating_point()} or given
        if not attributed:
            raise UsageTypeError("inputs is a mapping without tensors; give the tensors to explain by argument name")
        fixed = {k: v for k, v in inputs.items() if k not in attributed}
        return Arguments(tuple(attributed), tuple(attributed.values()), keyword=True, extra=_extra(extra), fixed=fixed)
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            where = f"inputs[{i}]" if isinstance(inputs, tuple) else "inputs"
            raise UsageTypeError(f"{where} must be a tensor, got {type(tensor).__name__}; convert it with torch.as_tensor")
    if not tensors:
        raise UsageTypeError("inputs is an empty tuple; give at least one tensor")
    return Arguments(input_names(model, len(tensors)), tensors, extra=_extra(extra))


def _extra(extra: Any) -> tuple[Any, ...]:
    if extra is None:
        return ()
    return extra if isinstance(extra, tuple) else (extra,)


def input_names(model: Any, count: int) -> tuple[str, ...]:
    """What the model calls its first arguments; ``input_0`` and so on where it does not say."""
    root = root_of(model)
    try:
        signature = inspect.signature(model if root is None else root.forward)
    except (TypeError, ValueError):  # written in C
        signature = inspect.Signature()
    names = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return tuple(names[:count]) if len(names) >= count else tuple(f"input_{i}" for i in range(count))
