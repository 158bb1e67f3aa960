"""One attribution from arguments to tensors: build the problem, isolate the model, run the method, check what it returns."""

from __future__ import annotations

import inspect
from cmath import isfinite
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, cast

import attrs
import torch
from torch import Tensor

from attrkit.arguments import Arguments
from attrkit.baselines import distribution
from attrkit.completeness import drawn_ends, ends, gaps
from attrkit.errors import AttrkitError, UsageError, UsageTypeError, warn
from attrkit.hookspecs import hookimpl
from attrkit.layers import LayerLike, ModuleLayer, Neuron, Selector, find_layers, matching_layers
from attrkit.problem import Objective, Problem
from attrkit.propagation import Row
from attrkit.protocols import Tensors
from attrkit.registry import registry
from attrkit.runner import (
    ROWS,
    ApartError,
    Fit,
    Forward,
    Passes,
    Runner,
    Serial,
    Sharing,
    Threads,
    UnsharedError,
    isolated,
    replicated,
    root_of,
)
from attrkit.specs import MethodSpec, Where
from attrkit.targets import Target
from attrkit.wrapping import Wrapped


@attrs.frozen(kw_only=True)
class Request:
    """What a caller asks for, in the caller's terms."""

    model: Any
    arguments: Arguments
    target: Any = None
    baselines: Any = None
    layers: tuple[LayerLike, ...] = ()
    patterns: tuple[str, ...] = ()  # of the paths of further layers: those that run and pass on real numbers
    neuron: Selector | None = None
    io: Literal["input", "output"] = "output"
    rows: int | None = None
    seed: int = 0
    first: int = 0  # the number of the first example; see Problem
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    progress: str = ""  # what a progress bar on stderr is called; empty for none
    per_sample: bool = False  # whether the convergence delta of a wrapped method is wanted for each sample
    together: bool = True  # see Problem
    devices: tuple[torch.device, ...] = ()  # where replicas of the model compute; where it is, if there are none
    compiled: bool = False  # by torch's compiler

    @property
    def where(self) -> Where:
        """The kind of attribution."""
        return Where.NEURON if self.neuron is not None else Where.LAYER if self.layers or self.patterns else Where.INPUT


@attrs.frozen(kw_only=True)
class Answer:
    """What came of it. ``values`` holds one tensor per tensor at the site; ``layers`` says to which layer each belongs."""

    values: Tensors
    site: Tensors
    names: tuple[str, ...]  # of the attributed inputs, or of what attributions are to instead
    layers: tuple[tuple[ModuleLayer, int], ...]  # in the order of the site, and how many tensors each has
    target: Target
    output: Tensor | None = None
    baseline_output: Tensor | None = None
    delta: Tensor | None = None
    forward_passes: int = 0
    backward_passes: int = 0
    rows_per_pass: int = 0  # at most
    rules: tuple[Row, ...] = ()
    errors: Tensors = ()  # standard errors of sampled values, of their shape
    details: Mapping[str, Any] = attrs.field(factory=dict)  # what the method found out beside attributions


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
    return answers(spec, [request], options, outputs=outputs)[0]


