"""One forward pass, and where asked one backward pass: what is tapped, what is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.autograd import forward_ad

from attrkit.arguments import Arguments
from attrkit.errors import UsageError
from attrkit.layers import ModuleLayer
from attrkit.problem import Problem
from attrkit.propagation import OtherRowsError, Rewriter
from attrkit.protocols import Tensors
from attrkit.runner.calls import Calls, where_it_computes
from attrkit.runner.derivatives import check_floating, differentiated, input_leaf
from attrkit.runner.packing import Outcome, UnpackableError
from attrkit.runner.quiet import quiet
from attrkit.runner.taps import Tap, place
from attrkit.targets import output_tensor


class Passes(Calls):
    """Runs single passes: calls of the model with taps on layers, and derivatives of what they captured."""

    @where_it_computes
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
        return Outcome(value, tuple(map(_bare, self._captured(taps))))

    def running(self, arguments: Arguments, layers: Iterable[ModuleLayer]) -> list[ModuleLayer]:
        """Those of the layers that run and pass on real numbers.

        Raises:
            UsageError: none of them does.
        """
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(self.taking())
            arguments = arguments if self.forward.device is None else arguments.on(self.forward.device)
            taps = [Tap(layer) for layer in dict.fromkeys(layers)]
            place(self.forward, taps, stack)
            args, kwargs = arguments.call(tuple(t.clone() for t in arguments.tensors), 1, slice(0, len(arguments)))
            self.forward(*args, **kwargs)
        return [tap.layer for tap in _that_saw(taps)]

    @where_it_computes
    def value(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, fresh: bool = False) -> Outcome:
        """The objective at ``copies`` values of the site, for a part of the batch; the model may write into ``fresh`` ones."""
        if not (problem.layers or problem.neuron or problem.through or problem.objectives):
            with torch.set_grad_enabled(False):
                inputs = tensors if fresh else tuple(t.clone() for t in tensors)
                output = self.call(problem, inputs, copies, part, bare=True)
                return Outcome(_bare(self._objective(problem, output, [], copies, part)))
        with torch.no_grad(), ExitStack() as stack:
            inputs = self._replacing(problem, tensors, copies, part, stack)[1] if problem.layers else tensors
            neurons = self._neurons(problem, stack)
            stop = () if problem.through else neurons
            bare = not (problem.layers or neurons)
            output = self.call(problem, tuple(t.clone() for t in inputs), copies, part, neurons, stop, bare=bare)
            return Outcome(_bare(self._objective(problem, output, neurons, copies, part)))

    @where_it_computes
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
            gradient = differentiated(self, problem, value, at, neurons)
        return Outcome(value.detach(), tuple(t.detach() for t in at), gradient)

    @where_it_computes
    def propagated(self, problem: Problem, tensors: Tensors, copies: int, part: slice, *, rules: Rewriter) -> Outcome:
        """The objective, the site's value, and what rules make of the objective there.

        Where rules compare with a reference, ``tensors`` are the inputs and then the references, and the values at the site
        are followed by those for the references and by the objective for these.
        """
        if rules.binding.carries != "multiplier":
            return self._governed(problem, tensors, copies, part, rules, ())
        tensors, references = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        if not self.training and _one_row_will_do(problem, references):
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
            carried = differentiated(self, problem, value, at, neurons)
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
        at = tuple(input_leaf(name, t) for name, t in zip(problem.arguments.names, tensors, strict=True))
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
        bare = not (whole or taps or neurons)
        output = self.call(problem, inputs, copies, part, [*taps, *neurons], stop, bare=bare)
        if problem.unsure:
            taps = _that_saw(taps)
            problem.layers, problem.unsure = tuple(tap.layer for tap in taps), False
        at = self._captured(taps)
        check_floating((str(tap.layer), tuple(tap.seen)) for tap in taps)
        return self._objective(problem, output, neurons, copies, part), at, neurons

    @where_it_computes
    def tangent(self, problem: Problem, tensors: Tensors, copies: int, part: slice) -> Outcome:
        """The objective, the site's derivative in a direction of the inputs, and the gradient; inputs first, directions after.

        Raises:
            UsageError: an operation below the site has no forward-mode derivative.
        """
        for name, given in zip(problem.arguments.names, problem.inputs, strict=True):
            input_leaf(name, given[:0])  # which refuses integers
        points, directions = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        with torch.enable_grad(), ExitStack() as stack, forward_ad.dual_level():
            pairs = zip(problem.arguments.names, points, directions, strict=True)
            inputs = tuple(forward_ad.make_dual(input_leaf(name, x).detach().clone(), d) for name, x, d in pairs)
            calls = self.learnt.calls
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
            gradient = differentiated(self, problem, value, at, [])
            found = tuple(t.detach() for tap in taps for t in tap.tangents or ())
        return Outcome(value.detach(), found, gradient)

    @where_it_computes
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
            return Outcome(value.detach(), tuple(t.detach() for t in at), differentiated(self, problem, value, at, []))

    @where_it_computes
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

            with quiet():
                value = torch.func.vmap(one)(*stacked).flatten(0, 1)
            if not gradient:
                return Outcome(value)
            found = differentiated(self, problem, value, stacked, [])
            if problem.objectives:  # which stand between copies and rows now
                found = tuple(g.movedim(1, 2) for g in found)
        return Outcome(value.detach(), tensors, tuple(g.flatten(0, 1) for g in found))

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
        if (found := value.shape[0]) == rows:
            return value
        if copies != 1 or part != slice(0, len(problem.arguments)):
            raise UnpackableError
        if found != 1:
            raise UsageError(f"the model returned {found} rows for a batch of {rows} examples; it must return one for each")
        return value

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
        if not any(neurons):
            return []
        taps = [Tap(neuron.layer) for neuron in neurons if neuron]
        place(self.forward, taps, stack)
        return taps


def _bare(value: Tensor) -> Tensor:
    """A value without a graph, which it has where the model computed it in a thread of its own, or it is a parameter."""
    return value.detach() if value.requires_grad else value


def _that_saw(taps: list[Tap]) -> list[Tap]:
    """Those that saw real numbers, and nothing else. Raises UsageError where there is none."""
    found = [tap for tap in taps if tap.seen and all(t.is_floating_point() for t in tap.seen)]
    if not found:
        names = ", ".join(repr(tap.layer.name) for tap in taps)
        raise UsageError(f"layers: of {names} none runs in the model's forward pass and passes on real numbers")
    return found


def _one_row_will_do(problem: Problem, references: Tensors) -> bool:
    """Whether all rows of the references are the same, and nothing that the model is called with tells rows apart."""
    if len(references[0]) < 2 or problem.target.rows is not None or problem.objectives or problem.arguments.kind:
        return False
    return all(bool((r == r[:1]).all()) for r in references)
