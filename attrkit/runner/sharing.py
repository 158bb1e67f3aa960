"""Several objectives from one forward pass: a batch with a copy for each objective, where the copies are equal, is run once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, tee
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError
from attrkit.problem import Inner, Problem
from attrkit.propagation import Row
from attrkit.protocols import Contribute, Runner, Tensors
from attrkit.runner.path import interpolated
from attrkit.targets import Target


class UnsharedError(Exception):
    """The model does not answer each example, so that objectives have to be explained one by one."""


class Reporting(Runner, Protocol):
    """A runner that says after a propagation what governed each operation."""

    report: tuple[Row, ...]


@attrs.frozen
class Sharing:
    """Runs problems whose rows are examples of ``base``, each row about one of its objectives. Implements the Runner protocol.

    ``Problem.choices`` says which objective each row is about, and the first of its keys which example it is.
    """

    runner: Reporting
    base: Problem
    reports: dict[int, tuple[Row, ...]] = attrs.field(factory=dict, init=False)  # of each objective that was propagated

    @classmethod
    def problem(cls, runner: Reporting, base: Problem) -> Problem:
        """A problem with a copy of the batch for each objective of ``base``, one copy after the other."""
        n, count = len(base.arguments), len(base.objectives)
        expanded = attrs.evolve(base, objectives=(), runner=cls(runner, base)).taken(torch.arange(n).repeat(count))
        expanded.choices = torch.arange(count).repeat_interleave(n)
        return expanded

    def sites(self, problem: Problem, inputs: Iterable[Tensors]) -> Iterator[tuple[Tensor | None, Tensors]]:
        """The objectives, where the problem is interested in them, and the site's value for each value of the inputs."""

        def shared(one: Problem, points: Iterable[Tensors]) -> Iterator[tuple[Tensor | None, Tensors]]:
            return self.runner.sites(one, points)

        def joined(found: tuple[Tensor | None, Tensors], order: Tensor) -> tuple[Tensor | None, Tensors]:
            value, at = found
            return None if value is None else _unfolded(value, order), self._repeated(at, order)

        return self._streamed(problem, inputs, shared, joined, _in_place)

    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]:
        """Each row's own objective at each value of the site."""

        def shared(one: Problem, points: Iterable[Tensors]) -> Iterator[Tensor]:
            return self.runner.values(one, points, total=total)

        return self._streamed(problem, points, shared, _unfolded, _in_place)

    def values_of(
        self, problem: Problem, blocks: Iterable[Tensors], build: Callable[[Tensors], Tensors], *, total: int | None = None
    ) -> Iterator[Tensor]:
        """Each row's own objective at points that are built from rows of tensors."""
        points = (build(tuple(t[i : i + 1] for t in block)) for block in blocks for i in range(len(block[0])))
        return (value[None] for value in self.values(problem, points, total=total))

    def grads(
        self, problem: Problem, points: Iterable[Tensors], *, moving_inputs: bool = False, total: int | None = None
    ) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
        """Each row's own objective, the site's value and the gradient there."""

        def shared(one: Problem, points: Iterable[Tensors]) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
            return self.runner.grads(one, points, moving_inputs=moving_inputs, total=total)

        def joined(found: tuple[Tensor, Tensors, Tensors], order: Tensor) -> tuple[Tensor, Tensors, Tensors]:
            value, at, gradient = found
            return _unfolded(value, order), self._repeated(at, order), tuple(_unfolded(g, order) for g in gradient)

        return self._streamed(problem, points, shared, joined, _in_place)

    def path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], rule: Iterable[tuple[float, float]], *, moving_inputs: bool
    ) -> Tensors:
        """The weighted sum of the gradients of each row's own objective along a straight path."""
        rule, order = list(rule), self._order(problem)
        folded = [_folded(end, order) for end in ends] if order is not None else [False]
        if order is not None and all(isinstance(f, tuple) for f in folded):
            one = self._one(self.base, problem, order[0])
            total = self.runner.path(one, (folded[0], folded[1]), rule, moving_inputs=moving_inputs)  # type: ignore[arg-type]
            problem.outputs |= {end: _unfolded(value, order) for end, value in one.outputs.items()}
            return tuple(_unfolded(g, order) for g in total)
        parts = []
        for one, rows in self._separate(problem):
            part = tuple(tuple(t[rows] for t in end) for end in ends)
            parts.append((self.runner.path(one, (part[0], part[1]), rule, moving_inputs=moving_inputs), rows))
        return _in_place(parts)  # type: ignore[no-any-return]

    def along_path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], places: Iterable[float]
    ) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's value and the gradient of each row's own objective at places of a path, one by one."""
        points = (interpolated(*ends, [(place, 1.0)]) for place in places)
        for _, at, gradient in self.grads(problem, points, moving_inputs=True):
            yield tuple(t[None] for t in at), tuple(t[None] for t in gradient)

    def tangents(
        self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None
    ) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's derivative, and the gradient of each row's own objective."""

        def shared(one: Problem, points: Iterable[Tensors]) -> Iterator[tuple[Tensors, Tensors]]:
            return self.runner.tangents(one, points, total=total)

        def joined(found: tuple[Tensors, Tensors], order: Tensor) -> tuple[Tensors, Tensors]:
            return self._repeated(found[0], order), tuple(_unfolded(g, order) for g in found[1])

        return self._streamed(problem, points, shared, joined, _in_place)

    def propagate(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensors]:
        """Each row's own objective, and its relevance at the site; a pass for each objective."""
        found = []
        for one, rows in self._separate(problem):
            found.append((self.runner.propagate(one, ruleset, parameters), rows))
            assert problem.choices is not None  # for the type checker; made by ``problem``
            if len(rows):
                self.reports[int(problem.choices[rows[0]])] = self.runner.report
        return _in_place(found)  # type: ignore[no-any-return]

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
        """What each reference contributes to each row's own objective; passes for each objective."""
        separate = list(self._separate(problem))
        copies = tee(references, len(separate))
        streams = [
            self.runner.contributions(one, _taken(copy, rows), contribute, ruleset, parameters, total=total)
            for (one, rows), copy in zip(separate, copies, strict=True)
        ]
        for parts in zip(*streams, strict=True):
            yield _in_place([(part, rows) for part, (_, rows) in zip(parts, separate, strict=True)])
        problem.outputs |= {
            end: _in_place([(one.outputs[end], rows) for one, rows in separate]) for end in separate[0][0].outputs
        }

    def attributions(
        self, problem: Problem, inner: Inner, inputs: Iterable[Tensors], *, total: int | None = None, most: int | None = None
    ) -> Iterator[Tensors]:
        """What another method says at each value of the inputs."""
        return self.runner.attributions(problem, inner, inputs, total=total, most=most)

    def of_targets(self, problem: Problem, inner: Inner, targets: Sequence[Target | None]) -> tuple[Tensors, ...]:
        """What another method says of several targets, each row's own objective among them; passes for each objective."""
        found = []
        for one, rows in self._separate(problem):
            taken = [None if target is None else target.taken(rows) for target in targets]
            found.append((self.runner.of_targets(one, inner, taken), rows))
        return _in_place(found)  # type: ignore[no-any-return]

    def _streamed(self, problem: Problem, points: Iterable[Tensors], shared: Any, joined: Any, in_place: Any) -> Iterator[Any]:
        """Points whose rows are equal for all objectives go through ``shared``; of others, the rows of each objective do."""
        order = self._order(problem)
        folded = ((order is not None and _folded(p, order), p) for p in points)
        for equal, run in groupby(folded, key=lambda f: f[0] is not False):
            if equal and order is not None:
                one = self._one(self.base, problem, order[0])
                yield from (joined(found, order) for found in shared(one, (f for f, _ in run)))
                continue
            for _, point in run:
                parts = [(next(shared(one, [tuple(t[rows] for t in point)])), rows) for one, rows in self._separate(problem)]
                yield in_place(parts)

    @staticmethod
    def _one(objective: Problem, problem: Problem, rows: Tensor) -> Problem:
        """An objective, or all of them, for some of the rows."""
        inputs = tuple(t[rows] for t in problem.inputs)
        keys = None if problem.keys is None else problem.keys[rows]
        one = objective.taken(problem.example_rows[rows], inputs, keys)
        return attrs.evolve(one, layers=problem.layers, keeps_outputs=problem.keeps_outputs)

    def _order(self, problem: Problem) -> Tensor | None:
        """The rows about each objective, shape (objectives, rows); None where there are not as many about each."""
        assert problem.choices is not None  # for the type checker; made by ``problem``
        count, rows = len(self.base.objectives), len(problem.choices)
        if rows % count:
            return None
        order = problem.choices.argsort(stable=True).reshape(count, -1)
        examples = problem.example_rows[order]
        fits = torch.equal(problem.choices[order], torch.arange(count)[:, None].expand_as(order))
        return order if fits and torch.equal(examples, examples[:1].expand_as(examples)) else None

    def _separate(self, problem: Problem) -> Iterator[tuple[Problem, Tensor]]:
        assert problem.choices is not None  # for the type checker; made by ``problem``
        for k, objective in enumerate(self.base.objectives):
            rows = torch.nonzero(problem.choices == k).flatten()
            if len(rows) or not len(problem.choices):
                alone = attrs.evolve(self.base, objectives=(), target=objective.target, neuron=objective.neuron)
                yield self._one(alone, problem, rows), rows

    @staticmethod
    def _repeated(at: Tensors, order: Tensor) -> Tensors:
        if any(len(t) != order.shape[1] for t in at):
            raise UsageError("layer: its value has other rows than the batch; explain its targets or neurons one by one")
        return tuple(_placed(t.repeat(len(order), *[1] * (t.dim() - 1)), order) for t in at)


