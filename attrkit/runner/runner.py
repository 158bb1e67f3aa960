"""Executing model calls for a problem: how many points share a forward pass, what is tapped, what is differentiated."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice, repeat
from typing import Any

import attrs
import torch
from torch import Tensor
from tqdm import tqdm

from attrkit.errors import UsageError, UsageTypeError
from attrkit.layers import ModuleLayer
from attrkit.problem import Problem
from attrkit.propagation import Rewriter, Row, bound
from attrkit.protocols import Executor, Tensors
from attrkit.runner.executors import Serial
from attrkit.runner.isolation import Forward
from attrkit.runner.taps import Tap, leaf_of, place
from attrkit.targets import output_tensor

_ROWS = 32  # of a forward pass whose batch is smaller: per-row cost falls until about there on a CPU


class _UnpackableError(Exception):
    """Points cannot share a forward pass: what came back does not have one row per example."""


@attrs.frozen
class Outcome:
    """What one point gave: the objective, the site's value and the objective's gradient (or relevance) there."""

    value: Tensor
    at: Tensors = ()
    gradient: Tensors = ()

    @classmethod
    def joined(cls, parts: list[Outcome]) -> Outcome:
        """The outcome for a batch from those of its parts."""
        if len(parts) == 1:
            return parts[0]
        at, gradient = (
            tuple(map(torch.cat, zip(*each, strict=True))) for each in ([p.at for p in parts], [p.gradient for p in parts])
        )
        return cls(torch.cat([p.value for p in parts]), at, gradient)

    def split(self, copies: int, rows: int) -> list[Outcome]:
        """The outcome of each of ``copies`` points that shared a pass."""
        if copies == 1:
            return [self]
        if any(len(t) != copies * rows for t in (self.value, *self.at)):
            raise _UnpackableError
        at = zip(*(t.split(rows) for t in self.at), strict=True) if self.at else repeat(())
        gradient = zip(*(t.split(rows) for t in self.gradient), strict=True) if self.gradient else repeat(())
        return [Outcome(*parts) for parts in zip(self.value.split(rows), at, gradient, strict=False)]


@attrs.define
class Runner:
    """Runs the passes of one attribution. ``rows`` bounds the rows of one forward pass; None leaves that to attrkit."""

    forward: Forward
    rows: int | None = None
    executor: Executor = attrs.field(factory=Serial)
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    progress: str = ""  # what a progress bar on stderr is called; empty for none
    forward_passes: int = 0  # in batches: a pass over k points counts k
    backward_passes: int = 0
    sizes: dict[ModuleLayer, int] = attrs.field(factory=dict)  # how many tensors each layer of the site passes on
    report: tuple[Row, ...] = ()  # what governed each operation, after a propagation

    # What a problem asks for.

    def read(self, problem: Problem, inputs: Tensors) -> Tensors:
        """The site's value for these inputs."""
        whole = slice(0, len(problem.arguments))
        with torch.no_grad(), ExitStack() as stack:
            taps = self._tapped(problem, stack, Tap)
            self._call(problem, inputs, 1, whole)
        return self._captured(taps)

    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]:
        """The objective at each value of the site."""
        for outcome in self._shown(self._stream(problem, points, self._value), total):
            yield outcome.value

    def grads(
        self, problem: Problem, points: Iterable[Tensors], *, moving_inputs: bool = False, total: int | None = None
    ) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
        """Objective, site value and gradient at each value of the site (or of the inputs, where those move)."""
        moves_inputs = moving_inputs or not problem.layers

        def one(problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
            return self._gradient(problem, tensors, copies, part, moves_inputs=moves_inputs)

        for outcome in self._shown(self._stream(problem, points, one), total):
            yield outcome.value, outcome.at, outcome.gradient

    def _shown(self, outcomes: Iterator[Outcome], total: int | None) -> Iterator[Outcome]:
        return iter(tqdm(outcomes, desc=self.progress, total=total, file=sys.stderr)) if self.progress else outcomes

    def propagate(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensors]:
        """Objective and relevance at the site, for the inputs."""
        rules = bound(ruleset, parameters)
        if rules.binding.needs_plan():
            self._planned(problem, rules)

        def one(problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
            return self._gradient(problem, tensors, copies, part, moves_inputs=True, rules=rules)

        outcome = next(iter(self._stream(problem, [problem.inputs], one)))
        self.report = tuple(rules.report)
        problem.__dict__.setdefault("point", outcome.at)
        return outcome.value, outcome.gradient

    def _planned(self, problem: Problem, rules: Rewriter) -> None:
        """One forward pass that only settles which operations are the last ones, or how deep each is."""
        with torch.enable_grad(), rules.active(self.forward.root, self.forward.guard) as gate:
            leaves = tuple(t.clone().requires_grad_(t.is_floating_point()) for t in problem.inputs)
            self._call(problem, tuple(gate(t) if t.requires_grad else t for t in leaves), 1, slice(0, len(problem.arguments)))
        rules.plan()

    # Packing.

    def _stream(
        self, problem: Problem, points: Iterable[Tensors], one: Callable[[Problem, Tensors, int, slice], Outcome]
    ) -> Iterator[Outcome]:
        n = len(problem.arguments)
        limit = self.rows or max(n, _ROWS)
        together = 1 if self.forward.training else max(1, limit // max(n, 1))
        stream = iter(points)
        groups = iter(lambda: list(islice(stream, together)), [])

        def do(group: list[Tensors]) -> list[Outcome]:
            try:
                return self._packed(problem, group, n, limit, one)
            except _UnpackableError:
                return [one(problem, point, 1, slice(0, n)) for point in group]

        for outcomes in self.executor.run(groups, do):
            yield from outcomes

    def _packed(
        self,
        problem: Problem,
        group: list[Tensors],
        n: int,
        limit: int,
        one: Callable[[Problem, Tensors, int, slice], Outcome],
    ) -> list[Outcome]:
        """Several points in one pass, or one point in several when the batch alone is above the limit."""
        if (len(group) > 1 or n > limit) and any(len(t) != n for point in group for t in point):
            raise _UnpackableError
        if n <= limit or self.forward.training:
            tensors = group[0] if len(group) == 1 else tuple(map(torch.cat, zip(*group, strict=True)))
            return one(problem, tensors, len(group), slice(0, n)).split(len(group), n)
        parts = [slice(low, min(low + limit, n)) for low in range(0, n, limit)]
        pieces = [one(problem, tuple(t[part] for t in group[0]), 1, part) for part in parts]
        if any(
            len(t) != part.stop - part.start
            for piece, part in zip(pieces, parts, strict=True)
            for t in (piece.value, *piece.at)
        ):
            raise _UnpackableError
        return [Outcome.joined(pieces)]

    # One pass.

    def _value(self, problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
        with torch.no_grad(), ExitStack() as stack:
            inputs = self._replacing(problem, tensors, copies, part, stack)[1] if problem.layers else tensors
            neuron = self._neuron(problem, stack)
            output = self._call(problem, tuple(t.clone() for t in inputs), copies, part)
            return Outcome(self._objective(problem, output, neuron, copies, part))

    def _gradient(
        self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, moves_inputs: bool, rules: Rewriter | None = None
    ) -> Outcome:
        """Value, site and gradient of one pass over ``copies`` points of a part of the batch."""
        with torch.enable_grad(), ExitStack() as stack:
            onward = stack.enter_context(rules.active(self.forward.root, self.forward.guard)) if rules else torch.clone
            taps: list[Tap] = []
            at: Tensors = ()
            if not problem.layers:
                at = tuple(self._leaf(name, t) for name, t in zip(problem.arguments.names, tensors, strict=True))
                inputs = tuple(map(onward, at))
            elif moves_inputs:
                taps = self._tapped(problem, stack, lambda layer: Tap(layer, leaves=True, onward=onward))
                inputs = tuple(t.clone() for t in tensors)
            else:
                taps, inputs = self._replacing(problem, tensors, copies, part, stack, leaves=True)
            neuron = self._neuron(problem, stack)
            output = self._call(problem, inputs, copies, part)
            at = self._captured(taps) if taps else at
            value = self._objective(problem, output, neuron if problem.neuron else None, copies, part)
            if rules:
                rules.audit(value)
            gradient = self._differentiated(problem, value, at, neuron)
        self.backward_passes += copies * bool(part.start == 0)
        return Outcome(value.detach(), tuple(t.detach() for t in at), gradient)

    def _call(self, problem: Problem, inputs: Tensors, copies: int, part: slice) -> Any:
        args, kwargs = problem.arguments.call(inputs, copies, part)
        self.forward_passes += copies * bool(part.start == 0)
        return self.forward(*args, **kwargs)

    @staticmethod
    def _objective(problem: Problem, output: Any, neuron: Tap | None, copies: int, part: slice) -> Tensor:
        rows = copies * (part.stop - part.start)
        if problem.neuron and neuron:
            return problem.neuron.pick(neuron.captured())
        value = problem.target.tile(copies, part).choose(output_tensor(output), rows)
        if len(value) != rows and (len(value) != 1 or copies > 1 or part != slice(0, len(problem.arguments))):
            raise _UnpackableError
        return value

    def _differentiated(self, problem: Problem, value: Tensor, at: Tensors, neuron: Tap | None) -> Tensors:
        if not value.requires_grad:
            raise UsageError(
                "the model's output does not depend on the inputs in a way that torch can differentiate (detached, computed "
                "under no_grad, or by operations on integers); use a method that needs no gradient, like feature_ablation"
            )
        if problem.through and neuron:
            seen = neuron.captured()
            upper = torch.autograd.grad(value.sum(), seen, retain_graph=True, allow_unused=True, materialize_grads=True)
            seeds = tuple(m * g for m, g in zip(problem.through.mask(seen), upper, strict=True))
            lower = [(v, s) for v, s in zip(seen, seeds, strict=True) if v.requires_grad]
            if not lower:
                return tuple(map(torch.zeros_like, at))
            outputs, cotangents = zip(*lower, strict=True)
            options = {"allow_unused": True, "materialize_grads": True, **self.grad_options}
            return torch.autograd.grad(outputs, at, cotangents, **options)
        options = {"allow_unused": True, "materialize_grads": True, **self.grad_options}
        return torch.autograd.grad(value.sum(), at, **options)

    @staticmethod
    def _leaf(name: str, tensor: Tensor) -> Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise UsageTypeError(
                f"inputs: {name!r} has dtype {tensor.dtype}, at which no gradient can be taken; attribute to a layer (for tokens, "
                "layer= the embedding), or use a method that needs no gradient, like feature_ablation"
            )
        return leaf_of((tensor.clone() if tensor.is_inference() else tensor).detach())

    # Taps.

    def _tapped(self, problem: Problem, stack: ExitStack, tap: Callable[[ModuleLayer], Tap]) -> list[Tap]:
        taps = [tap(layer) for layer in problem.layers]
        place(self.forward, taps, stack)
        return taps

    def _captured(self, taps: list[Tap]) -> Tensors:
        self.sizes = {tap.layer: len(tap.captured()) for tap in taps}
        return tuple(t for tap in taps for t in tap.captured())

    def _replacing(
        self, problem: Problem, tensors: Tensors, copies: int, part: slice, stack: ExitStack, *, leaves: bool = False
    ) -> tuple[list[Tap], Tensors]:
        """Taps that put ``tensors`` in place of the site's value, and the inputs to call the model with."""
        rest = iter(tensors)
        taps = [Tap(layer, tuple(islice(rest, self.sizes[layer])), leaves=leaves) for layer in problem.layers]
        place(self.forward, taps, stack)
        inputs = tuple(t[part].repeat(copies, *[1] * (t.dim() - 1)) for t in problem.inputs)
        return taps, inputs

    def _neuron(self, problem: Problem, stack: ExitStack) -> Tap | None:
        neuron = problem.neuron or problem.through
        if neuron is None:
            return None
        tap = Tap(neuron.layer)
        place(self.forward, [tap], stack)
        return tap
