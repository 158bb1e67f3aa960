"""Executing what a problem asks for: streams of passes, propagation by rules, progress."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import attrs
import torch
from torch import Tensor

from attrkit.completeness import ends, gaps
from attrkit.errors import AttrkitError, RulesetError, UsageError, warn
from attrkit.problem import Inner, Objective, Problem
from attrkit.propagation import Rewriter, Row, bound
from attrkit.protocols import Contribute, Tensors
from attrkit.runner.derivatives import check_floating
from attrkit.runner.memory import ran_out
from attrkit.runner.packing import Evaluate, Outcome, Packing, UnpackableError
from attrkit.runner.path import interpolated, weighted
from attrkit.runner.queues import Block, Blocks, Listed
from attrkit.runner.sharing import Sharing, UnsharedError
from attrkit.runner.streams import Streams
from attrkit.runner.taps import leaf_of
from attrkit.targets import Target, output_tensor


class ApartError(Exception):
    """A method moves the values of several layers, which the problem wants moved one by one: run it for each."""


@attrs.frozen
class Fit:
    """How a ruleset fits a model: what governs each operation, what is wrong, and the entries that matched nothing."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    unused: tuple[str, ...]


@attrs.define
class Runner(Streams):
    """Runs one attribution. Implements the Runner protocol.

    ``report`` says after a propagation what governed each operation.
    """

    report: tuple[Row, ...] = ()
    adds_up: bool = True  # whether what was propagated is relevance, which adds up to the objective
    gaps: list[Tensor] | None = None  # the convergence delta of each sample of a wrapped method; None where nobody asks

    def sites(self, problem: Problem, inputs: Iterable[Tensors]) -> Iterator[tuple[Tensor | None, Tensors]]:
        """The objective, where the problem is interested in it, and the site's value for each value of the inputs."""
        self._settle(problem)
        found = self.stream(problem, inputs, "site", [partial(self.passes.site, problem)])
        return ((o.value if problem.keeps_outputs else None, o.at) for o in found)

    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]:
        """The objective at each value of the site."""
        self._check_moved(problem)
        return (outcome.value for outcome in self.stream(problem, points, "value", self._value_ways(problem), total))

    def values_of(
        self, problem: Problem, blocks: Iterable[Tensors], build: Callable[[Tensors], Tensors], *, total: int | None = None
    ) -> Iterator[Tensor]:
        """The objective at points that are built from rows of tensors as their turn comes, those of a pass together."""
        self._check_moved(problem)
        ways = self._value_ways(problem, fresh=True)
        if total and (way := self.at_once(problem, "value", ways, total)) is not None:
            blocks = list(blocks)
            if (value := self._at_once(problem, blocks, build, way)) is not None:
                yield value
                return
        packing: Packing[Tensors] = self.packing(problem, "value", ways, lambda group: build(cast("Block", group).tensors))
        for group, pack in self.shown(self.packs(packing, Blocks(blocks), "value"), total):
            value, count = pack.value, len(group)
            yield value.reshape(count, value.shape[0] // count, *value.shape[1:])

    def _at_once(
        self, problem: Problem, blocks: Sequence[Tensors], build: Callable[[Tensors], Tensors], way: Evaluate
    ) -> Tensor | None:
        """The objective at points that are built from all blocks; None where the pass did not bear that."""
        rows = blocks[0] if len(blocks) == 1 else tuple(map(torch.cat, zip(*blocks, strict=True)))
        count, n = rows[0].shape[0], len(problem.arguments)
        try:
            value = way(build(rows), count, slice(0, n)).value
        except UnpackableError:
            return None
        except Exception as error:
            if not ran_out(error):
                raise
            return None
        if value.shape[0] != count * n:
            return None
        self.counts["forward"] += count * n
        return value.reshape(count, n, *value.shape[1:])

    def _value_ways(self, problem: Problem, *, fresh: bool = False) -> list[Evaluate]:
        """The ways to the objective for several points; ``fresh`` ones may be written into."""
        passes = self.passes
        plain = partial(passes.value, problem, fresh=fresh)
        if not problem.layers:
            return [plain]
        return [partial(passes.injected, problem, gradient=False), partial(passes.vmapped, problem, gradient=False), plain]

    def grads(
        self, problem: Problem, points: Iterable[Tensors], *, moving_inputs: bool = False, total: int | None = None
    ) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
        """Objective, site value and gradient at each value of the site (or of the inputs, where those move)."""
        self._settle(problem)
        if not moving_inputs:
            self._check_moved(problem)
        kind, ways = self._ways(problem, moving_inputs=moving_inputs)
        return ((o.value, o.at, o.gradient) for o in self.stream(problem, points, kind, ways, total))

    def _ways(self, problem: Problem, *, moving_inputs: bool) -> tuple[str, list[Evaluate]]:
        """A name for passes that take gradients, and the ways to make them for several points."""
        passes = self.passes
        plain = partial(passes.gradient, problem, moving_inputs=moving_inputs)
        if moving_inputs or not problem.layers:
            return "gradient along" if problem.layers else "gradient", [plain]
        shared = [partial(passes.injected, problem, gradient=True), partial(passes.vmapped, problem, gradient=True)]
        return "gradient", [*shared, plain]

    def path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], rule: Iterable[tuple[float, float]], *, moving_inputs: bool
    ) -> Tensors:
        """The weighted sum of the objective's gradients at places of a straight path; ``rule`` gives places and weights."""
        self._settle(problem)
        if not moving_inputs:
            self._check_moved(problem)
            check_floating((str(layer), problem.point) for layer in problem.layers[:1])
        start, end = ends
        total: Tensors = ()
        kind, ways = self._ways(problem, moving_inputs=moving_inputs)
        packing = self.packing(problem, kind, ways, partial(interpolated, start, end))
        weighed = list(rule)
        packs = self.packs(packing, Listed(weighed), "gradient")
        for group, pack in self.shown(packs, len(weighed)):
            if not problem.layers:
                self._note_ends(problem, [place for place, _ in group], pack)
            added = tuple(weighted(g, [weight for _, weight in group]) for g in pack.gradient)
            if total and [t.shape for t in total] != [t.shape for t in added]:
                raise UsageError("layer: the shape of its value changes along the path, so that gradients do not add up")
            total = tuple(map(torch.add, total, added)) if total else added
        return total

    def along_path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], places: Iterable[float]
    ) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's value and the gradient there at places of a straight path of the inputs, those of a pass together."""
        self._settle(problem)
        kind, ways = self._ways(problem, moving_inputs=True)
        packing = self.packing(problem, kind, ways, partial(interpolated, *ends))
        weighed = [(place, 1.0) for place in places]
        packs = self.packs(packing, Listed(weighed), kind)
        for group, pack in self.shown(packs, len(weighed)):
            at, gradient = (tuple(t.unflatten(0, (len(group), -1)) for t in part) for part in (pack.at, pack.gradient))
            yield at, gradient

    @staticmethod
    def _note_ends(problem: Problem, places: list[float], pack: Outcome) -> None:
        """Keep the objective at the ends of the path, where they are among the places."""
        for place, value in zip(places, pack.value.chunk(len(places)), strict=True):
            if place in (0.0, 1.0):
                problem.outputs["point" if place else "baseline"] = value

    def tangents(
        self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None
    ) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's derivative and the objective's gradient for inputs, each followed by the direction in which it moves."""
        self._settle(problem)
        if len(problem.layers) > 1:  # above a layer the derivative goes no further
            raise ApartError
        way = partial(self.passes.tangent, problem)
        return ((o.at, o.gradient) for o in self.stream(problem, points, "tangent", [way], total))

    def attributions(
        self,
        problem: Problem,
        inner: Inner,
        inputs: Iterable[Tensors],
        *,
        total: int | None = None,
        most: int | None = None,
    ) -> Iterator[Tensors]:
        """What another method says at each value of the inputs; several of them are one larger batch to it."""
        self._settle(problem)
        n = len(problem.arguments)
        own = problem.example_rows[:, None] if problem.keys is None else problem.keys
        progress, self.progress = self.progress, ""
        wanted = self.gaps

        def gap(copy: Problem, values: Tensors) -> Tensor:
            return values[0].new_zeros(len(values[0])) if wanted is None else self._gap(copy, values)

        def evaluate(tensors: Tensors, copies: int, part: slice) -> Outcome:
            *moved, keys = tensors
            rows = torch.arange(part.start, part.stop).repeat(copies)
            copy = problem.taken(rows, tuple(moved), keys)
            self.gaps = None  # what the inner method samples itself has none
            values = inner(copy)
            if not isinstance(values, tuple) or not values or not all(isinstance(v, Tensor) and v.dim() for v in values):
                raise AttrkitError(f"method {_label(inner)} must return a tuple of tensors, it returned {values!r}")
            return Outcome(gap(copy, values), values)

        def numbered() -> Iterator[Tensors]:
            for i, tensors in enumerate(inputs):
                yield (*tensors, torch.cat([own, torch.full((n, 1), i)], 1))

        bound = None if most is None else most * max(1, n)
        try:
            kind = f"attributions {_label(inner)}"
            for outcome in self.stream(problem, numbered(), kind, [evaluate], total, bound, progress):
                if wanted is not None:
                    wanted.append(outcome.value)
                yield outcome.at
        finally:
            self.progress, self.gaps = progress, wanted

    def of_targets(self, problem: Problem, inner: Inner, targets: Sequence[Target | None]) -> tuple[Tensors, ...]:
        """What another method says of each of several targets; None is the problem's own."""
        self._settle(problem)
        n, before = len(problem.arguments), Counter(self.counts)
        each = [problem.apart() if t is None else attrs.evolve(problem.apart(), target=t) for t in targets]
        objectives = tuple(Objective(one.target, one.neuron) for one in each)
        with suppress(UnsharedError):
            values = inner(Sharing.problem(self, attrs.evolve(problem, objectives=objectives)))
            if all(len(v) == n * len(each) for v in values):
                return tuple(tuple(v.narrow(0, k * n, n) for v in values) for k in range(len(each)))
        self.counts = before
        return tuple(map(inner, each))

    def _gap(self, problem: Problem, values: Tensors) -> Tensor:
        """The convergence delta of each row."""
        return self._gap_between(problem, values, *ends(problem, compared=problem.compares))

    def _gap_between(self, problem: Problem, values: Tensors, output: Tensor, baseline_output: Tensor | None) -> Tensor:
        """The same, for the objective at the point and at the baseline."""
        counts = [self.passes.sizes[layer] for layer in problem.layers] or [len(values)]
        found = gaps(values, counts, output, baseline_output)
        if found is None:
            return values[0].new_full((len(values[0]),), torch.nan)
        return found.T if found.dim() == 2 else found  # rows first, then layers

    def propagate(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensors]:
        """Objective and relevance at the site, for the inputs, or what else the rules carry there."""
        rules = self._bound(problem, ruleset, parameters)
        compares = rules.binding.carries == "multiplier"
        sites = [problem]
        if rules.binding.looks_around and problem.layers:  # a pass for each layer
            self._settle(problem)
            sites = [attrs.evolve(problem, layers=(layer,)) for layer in problem.layers]
        points = [(*problem.inputs, *problem.start)] if compares else [problem.inputs]
        outcomes = [next(self._propagated(site, rules, points, 1)) for site in sites]
        self._concluded(rules)
        vars(problem).setdefault("point", tuple(t for o in outcomes for t in o.at[: len(o.gradient)]))
        if compares:
            vars(problem).setdefault("baseline", tuple(t for o in outcomes for t in o.at[len(o.gradient) : -1]))
            problem.outputs["baseline"] = outcomes[0].at[-1]
        problem.outputs["point"] = outcomes[0].value
        return outcomes[0].value, tuple(t for o in outcomes for t in o.gradient)

    def contributions(
        self,
        problem: Problem,
        references: Iterable[Tensors],
        contribute: Contribute,
        ruleset: Any,
        parameters: Mapping[str, Any],
        *,
        total: int | None = None,
    ) -> Iterator[Tensors]:
        """For each of several references, what to make of multipliers, the site's value and that for the reference."""
        rules = self._bound(problem, ruleset, parameters)
        if rules.binding.carries != "multiplier":
            raise RulesetError([f"ruleset {rules.binding.ruleset.name!r} compares with no reference; give one like deeplift's"])
        if rules.binding.looks_around and problem.layers:  # as in ``propagate``
            self._settle(problem)
            if len(problem.layers) > 1:
                raise ApartError
        points = ((*problem.inputs, *reference) for reference in references)
        compared: list[Tensor] = []
        for outcome in self._propagated(problem, rules, points, total):
            n = len(outcome.gradient)
            problem.outputs["point"] = outcome.value
            compared.append(outcome.at[-1])
            vars(problem).setdefault("point", outcome.at[:n])
            values = contribute(outcome.gradient, outcome.at[:n], outcome.at[n:-1])
            if self.gaps is not None:
                self.gaps.append(self._gap_between(problem, values, outcome.value, outcome.at[-1]))
            yield values
        problem.outputs["baseline"] = torch.stack(compared).mean(0)
        self._concluded(rules)

    def _settle(self, problem: Problem) -> None:
        """Find out by a pass which layers there are, where that is open."""
        if problem.unsure:
            problem.layers, problem.unsure = tuple(self.passes.running(problem.arguments, problem.layers)), False

    def _check_moved(self, problem: Problem) -> None:
        self._settle(problem)
        if len(problem.layers) > 1 and not problem.together:
            raise ApartError

    def _propagated(self, problem: Problem, rules: Rewriter, points: Iterable[Tensors], total: int | None) -> Iterator[Outcome]:
        each: dict[int, Rewriter] = {}  # by replica
        lock = threading.Lock()

        def way(tensors: Tensors, copies: int, part: slice) -> Outcome:
            with lock:
                own = each.setdefault(id(self.passes.forward), rules if not each else rules.another())
            return self.passes.propagated(problem, tensors, copies, part, rules=own)

        kind = "multiplier" if rules.binding.carries == "multiplier" else "relevance"
        return self.stream(problem, points, kind, [way], total)

    def _concluded(self, rules: Rewriter) -> None:
        """Report what governed each operation, and warn of entries that governed none."""
        self.report, self.adds_up = tuple(rules.report), rules.binding.carries != "gradient"
        for line in self._unused(rules):
            warn(line)

    def fit(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> Fit:
        """What a ruleset would do with the model, found by a forward pass."""
        rules = self._bound(problem, ruleset, parameters)
        output = output_tensor(self._governed(problem, rules))
        problems: tuple[str, ...] = ()
        try:
            rules.audit(output)
        except RulesetError as error:
            problems = error.problems
        return Fit(tuple(rules.report), problems, self._unused(rules))

    def _bound(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> Rewriter:
        rules = bound(ruleset, parameters, self.passes.forward.root)
        if rules.binding.needs_plan():
            self._governed(problem, rules)
            rules.plan()
        return rules

    def _governed(self, problem: Problem, rules: Rewriter) -> Any:
        """The model's output for the inputs, with rules in place."""
        self.counts["forward"] += len(problem.arguments)
        with torch.enable_grad(), self.passes.taking():
            forward = self.passes.forward
            problem = problem if forward.device is None else problem.on(forward.device)
            with rules.active(forward.root, forward.guard) as gate:
                inputs = (gate(leaf) if (leaf := leaf_of(t.detach())).requires_grad else t for t in problem.inputs)
                return self.passes.call(problem, tuple(inputs), 1, slice(0, len(problem.arguments)))

    def _unused(self, rules: Rewriter) -> tuple[str, ...]:
        root = self.passes.forward.root
        return tuple(rules.binding.unused([(path, type(m)) for path, m in root.named_modules()] if root else []))


def _label(inner: Inner) -> str:
    """What a method is called, under which what was learnt of it is kept."""
    while isinstance(inner, partial):
        inner = inner.func
    return str(getattr(inner, "name", None) or getattr(inner, "__qualname__", type(inner).__name__))