def answers(spec: MethodSpec, requests: Sequence[Request], options: Mapping[str, Any], *, outputs: bool) -> list[Answer]:
    """Run a method for requests that differ in target or neuron only, on the same forward passes.

    Raises:
        UsageError: an argument is wrong; the message names it.
        AttrkitError: the method returned something else than one tensor per tensor at the site.
    """
    request = requests[0]
    for each in requests:
        _check(spec, each)
    root = root_of(request.model) if request.layers or request.patterns else None
    layers = find_layers(root, request.layers, request.io)
    more = [layer for pattern in request.patterns for layer in matching_layers(root, pattern, request.io)]
    resolved = spec.resolve(options)

    def compute(forward: Forward) -> list[Answer]:
        hook = registry.manager.hook.attrkit_executor
        offered = hook(model=request.model, devices=tuple(map(str, devices))) if hook.get_hookimpls() else None
        executor = offered or (Threads(len(devices)) if len(devices) > 1 else Serial())
        passes = Passes(forward, request.grad_options, (request.rows or ROWS) if request.compiled else 0)
        runner = Runner(passes, len(request.arguments), request.rows, max(1, len(devices)), executor, request.progress)
        runner.gaps = [] if request.per_sample else None
        alone = len(requests) == 1 and not layers  # then whatever runs first tells which layers there are
        first = _problem(spec, request, runner, _site(request, layers, more, None if alone else passes))
        first.unsure = alone and bool(more)
        first.keeps_outputs = outputs and spec.objective
        problems = [first, *(_aimed(spec, first, each) for each in requests[1:])]
        try:
            return _all_answered(spec, problems, runner, resolved)
        except ApartError:
            apart = [[attrs.evolve(p, layers=(layer,)) for layer in p.layers] for p in problems]
            each = [_all_answered(spec, list(of_layer), runner, resolved) for of_layer in zip(*apart, strict=True)]
            return [_of_layers(answers) for answers in zip(*each, strict=True)]

    registry.load_hooks()
    devices = request.devices or replicated(request.model)
    return isolated(request.model, compute, devices)


def _site(
    request: Request, layers: Sequence[ModuleLayer], more: Sequence[ModuleLayer], passes: Passes | None
) -> Sequence[ModuleLayer]:
    """The layers, and more of them, each once: all of these, or as ``passes`` find out those that run."""
    return tuple(dict.fromkeys((*layers, *(passes.running(request.arguments, more) if passes and more else more))))


def _all_answered(spec: MethodSpec, problems: list[Problem], runner: Runner, options: Mapping[str, Any]) -> list[Answer]:
    if len(problems) > 1 and not problems[0].through:
        try:
            return _together(spec, problems, runner, options)
        except UnsharedError:
            runner.counts.clear()
    return [_answered(spec, problem, runner, options) for problem in problems]


def _of_layers(answers: Sequence[Answer]) -> Answer:
    """One answer from those for single layers."""
    deltas = [a.delta for a in answers if a.delta is not None]
    return attrs.evolve(
        answers[-1],
        values=tuple(v for a in answers for v in a.values),
        site=tuple(t for a in answers for t in a.site),
        layers=tuple(layer for a in answers for layer in a.layers),
        delta=torch.stack(deltas) if len(deltas) == len(answers) else None,
    )


def _answered(spec: MethodSpec, problem: Problem, runner: Runner, options: Mapping[str, Any]) -> Answer:
    values = registry.manager.hook.attrkit_attribute(spec=spec, problem=problem, options=options)
    values = _checked(spec, problem, values)
    forwards, backwards, runner.progress = runner.passes_run("forward"), runner.passes_run("backward"), ""
    drawn = spec.distribution or (isinstance(spec, Wrapped) and spec.complete == "no")
    drawn = drawn and "baseline" not in problem.outputs  # which is that of the whole distribution, where there is one
    output, baseline_output = ends(problem, compared=spec.compares and not drawn) if problem.keeps_outputs else (None, None)
    counts = [runner.passes.sizes[layer] for layer in problem.layers]
    delta = None
    if runner.gaps:
        delta = torch.stack(runner.gaps, 1).flatten(0, 1)
        delta = delta.T if delta.dim() == 2 else delta  # of several layers these first
    elif runner.gaps is not None and spec.distribution and spec.complete != "no":
        delta = gaps(values, counts or [len(values)], *drawn_ends(problem))
    elif output is not None and spec.complete != "no" and runner.adds_up and not (problem.through or drawn):
        scores = problem.details.get("scores")  # of features, of which each has its score at all of its positions
        summed = values if scores is None else (scores.to(output),)
        delta = gaps(summed, counts or [len(values)] if scores is None else [1], output, baseline_output)
    return Answer(
        values=values,
        names=("features",) if spec.lands == "features" else problem.arguments.names,
        site=tuple([t.detach() if t.requires_grad else t for t in problem.point]),
        layers=tuple(zip(problem.layers, counts, strict=True)) if spec.lands == "site" else (),
        target=problem.target,
        output=output,
        baseline_output=baseline_output,
        delta=delta,
        forward_passes=forwards,
        backward_passes=backwards,
        rows_per_pass=max(runner.passes.rows, default=0),
        rules=runner.report,
        errors=problem.errors,
        details=problem.details,
    )


