"""Streams of points through passes: which share one, on which replica, in how many rows; counted, and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import attrs

from attrkit.problem import Objective, Problem
from attrkit.protocols import Executor, Result, Tensors, Work
from attrkit.runner.executors import Serial
from attrkit.runner.learnt import Habit
from attrkit.runner.packing import Evaluate, Outcome, Pack, Packing, Point, together
from attrkit.runner.passes import Passes
from attrkit.runner.progress import barred
from attrkit.runner.queues import Listed, Queue
from attrkit.runner.sizing import Sizing
from attrkit.runner.spares import Surroundings

#: What one point costs, by the kind of pass.
PASSES = {
    "site": ("forward",),
    "value": ("forward",),
    "gradient": ("forward", "backward"),
    "gradient along": ("forward", "backward"),
    "tangent": ("forward", "backward"),
    "relevance": ("forward", "backward"),
    "multiplier": ("forward", "forward", "backward"),
}


@attrs.define
class Streams:
    """Runs passes over a batch of ``batch`` examples.

    ``rows`` bounds the rows of one forward pass (None leaves that to attrkit); ``replicas`` are how many pieces of work run at
    once by ``executor``; ``progress`` is what a progress bar on stderr is called, empty for none. ``counts`` are the forward
    and backward passes so far: one over k points counts k.
    """

    passes: Passes
    batch: int
    rows: int | None = None
    replicas: int = 1
    executor: Executor = attrs.field(factory=Serial)
    progress: str = ""
    counts: Counter[str] = attrs.field(factory=Counter)  # in examples

    def stream(
        self,
        problem: Problem,
        points: Iterable[Tensors],
        kind: str,
        ways: Sequence[Evaluate],
        total: int | None = None,
        bound: int | None = None,
        progress: str = "",
    ) -> Iterator[Outcome]:
        """The outcome at each point, in order."""
        packing = self.packing(problem, kind, ways, together, bound)
        packs = self.shown(self.packs(packing, Listed(points), kind), total, progress)
        return (outcome for group, pack in packs for outcome in pack.split(len(group)))

    def packing(
        self,
        problem: Problem,
        kind: str,
        ways: Sequence[Evaluate],
        join: Callable[[Sequence[Point]], Tensors],
        bound: int | None = None,
    ) -> Packing[Point]:
        """How points share passes of a kind, ``join`` making one batch of several."""
        n, habit = len(problem.arguments), self._habit(problem, kind)
        bound = self.rows if kind in PASSES else bound
        lockstep = self.passes.learnt.lockstep
        if bound is None and lockstep:
            bound = max(1, n)
        if kind in PASSES:
            bound = self.passes.compiled or bound
        sizing = habit.sizing if bound is None else habit.sizing.bounded(bound)
        apart = partial(self.passes.apart, problem)
        whole, short = self.passes.training, self.passes.ran_short
        return Packing(n, tuple(ways), join, sizing, habit, apart, whole, not lockstep, self._uncounted, short)

    def packs(self, packing: Packing[Point], points: Queue[Point], kind: str) -> Iterator[Pack[Point]]:
        """Points that shared a pass, and their outcomes, in order and counted.

        What another method makes of them has pieces of work of its own, which the executor gets; and what a piece of work asks
        for itself belongs to it.
        """
        if kind not in PASSES:
            return packing.packs(points, Serial())
        alone = self.passes.within or self.passes.training or isinstance(self.executor, Serial)
        if alone and self.passes.forward.device is None:  # nobody else uses the first forward, which need not be taken
            return self._counted(packing.packs(points, Serial()), kind, packing.n)
        surroundings = None if alone else Surroundings.here()

        def around(do: Callable[[Work], Result]) -> Callable[[Work], Result]:
            def taken(work: Work) -> Result:
                with self.passes.taking():
                    return do(work)

            return taken if surroundings is None else surroundings.carried(taken)

        return self._counted(packing.packs(points, Serial() if alone else self.executor, around), kind, packing.n)

    def at_once(self, problem: Problem, kind: str, ways: Sequence[Evaluate], points: int) -> Evaluate | None:
        """The way to several points in one pass, where that has been found good and is all that is to be done."""
        passes, rows = self.passes, len(problem.arguments) * points
        otherwise = self.progress or not isinstance(self.executor, Serial) or passes.compiled or passes.learnt.lockstep
        if otherwise or points < 2 or passes.forward.device is not None or (self.rows is not None and rows > self.rows):
            return None
        habit = self._habit(problem, kind)
        if habit.way is None or habit.way == len(ways) or not habit.sizing.knows(rows) or passes.apart(problem):
            return None
        return ways[habit.way]

    def shown(self, packs: Iterator[Pack[Point]], total: int | None, progress: str = "") -> Iterator[Pack[Point]]:
        """The same, behind a progress bar where one is wanted."""
        label = progress or self.progress
        return barred(packs, label, total) if label else packs

    def _counted(self, packs: Iterator[Pack[Point]], kind: str, examples: int) -> Iterator[Pack[Point]]:
        for group, pack in packs:
            for each in PASSES[kind]:
                self.counts[each] += examples * len(group)
            yield group, pack

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        before = Counter(self.counts)
        yield
        self.counts.clear()
        self.counts.update(before)

    def passes_run(self, kind: str) -> int:
        """How many forward or backward passes over the batch were run, the last one perhaps over a part of it."""
        return -(-self.counts[kind] // self.batch) if self.batch else 0

    def _habit(self, problem: Problem, kind: str) -> Habit:
        """What was learnt of passes like these: their size by shape, how they are shared by what they are for too."""
        learnt, device, tensors = self.passes.learnt, self.passes.forward.device, problem.inputs
        site = tuple([(layer.key, layer.io, layer.call) for layer in problem.layers])
        about = (kind, site, self.replicas, device, tuple([(t.shape, t.dtype, t.device) for t in tensors]))
        objectives = problem.objectives or (Objective(problem.target, problem.neuron or problem.through),)
        aims = frozenset([key for objective in objectives for key in objective.aims()])
        key = about, self.passes.about(problem), aims
        if (habit := learnt.habits.get(key)) is not None:
            return habit
        first = -(-len(problem.arguments) // self.replicas)  # so that there is something for each
        if (sizing := learnt.sizes.get(about)) is None:
            sizing = learnt.sizes.setdefault(about, Sizing(first, None, device or tensors[0].device))
        return learnt.habits.setdefault(key, Habit(sizing))