def _taken(points: Iterable[Tensors], rows: Tensor) -> Iterator[Tensors]:
    """The same rows of every point."""
    return (tuple(t[rows] for t in point) for point in points)


def _folded(point: Tensors, order: Tensor) -> Tensors | bool:
    """The rows of the first objective where those of all others equal them, else False."""
    each = [(t if _straight(order) else t[order.flatten().to(t.device)]).unflatten(0, order.shape) for t in point]
    return tuple(t[0] for t in each) if all(torch.equal(t[1:], t[:1].expand_as(t[1:])) for t in each) else False


def _unfolded(t: Tensor, order: Tensor) -> Tensor:
    """From shape (rows, objectives, ...) to one row for each of both, where ``order`` says."""
    if len(t) != order.shape[1]:
        raise UnsharedError
    return _placed(t.transpose(0, 1).flatten(0, 1), order)


def _placed(t: Tensor, order: Tensor) -> Tensor:
    """Rows that follow one another as in ``order``, each in its place."""
    return t if _straight(order) else t[order.flatten().argsort().to(t.device)]


def _straight(order: Tensor) -> bool:
    """Whether rows are in their places already, so that no copy is needed."""
    return torch.equal(order.flatten(), torch.arange(order.numel()))


def _in_place(parts: list[tuple[Any, Tensor]]) -> Any:
    """Results of parts of the rows as one: tensors, or tuples of them, joined and put in order."""
    results = [result for result, _ in parts]
    order = torch.cat([rows for _, rows in parts]).argsort()
    return _joined(results, order)


def _joined(results: list[Any], order: Tensor) -> Any:
    if results[0] is None:
        return None
    if isinstance(results[0], Tensor):
        return torch.cat(results)[order.to(results[0].device)]
    return tuple(_joined(list(each), order) for each in zip(*results, strict=True))
