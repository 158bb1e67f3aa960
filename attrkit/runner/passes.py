"""One forward pass, and where asked one backward pass: what is tapped, what is differentiated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, cast

import attrs
import torch
from torch import Tensor
from torch.autograd import forward_ad

from attrkit.arguments import Arguments
from attrkit.errors import ModelError, UsageError, UsageTypeError, warn
from attrkit.layers import ModuleLayer
from attrkit.problem import Problem
from attrkit.propagation import OtherRowsError, Rewriter
from attrkit.protocols import Tensors
from attrkit.runner.columns import columns
from attrkit.runner.isolation import Forward
from attrkit.runner.packing import Outcome, UnpackableError
from attrkit.runner.taps import EnoughError, Tap, leaf_of, place, stop_after
from attrkit.runner.watch import Watch
from attrkit.targets import output_tensor


@attrs.define
class Passes:
    """Runs single passes of a problem's model."""

    forward: Forward
    grad_options: Mapping[str, Any] = attrs.field(factory=dict)
    sizes: dict[ModuleLayer, int] = attrs.field(factory=dict)  # how many tensors each layer of the site passes on
    _unused: set[str] = attrs.field(factory=set)  # what was warned about

    def site(self, problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
        """The site's value for these inputs, and the objective where it is of interest; else nothing above the site runs."""
        with torch.no_grad(), ExitStack() as stack:
            taps = [Tap(layer) for layer in problem.layers]
            place(self.forward, taps, stack)
            inputs = tuple(t.clone() for t in tensors)
            if problem.keeps_outputs:
                output = self.call(problem, inputs, copies, part, taps)
                value = self._objective(problem, output, [], copies, part)
            else:
                self.call(problem, inputs, copies, part, taps, stop=taps)
                value = torch.zeros(copies * (part.stop - part.start))
        return Outcome(value, self._captured(taps))

    def running(self, arguments: Arguments, layers: Iterable[ModuleLayer]) -> list[ModuleLayer]:
        """Those of the layers that run and pass on real numbers.

        Raises:
            UsageError: none of them does.
        """
        with torch.no_grad(), ExitStack() as stack:
            taps = [Tap(layer) for layer in dict.fromkeys(layers)]
            place(self.forward, taps, stack)
            args, kwargs = arguments.call(tuple(t.clone() for t in arguments.tensors), 1, slice(0, len(arguments)))
            self.forward(*args, **kwargs)
        return [tap.layer for tap in _that_saw(taps)]

    def value(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, fresh: bool = False) -> Outcome:
        """The objective at ``copies`` values of the site, for a part of the batch; the model may write into ``fresh`` ones."""
        with torch.no_grad(), ExitStack() as stack:
            inputs = self._replacing(problem, tensors, copies, part, stack)[1] if problem.layers else tensors
            neurons = self._neurons(problem, stack)
            inputs = inputs if fresh and not problem.layers else tuple(t.clone() for t in inputs)
            output = self.call(problem, inputs, copies, part, neurons, stop=() if problem.through else neurons)
            return Outcome(self._objective(problem, output, neurons, copies, part))

    def gradient(
        self,
        problem: Problem,
        tensors: Tensors,
        copies: int,
        part: slice,
        *,
        moving_inputs: bool,
    ) -> Outcome:
        """The objective, the site's value and the gradient there."""
        with torch.enable_grad(), ExitStack() as stack:
            if moving_inputs or not problem.layers:
                value, at, neurons = self._followed(problem, tensors, copies, part, stack)
            else:
                taps, inputs = self._replacing(problem, tensors, copies, part, stack, leaves=True)
                value, at, neurons = self._seen(problem, inputs, copies, part, taps, stack)
            gradient = self._differentiated(problem, value, at, neurons)
        return Outcome(value.detach(), tuple(t.detach() for t in at), gradient)

    def propagated(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, rules: Rewriter) -> Outcome:
        """The objective, the site's value, and what rules make of the objective there.

        Where rules compare with a reference, ``tensors`` are the inputs and then the references, and the values at the site
        are followed by those for the references and by the objective for these.
        """
        if rules.binding.carries != "multiplier":
            return self._governed(problem, tensors, copies, part, rules, ())
        tensors, references = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        if not self.forward.training and _one_row_will_do(problem, references):
            one = problem.taken(torch.zeros(1, dtype=torch.long), tuple(r[:1] for r in references))
            beside = self._recorded(one, one.inputs, 1, slice(0, 1), rules, one_row=True)
            if all(len(t) == 1 for t in beside):
                rows = len(references[0])
                with suppress(OtherRowsError):
                    beside = tuple(t.expand(rows, *t.shape[1:]) for t in beside)
                    return self._governed(problem, tensors, copies, part, rules, beside)
        beside = self._recorded(problem, references, copies, part, rules)
        return self._governed(problem, tensors, copies, part, rules, beside)

    def _recorded(
        self, problem: Problem, references: Tensors, copies: int, part: slice, rules: Rewriter, *, one_row: bool = False
    ) -> Tensors:
        """The site's value for the references, and the objective, while rules note what they compare with."""
        with torch.enable_grad(), ExitStack() as stack:
            gate = stack.enter_context(rules.recording(self.forward.root, self.forward.guard, one_row=one_row))
            value, found, _ = self._followed(problem, references, copies, part, stack, gate)
            return (*(t.detach() for t in found), value.detach())

    def _governed(
        self, problem: Problem, tensors: Tensors, copies: int, part: slice, rules: Rewriter, beside: Tensors
    ) -> Outcome:
        with torch.enable_grad(), ExitStack() as stack:
            gate = stack.enter_context(rules.active(self.forward.root, self.forward.guard))
            value, at, neurons = self._followed(problem, tensors, copies, part, stack, gate)
            rules.audit(value)
            carried = self._differentiated(problem, value, at, neurons)
            if rules.binding.carries == "relevance":  # what stays in the graph has no gate, and got relevance by value
                carried = tuple(g if a.is_leaf else g * a.detach() for g, a in zip(carried, at, strict=True))
        return Outcome(value.detach(), (*(t.detach() for t in at), *beside), carried)

    def _followed(
        self,
        problem: Problem,
        tensors: Tensors,
        copies: int,
        part: slice,
        stack: ExitStack,
        gate: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensors, list[Tap]]:
        """The objective for values of the inputs, the site's value, and the taps of neurons.

        ``gate`` is what attributed tensors go through, for rules: the report of these is of the whole model.
        """
        onward = torch.clone if gate is None else gate
        if problem.layers:
            taps = [Tap(layer, leaves=True, onward=onward, optional=problem.unsure) for layer in problem.layers]
            place(self.forward, taps, stack)
            return self._seen(problem, tuple(t.clone() for t in tensors), copies, part, taps, stack, whole=gate is not None)
        at = tuple(_leaf(name, t) for name, t in zip(problem.arguments.names, tensors, strict=True))
        value, _, neurons = self._seen(problem, tuple(map(onward, at)), copies, part, [], stack, whole=gate is not None)
        return value, at, neurons

    def _seen(
        self,
        problem: Problem,
        inputs: Tensors,
        copies: int,
        part: slice,
        taps: list[Tap],
        stack: ExitStack,
        *,
        whole: bool = False,
    ) -> tuple[Tensor, Tensors, list[Tap]]:
        """The objective, what ``taps`` captured, and the taps of neurons; ``whole`` forbids to stop after these."""
        neurons = self._neurons(problem, stack)
        stop = () if whole or problem.through else neurons
        output = self.call(problem, inputs, copies, part, [*taps, *neurons], stop=stop)
        if problem.unsure:
            taps = _that_saw(taps)
            problem.layers, problem.unsure = tuple(tap.layer for tap in taps), False
        at = self._captured(taps)
        check_floating((str(tap.layer), tuple(tap.seen)) for tap in taps)
        return self._objective(problem, output, neurons, copies, part), at, neurons

    def tangent(self, problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
        """The objective, the site's derivative in a direction of the inputs, and the gradient; inputs first, directions after.

        Raises:
            UsageError: an operation below the site has no forward-mode derivative.
        """
        for name, given in zip(problem.arguments.names, problem.inputs, strict=True):
            _leaf(name, given[:0])  # which refuses integers
        points, directions = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        with torch.enable_grad(), ExitStack() as stack, forward_ad.dual_level():
            pairs = zip(problem.arguments.names, points, directions, strict=True)
            inputs = tuple(forward_ad.make_dual(_leaf(name, x).detach().clone(), d) for name, x, d in pairs)
            calls = self.forward.learnt.calls
            taps = [
                Tap(layer, leaves=True, tangents=[], expected=max(calls.get((layer.key, self.about(problem)), {1})))
                for layer in problem.layers
            ]
            place(self.forward, taps, stack)
            try:
                output = self.call(problem, inputs, copies, part, taps)
            except NotImplementedError as error:
                raise UsageError(
                    f"method: a forward-mode derivative is missing ({error}); use a method without 'forward_'"
                ) from error
            at = self._captured(taps)
            value = self._objective(problem, output, [], copies, part)
            gradient = self._differentiated(problem, value, at, [])
            found = tuple(t.detach() for tap in taps for t in tap.tangents or ())
        return Outcome(value.detach(), found, gradient)

    def injected(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, gradient: bool) -> Outcome:
        """As ``gradient`` or ``value`` at values of a layer, while what is below it runs once for all copies.

        Wrong, or impossible, where anything of one copy's size reaches beyond the layer by another way.
        """
        with torch.set_grad_enabled(gradient), ExitStack() as stack:
            taps = self._tapped(problem, tensors, stack, leaves=gradient)
            output = self.call(problem, tuple(t[part].clone() for t in problem.inputs), 1, part, taps)
            at = self._captured(taps)
            value = self._objective(problem, output, [], copies, part)
            if not gradient:
                return Outcome(value)
            return Outcome(value.detach(), tuple(t.detach() for t in at), self._differentiated(problem, value, at, []))

    def vmapped(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, gradient: bool) -> Outcome:
        """As ``injected``, with torch telling the copies apart wherever they go, by ``torch.func.vmap``."""
        with torch.set_grad_enabled(gradient):
            stacked = tuple(t.detach().unflatten(0, (copies, -1)).requires_grad_(gradient) for t in tensors)

            def one(*values: Tensor) -> Tensor:
                with ExitStack() as stack:
                    taps = self._tapped(problem, values, stack)
                    output = self.call(problem, tuple(t[part].clone() for t in problem.inputs), 1, part, taps)
                    self._captured(taps)
                    return self._objective(problem, output, [], 1, part)

            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")
                value = torch.func.vmap(one)(*stacked).flatten(0, 1)
            if not gradient:
                return Outcome(value)
            found = self._differentiated(problem, value, stacked, [])
            if problem.objectives:  # which stand between copies and rows now
                found = tuple(g.movedim(1, 2) for g in found)
        return Outcome(value.detach(), tensors, tuple(g.flatten(0, 1) for g in found))

    def call(
        self, problem: Problem, inputs: Tensors, copies: int, part: slice, taps: Iterable[Tap] = (), stop: Iterable[Tap] = ()
    ) -> Any:
        """The model's output; None where the pass ends early, after the taps ``stop``, as far as that is known to be safe."""
        args, kwargs = problem.arguments.call(inputs, copies, part)
        learnt, shapes = self.forward.learnt, self.about(problem)
        if (wanted := list(stop)) and all(self._runs_once(problem, tap.layer) for tap in wanted):
            stop_after(wanted)
        try:
            if shapes in learnt.decides:
                output = self.forward(*args, **kwargs)
            else:
                with Watch(inputs, (args[len(inputs) :], kwargs)) as watch:
                    output = self.forward(*args, **kwargs)
                if watch.further_decide:
                    learnt.further.add(_shapes(problem))
                    shapes = self.about(problem)
                learnt.decides[shapes] = watch.decides
        except EnoughError:
            return None
        except (RuntimeError, IndexError, TypeError) as error:
            explained = _explained(error, problem, inputs)
            if explained is error:
                raise
            raise explained from error
        for tap in taps:
            learnt.calls.setdefault((tap.layer.key, shapes), set()).add(tap.calls)
        return output

    def about(self, problem: Problem) -> Any:
        """What passes are alike: all of the arguments that they may depend on, save the values of what moves."""
        shapes = _shapes(problem)
        return (shapes, problem.arguments.digest) if shapes in self.forward.learnt.further else shapes

    def apart(self, problem: Problem) -> bool:
        """Whether what is known of the model forbids that points share a pass."""
        return self.forward.training or self.forward.learnt.decides.get(self.about(problem), False)

    def _runs_once(self, problem: Problem, layer: ModuleLayer) -> bool:
        """Whether nothing of interest happens at a layer after its next call: in every whole pass there was only one."""
        learnt, shapes = self.forward.learnt, self.about(problem)
        known = learnt.calls.get((layer.key, shapes)) == {1} and not learnt.decides.get(shapes, True)
        return layer.call is not None or known

    @classmethod
    def _objective(cls, problem: Problem, output: Any, neurons: list[Tap], copies: int, part: slice) -> Tensor:
        """One number for each row; with several objectives, shape ``(rows, objectives)``."""
        if problem.objectives:
            each = [
                attrs.evolve(problem, objectives=(), target=o.target, neuron=o.neuron, every=False) for o in problem.objectives
            ]
            taps: list[list[Tap]] = [[tap] for tap in neurons] or [[] for _ in each]
            return torch.stack([cls._objective(p, output, t, copies, part) for p, t in zip(each, taps, strict=True)], 1)
        if problem.neuron and neurons:
            return problem.neuron.pick(neurons[0].captured())
        rows = copies * (part.stop - part.start)
        value = problem.target.tile(copies, part).choose(output_tensor(output), rows, every=problem.every)
        alone = copies == 1 and part == slice(0, len(problem.arguments))
        if len(value) != rows and not alone:
            raise UnpackableError
        if len(value) not in (1, rows):
            raise UsageError(
                f"the model returned {len(value)} rows for a batch of {rows} examples; it must return one for each"
            )
        return value

    def _differentiated(self, problem: Problem, value: Tensor, at: Tensors, neurons: list[Tap]) -> Tensors:
        if not value.requires_grad and problem.layers:
            names = ", ".join(repr(str(layer)) for layer in problem.layers)
            self._warn_once(f"the objective does not depend on layer {names} in a way that torch can differentiate: its")
            zeros = tuple(map(torch.zeros_like, at))
            return tuple(torch.stack([z] * value.shape[1], 1) for z in zeros) if value.dim() > 1 else zeros
        if not value.requires_grad:
            what = "neuron: what is explained" if neurons else "the model's output"
            raise UsageError(
                f"{what} does not depend on the inputs in a way that torch can differentiate (detached, computed "
                "under no_grad, or by operations on integers); use a method that needs no gradient, like feature_ablation"
            )
        if value.dim() > 1:
            site = tuple((layer.key, layer.io, layer.call) for layer in problem.layers)
            found = columns(value, at, self.forward.learnt, site)
            if not all(g.sum().item() or bool(g.any()) for g in found):  # there may be some on which nothing depends
                self._filled(problem, at, torch.autograd.grad(value.sum(), at, allow_unused=True))
            return found
        options = {"allow_unused": True, **self.grad_options}
        if not (problem.through and neurons):
            return self._filled(problem, at, torch.autograd.grad(value, at, torch.ones_like(value), **options))
        seen = neurons[0].captured()
        ones = torch.ones_like(value)
        upper = torch.autograd.grad(value, seen, ones, retain_graph=True, allow_unused=True, materialize_grads=True)
        seeds = zip(seen, problem.through.mask(seen), upper, strict=True)
        lower = [(v, mask * g) for v, mask, g in seeds if v.requires_grad]
        if not lower:
            return tuple(map(torch.zeros_like, at))
        outputs, cotangents = zip(*lower, strict=True)
        return self._filled(problem, at, torch.autograd.grad(outputs, at, cotangents, **options))

    def _filled(self, problem: Problem, at: Tensors, gradient: tuple[Tensor | None, ...]) -> Tensors:
        """Zeros, and a warning, where the objective does not depend on a tensor."""
        if all(g is not None for g in gradient):
            return cast("Tensors", gradient)
        if problem.layers:
            counts = [(str(layer), self.sizes[layer]) for layer in problem.layers]
            each = [name if count == 1 else f"{name}[{i}]" for name, count in counts for i in range(count)]
            names = [f"layer {name!r}" for name in each]
        else:
            names = [f"input {name!r}" for name in problem.arguments.names]
        for name, g in zip(names, gradient, strict=True):
            if g is None:
                self._warn_once(f"the objective does not depend on {name}: its")
        return tuple(torch.zeros_like(a) if g is None else g for a, g in zip(at, gradient, strict=True))

    def _warn_once(self, start: str) -> None:
        if start not in self._unused:
            self._unused.add(start)
            warn(f"{start} attributions are 0")

    def _captured(self, taps: list[Tap]) -> Tensors:
        self.sizes |= {tap.layer: len(tap.captured()) for tap in taps}
        return tuple(t for tap in taps for t in tap.captured())

    def _replacing(
        self, problem: Problem, tensors: Tensors, copies: int, part: slice, stack: ExitStack, *, leaves: bool = False
    ) -> tuple[list[Tap], Tensors]:
        """Taps that put ``tensors`` in place of the site's value, and the inputs to call the model with."""
        taps = self._tapped(problem, tensors, stack, leaves=leaves)
        return taps, tuple(t[part].repeat(copies, *[1] * (t.dim() - 1)) for t in problem.inputs)

    def _tapped(self, problem: Problem, values: Tensors, stack: ExitStack, *, leaves: bool = False) -> list[Tap]:
        rest = iter(values)
        taps = [Tap(layer, tuple(islice(rest, self.sizes[layer])), leaves=leaves) for layer in problem.layers]
        place(self.forward, taps, stack)
        return taps

    def _neurons(self, problem: Problem, stack: ExitStack) -> list[Tap]:
        """A tap for the neuron of each objective."""
        neurons = [o.neuron for o in problem.objectives] or [problem.neuron or problem.through]
        taps = [Tap(neuron.layer) for neuron in neurons if neuron]
        place(self.forward, taps, stack)
        return taps


def _that_saw(taps: list[Tap]) -> list[Tap]:
    """Those that saw real numbers, and nothing else. Raises UsageError where there is none."""
    found = [tap for tap in taps if tap.seen and all(t.is_floating_point() for t in tap.seen)]
    if not found:
        names = ", ".join(repr(tap.layer.name) for tap in taps)
        raise UsageError(f"layers: of {names} none runs in the model's forward pass and passes on real numbers")
    return found


def _shapes(problem: Problem) -> Any:
    """All of the arguments that a forward pass may depend on, save the values of tensors and the size of the batch."""
    return tuple((t.shape[1:], t.dtype) for t in problem.inputs), problem.arguments.kind


def check_floating(layers: Iterable[tuple[str, Tensors]]) -> None:
    """Raise UsageTypeError for a layer whose value is integers, at which no gradient can be taken."""
    for name, value in layers:
        if not any(t.is_floating_point() for t in value):
            dtypes = ", ".join({str(t.dtype) for t in value})
            raise UsageTypeError(
                f"layer {name}: its value has dtype {dtypes}, at which no gradient can be taken; "
                "attribute to what comes out of it, or use a method that needs no gradient, like feature_ablation"
            )


def _one_row_will_do(problem: Problem, references: Tensors) -> bool:
    """Whether all rows of the references are the same, and nothing that the model is called with tells rows apart."""
    if len(references[0]) < 2 or problem.target.rows is not None or problem.objectives or problem.arguments.kind:
        return False
    return all(bool((r == r[:1]).all()) for r in references)


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