def _together(spec: MethodSpec, problems: list[Problem], runner: Runner, options: Mapping[str, Any]) -> list[Answer]:
    """The answers for several objectives, from one problem whose batch has a copy for each."""
    base = attrs.evolve(problems[0], objectives=tuple(Objective(p.target, p.neuron) for p in problems))
    copies = Sharing.problem(runner, base)
    n = len(base.arguments)
    whole = _answered(spec, copies, runner, {k: copies.for_rows(v, n) for k, v in options.items()})

    def part(k: int, t: Tensor | None, dim: int = 0) -> Tensor | None:
        return t if t is None or t.shape[dim] != n * len(problems) else t.narrow(dim, k * n, n)

    def one(k: int) -> Answer:
        return attrs.evolve(
            whole,
            values=tuple(cast("Tensor", part(k, v)) for v in whole.values),
            site=tuple(cast("Tensor", part(k, t)) for t in whole.site),
            target=problems[k].target,
            output=part(k, whole.output),
            baseline_output=part(k, whole.baseline_output),
            delta=part(k, whole.delta, dim=-1),
            rules=cast("Sharing", copies.runner).reports.get(k, whole.rules),
            errors=tuple(cast("Tensor", part(k, e)) for e in whole.errors),
            details={name: part(k, v) if isinstance(v, Tensor) and v.dim() else v for name, v in whole.details.items()},
        )

    return list(map(one, range(len(problems))))


def fit(request: Request, ruleset: Any, parameters: Mapping[str, Any]) -> Fit:
    """How a ruleset would govern the operations of a model; costs a forward pass.

    Raises:
        RulesetError: the ruleset itself is not valid, or its parameters are not.
    """

    def compute(forward: Forward) -> Fit:
        runner = Runner(Passes(forward), len(request.arguments))
        return runner.fit(Problem(runner, request.arguments, Target()), ruleset, parameters)

    return isolated(request.model, compute)


def propagated(request: Request, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Row, ...]:
    """What governs each operation where a ruleset's rules run on a model; costs what the rules cost.

    Raises:
        RulesetError: the ruleset is not valid, or does not fit the model, or its parameters are not.
        UsageError: a rule refuses its options.
    """
    layers = find_layers(root_of(request.model), request.layers, request.io)

    def compute(forward: Forward) -> tuple[Row, ...]:
        runner = Runner(Passes(forward), len(request.arguments))
        target = Target.of(request.target, len(request.arguments))
        Problem(runner, request.arguments, target, layers=layers).propagate(ruleset, parameters)
        return runner.report

    return isolated(request.model, compute)


def _check(spec: MethodSpec, request: Request) -> None:
    if request.where not in spec.where:
        places = ", ".join(sorted(spec.where))
        raise UsageError(f"method {spec.name!r} attributes to {places}, not to {request.where}; choose another method or place")
    if request.baselines is not None and spec.baseline == "none":
        raise UsageError(f"method {spec.name!r} takes no baselines")
    if request.baselines is None and spec.baseline == "required":
        raise UsageError(f"method {spec.name!r} needs baselines=, a tensor like the inputs with one or more rows")
    if request.rows is not None and (type(request.rows) is not int or request.rows < 1):
        raise UsageError(f"internal_batch_size must be an integer of at least 1, or None, got {request.rows!r}")
    if type(request.seed) is not int:
        raise UsageTypeError(f"seed must be an integer, got {request.seed!r}")
    if type(request.first) is not int or request.first < 0:
        raise UsageError(f"first_example must be an integer of at least 0, the number of the first row, got {request.first!r}")
    if len({layer if isinstance(layer, str) else id(layer) for layer in request.layers}) != len(request.layers):
        raise UsageError("layer: one of the layers is named twice; name each once")
    _check_grad_options(request.grad_options)
    for name, tensor in zip(request.arguments.names, request.arguments.tensors, strict=True):
        if tensor.dim() == 0:
            raise UsageError(f"inputs: {name!r} is a single number; its first dimension must be the batch")


