"""One forward pass, and where asked one backward pass: what is tapped, what is differentiated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import ModelError, UsageError, UsageTypeError, warn
from attrkit.layers import ModuleLayer
from attrkit.problem import Problem
from attrkit.propagation import Rewriter
from attrkit.protocols import Tensors
from attrkit.runner.isolation import Forward
from attrkit.runner.packing import Outcome, UnpackableError
from attrkit.runner.taps import Tap, leaf_of, place
from attrkit.targets import output_tensor


@attrs.define
class Passes:
    """Runs single passes of a problem's model and counts them, in batches: a pass over k points counts k."""

    forward: Forward
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    forwards: int = 0
    backwards: int = 0
    sizes: dict[ModuleLayer, int] = attrs.field(factory=dict)  # how many tensors each layer of the site passes on

    def read(self, problem: Problem, inputs: Tensors) -> Tensors:
        """The site's value for these inputs."""
        with torch.no_grad(), ExitStack() as stack:
            taps = [Tap(layer) for layer in problem.layers]
            place(self.forward, taps, stack)
            self.call(problem, tuple(t.clone() for t in inputs), 1, slice(0, len(problem.arguments)))
        return self._captured(taps)

    def value(self, problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
        """The objective at ``copies`` values of the site, for a part of the batch."""
        with torch.no_grad(), ExitStack() as stack:
            inputs = self._replacing(problem, tensors, copies, part, stack)[1] if problem.layers else tensors
            neuron = self._neuron(problem, stack)
            output = self.call(problem, tuple(t.clone() for t in inputs), copies, part)
            return Outcome(self._objective(problem, output, neuron, copies, part))

    def gradient(
        self,
        problem: Problem,
        tensors: Tensors,
        copies: int,
        part: slice,
        *,
        moving_inputs: bool,
        rules: Rewriter | None = None,
    ) -> Outcome:
        """The objective, the site's value and the gradient there; with ``rules``, relevance instead of the gradient."""
        with torch.enable_grad(), ExitStack() as stack:
            onward = stack.enter_context(rules.active(self.forward.root, self.forward.guard)) if rules else torch.clone
            taps: list[Tap] = []
            at: Tensors = ()
            if not problem.layers:
                at = tuple(_leaf(name, t) for name, t in zip(problem.arguments.names, tensors, strict=True))
                inputs = tuple(map(onward, at))
            elif moving_inputs:
                taps = [Tap(layer, leaves=True, onward=onward) for layer in problem.layers]
                place(self.forward, taps, stack)
                inputs = tuple(t.clone() for t in tensors)
            else:
                taps, inputs = self._replacing(problem, tensors, copies, part, stack, leaves=True)
            neuron = self._neuron(problem, stack)
            output = self.call(problem, inputs, copies, part)
            at = self._captured(taps) if taps else at
            value = self._objective(problem, output, neuron, copies, part)
            if rules:
                rules.audit(value)
            gradient = self._differentiated(problem, value, at, neuron)
            if rules:  # what stays in the graph has no gate, and got relevance by value
                gradient = tuple(g if a.is_leaf else g * a.detach() for g, a in zip(gradient, at, strict=True))
        self.backwards += copies * (part.start == 0)
        return Outcome(value.detach(), tuple(t.detach() for t in at), gradient)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Passes that find out about the model, and are no part of the method."""
        counts = self.forwards, self.backwards
        yield
        self.forwards, self.backwards = counts

    def call(self, problem: Problem, inputs: Tensors, copies: int, part: slice) -> Any:
        """The model's output."""
        args, kwargs = problem.arguments.call(inputs, copies, part)
        self.forwards += copies * (part.start == 0)
        try:
            return self.forward(*args, **kwargs)
        except (RuntimeError, IndexError, TypeError) as error:
            explained = _explained(error, problem, inputs)
            if explained is error:
                raise
            raise explained from error

    @staticmethod
    def _objective(problem: Problem, output: Any, neuron: Tap | None, copies: int, part: slice) -> Tensor:
        if problem.neuron and neuron:
            return problem.neuron.pick(neuron.captured())
        rows = copies * (part.stop - part.start)
        value = problem.target.tile(copies, part).choose(output_tensor(output), rows)
        alone = copies == 1 and part == slice(0, len(problem.arguments))
        if len(value) != rows and not alone:
            raise UnpackableError
        if len(value) not in (1, rows):
            raise UsageError(
                f"the model returned {len(value)} rows for a batch of {rows} examples; it must return one for each"
            )
        return value

    def _differentiated(self, problem: Problem, value: Tensor, at: Tensors, neuron: Tap | None) -> Tensors:
        if not value.requires_grad and problem.layers:
            names = ", ".join(repr(layer.name) for layer in problem.layers)
            warn(f"the model's output does not depend on layer {names}: its attributions are 0")
            return tuple(map(torch.zeros_like, at))
        if not value.requires_grad:
            raise UsageError(
                "the model's output does not depend on the inputs in a way that torch can differentiate (detached, computed "
                "under no_grad, or by operations on integers); use a method that needs no gradient, like feature_ablation"
            )
        options = {"allow_unused": True, "materialize_grads": True, **self.grad_options}
        if not (problem.through and neuron):
            return torch.autograd.grad(value.sum(), at, **options)
        seen = neuron.captured()
        upper = torch.autograd.grad(value.sum(), seen, retain_graph=True, allow_unused=True, materialize_grads=True)
        seeds = zip(seen, problem.through.mask(seen), upper, strict=True)
        lower = [(v, mask * g) for v, mask, g in seeds if v.requires_grad]
        if not lower:
            return tuple(map(torch.zeros_like, at))
        outputs, cotangents = zip(*lower, strict=True)
        return torch.autograd.grad(outputs, at, cotangents, **options)

    def _captured(self, taps: list[Tap]) -> Tensors:
        self.sizes |= {tap.layer: len(tap.captured()) for tap in taps}
        return tuple(t for tap in taps for t in tap.captured())

    def _replacing(
        self, problem: Problem, tensors: Tensors, copies: int, part: slice, stack: ExitStack, *, leaves: bool = False
    ) -> tuple[list[Tap], Tensors]:
        """Taps that put ``tensors`` in place of the site's value, and the inputs to call the model with."""
        rest = iter(tensors)
        taps = [Tap(layer, tuple(islice(rest, self.sizes[layer])), leaves=leaves) for layer in problem.layers]
        place(self.forward, taps, stack)
        return taps, tuple(t[part].repeat(copies, *[1] * (t.dim() - 1)) for t in problem.inputs)

    def _neuron(self, problem: Problem, stack: ExitStack) -> Tap | None:
        neuron = problem.neuron or problem.through
        if neuron is None:
            return None
        tap = Tap(neuron.layer)
        place(self.forward, [tap], stack)
        return tap


def _leaf(name: str, tensor: Tensor) -> Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise UsageTypeError(
            f"inputs: {name!r} has dtype {tensor.dtype}, at which no gradient can be taken; attribute to a layer (for tokens, "
            "layer= the embedding), or use a method that needs no gradient, like feature_ablation"
        )
    return leaf_of((tensor.clone() if tensor.is_inference() else tensor).detach())


def _explained(error: Exception, problem: Problem, inputs: Tensors) -> Exception:
    """What a forward pass raised, with what it was called with where that may be the reason."""
    for name, given, moved in zip(problem.arguments.names, problem.inputs, inputs, strict=True):
        if moved.is_floating_point() and not given.is_floating_point():
            advice = (
                "use a method that moves the layer itself, like integrated_gradients"
                if problem.layers
                else "attribute to a layer (for tokens, layer= the embedding)"
            )
            return UsageTypeError(
                f"inputs: {name!r} has dtype {given.dtype}, and the model does not take the {moved.dtype} between it and the "
                f"baseline; {advice}, or use a method that replaces whole values, like feature_ablation"
            )
    if type(error) is not RuntimeError:  # what a model raises itself, and running out of memory, is the caller's to see
        return error
    pairs = zip(problem.arguments.names, problem.inputs, strict=True)
    called = ", ".join(f"{name} of shape {tuple(t.shape)}, {t.dtype}, on {t.device}" for name, t in pairs)
    return ModelError(f"the model raised: {error}\nIt was called with {called}; check inputs against what it expects")