@cache
def _grad_options() -> frozenset[str]:
    own = {"outputs", "inputs", "grad_outputs", "is_grads_batched"}
    return frozenset(inspect.signature(torch.autograd.grad).parameters.keys() - own)


def _check_grad_options(given: Any) -> None:
    if type(given) is dict and not given:
        return
    known = _grad_options()
    if not isinstance(given, Mapping) or given.keys() - known:
        raise UsageTypeError(
            f"grad_kwargs must be a mapping of {', '.join(sorted(known))}, as of torch.autograd.grad, got {given!r}"
        )


def _problem(spec: MethodSpec, request: Request, runner: Runner, layers: Sequence[ModuleLayer]) -> Problem:
    neuron = Neuron(layers[0], request.neuron) if request.neuron is not None else None
    at_site = spec.baseline_at == "site" and bool(layers) and neuron is None
    given = 0 if request.baselines is None else request.baselines
    inputs = request.arguments.tensors
    return Problem(
        runner=runner,
        arguments=request.arguments,
        target=Target.of(request.target, len(request.arguments)),
        input_baseline=None if at_site or spec.distribution else request.baselines,
        site_baseline=given if at_site else None,
        background=distribution(given, inputs) if spec.distribution else None,
        layers=() if neuron else tuple(layers),
        neuron=neuron if spec.neuron == "objective" else None,
        through=neuron if spec.neuron == "through" else None,
        seed=request.seed,
        first=request.first,
        together=request.together,
        compares=spec.compares,
        every=spec.outputs == "every" and neuron is None,
    )


def _aimed(spec: MethodSpec, problem: Problem, request: Request) -> Problem:
    """The same problem with the target and the neuron of another request."""
    seen = problem.neuron or problem.through
    neuron = Neuron(seen.layer, request.neuron) if seen is not None and request.neuron is not None else None
    return attrs.evolve(
        problem,
        target=Target.of(request.target, len(request.arguments)),
        neuron=neuron if spec.neuron == "objective" else None,
        through=neuron if spec.neuron == "through" else None,
    )


def _checked(spec: MethodSpec, problem: Problem, values: Any) -> Tensors:
    site = problem.point if spec.lands == "site" else problem.inputs
    several = problem.every and problem.target.index is None and problem.target.rows is None
    if spec.lands == "features":
        fits = isinstance(values, tuple) and len(values) == 1 and isinstance(values[0], Tensor) and values[0].dim() == 2
        site = values if fits else ()
    else:
        fits = _fits(values, site, None if several else 0)
    if not fits:
        wanted = "(rows, features)" if spec.lands == "features" else ", ".join(str(tuple(x.shape)) for x in site)
        got = (
            [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in values]
            if isinstance(values, tuple)
            else values
        )
        raise AttrkitError(f"method {spec.name!r} must return a tuple of tensors shaped {wanted}, it returned {got}")
    found: Tensors = tuple([v.detach() if v.requires_grad else v for v in values])
    # one reading; the sum of finite numbers may be too large, so look again
    if not all(isfinite(v.sum().item()) for v in found):
        bad = sum(int((~v.isfinite()).sum()) for v in found)
        if bad:
            warn(f"{spec.name}: {bad} of {sum(v.numel() for v in found)} attributions are not finite")
    if not spec.gradient:
        return found
    return tuple(v.to(x.dtype) if x.is_floating_point() else v for v, x in zip(found, site, strict=True))


def _fits(values: Any, site: Tensors, outputs: int | None) -> bool:
    """Whether values are tensors of the site's shapes, apart from dimensions that were summed up and kept as one.

    After the batch they have as many dimensions more as there are of ``outputs``; None for any number.
    """
    if not isinstance(values, tuple) or len(values) != len(site):
        return False
    for value, x in zip(values, site, strict=True):
        more = value.dim() - x.dim() if isinstance(value, Tensor) else -1
        if more < 0 or outputs not in (None, more):
            return False
        shape = (*value.shape[:1], *value.shape[1 + more :])
        if shape != x.shape and any(have not in (1, size) for have, size in zip(shape, x.shape, strict=True)):
            return False
    return True
