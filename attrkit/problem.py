"""Where to attribute and what to explain: one number per example, seen from a place in the model."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import attrs
import torch
from torch import Tensor

from attrkit.arguments import Arguments, for_rows
from attrkit.arguments import taken as taken_rows
from attrkit.baselines import distribution, matched
from attrkit.choosing import Chosen, chosen
from attrkit.coalitions import Game, Players
from attrkit.draws import mixed
from attrkit.errors import UsageError, UsageTypeError
from attrkit.layers import ModuleLayer, Neuron, known_again
from attrkit.parts import Part
from attrkit.protocols import Contribute, Runner, Tensors
from attrkit.specs import Where
from attrkit.targets import Target

Inner: TypeAlias = "Callable[[Problem], Tensors]"  # a method with its options bound
Result = TypeVar("Result")
_ROW = -1  # the draw that chooses a baseline; methods number theirs from 0
_COMMON = -2  # in place of an example


@attrs.frozen
class Objective:
    """What to explain: the output at a target, or a neuron."""

    target: Target
    neuron: Neuron | None = None

    def aims(self) -> Iterator[Any]:
        """What knows it, or each part of it, again."""
        if self.neuron is not None:
            selector = self.neuron.selector
            yield self.neuron.layer.key, known_again(selector) if callable(selector) else repr(selector)
        elif self.target.rows is None:
            yield self.target.index
        else:
            yield from map(tuple, self.target.rows.unique(dim=0).tolist())

    def taken(self, rows: Tensor) -> Objective:
        """For those of the examples ``rows``, in that order."""
        return self if self.target.rows is None else Objective(self.target.taken(rows), self.neuron)


@attrs.define(slots=False)
class Problem:
    """What a method works on.

    - attribution to inputs: the site is the inputs, the objective the model's output at the target;
    - to a layer: the site is a layer's value;
    - of a neuron: the site is the inputs, the objective the neuron (or the output as far as it goes ``through`` it).

    ``point``, ``baseline``, ``delta`` and ``lerp`` speak of the site, tensor by tensor. Streams take points one by one and
    yield results in the same order, so that a method's memory does not grow with its number of points.
    """

    runner: Runner = attrs.field(repr=False)
    arguments: Arguments
    target: Target
    input_baseline: Any = None  # as it was given
    site_baseline: Any = None
    background: Tensors | None = None  # a distribution of baselines at the inputs, one row each
    layers: tuple[ModuleLayer, ...] = ()
    neuron: Neuron | None = None
    through: Neuron | None = None
    seed: int = 0
    first: int = 0  # the number of the first example, by which draws know it: its row in a larger data set
    keys: Tensor | None = None  # what each row's draws depend on: which example it is, and of which samples; (batch, numbers)
    objectives: tuple[Objective, ...] = ()  # in place of target and neuron where there are several, of the same passes
    choices: Tensor | None = None  # which of such objectives each row is about
    unsure: bool = False  # whether layers are candidates, of which only those count that run and pass on real numbers
    together: bool = True  # whether several layers are moved together, or each while the others stay as they are
    compares: bool = False  # whether attributions compare with the baseline
    every: bool = False  # whether, without a target, every output is explained
    keeps_outputs: bool = False  # whether the objective at point and baseline is of interest
    outputs: dict[str, Tensor] = attrs.field(factory=dict, init=False, repr=False)  # the objective at point and baseline
    errors: Tensors = attrs.field(default=(), init=False, repr=False)  # standard errors, shaped like the attributions
    details: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)  # what a method found out beside attributions

    @property
    def where(self) -> Where:
        """The kind of problem."""
        return Where.LAYER if self.layers else Where.NEURON if self.neuron or self.through else Where.INPUT

    @property
    def inputs(self) -> Tensors:
        """The tensors that the model is called with."""
        return self.arguments.tensors

    @cached_property
    def point(self) -> Tensors:
        """The value at the site, for the inputs."""
        return next(self.sites([self.inputs])) if self.layers else self.inputs

    @cached_property
    def baseline(self) -> Tensors:
        """The value at the site to compare with; zero where none was given.

        Raises:
            UsageError: the baseline has another number of tensors, or another shape, than the site.
        """
        if not self.layers:
            return self.start
        if self.site_baseline is not None:
            return matched(self.site_baseline, self.point, "the layer's value")
        if "point" in vars(self):
            found, compared = self.point, next(self.sites([self.start]))
        else:
            found, compared = self.sites([self.inputs, self.start])  # in one pass
            vars(self)["point"] = found
        if any(not t.dim() for t in found):
            raise UsageError("layer: its value is a single number, without a row for each example; choose another layer")
        if [t.shape for t in compared] != [t.shape for t in found]:
            had, has = ([tuple(t.shape) for t in tensors] for tensors in (found, compared))
            raise UsageError(
                f"layer: its value has shapes {had} for the inputs and {has} for the baseline, which cannot be compared; "
                "choose another layer, one call of it (like 'path@0'), or a method without a baseline"
            )
        return compared

    @cached_property
    def start(self) -> Tensors:
        """The baseline at the model's inputs: what was given, zero, or for each example a row drawn from the background.

        Raises:
            UsageError: the baseline has another number of tensors, or another shape, than the inputs.
        """
        if self.background is not None:
            count = len(self.background[0])
            rows = [int(torch.randint(count, (), generator=self.generator(_ROW, i))) for i in range(len(self.arguments))]
            return tuple(b[rows] for b in self.background)
        if self.input_baseline is None:
            return tuple(map(torch.zeros_like, self.inputs))
        return matched(self.input_baseline, self.inputs, "the input", self.arguments.names)

    @property
    def delta(self) -> Tensors:
        """Point minus baseline."""
        baseline = self.baseline
        pairs = zip(self.point, baseline, strict=True)
        return tuple(x.to(_floating(x)) - b.to(_floating(b)) if x.dtype is torch.bool else x - b for x, b in pairs)

    def lerp(self, alpha: float) -> Tensors:
        """The value at the site a fraction ``alpha`` of the way from baseline to point."""
        baseline = self.baseline
        return _between(baseline, self.point, alpha)

    def input_lerp(self, alpha: float) -> Tensors:
        """The inputs a fraction ``alpha`` of the way from the baseline at the inputs to the inputs."""
        return _between(self.start, self.inputs, alpha)

    def zeros(self) -> Tensors:
        """Zero at the site, in the precision that sums are kept in: at least float32."""
        return tuple(torch.zeros_like(x, dtype=_accumulating(x)) for x in self.point)

    # Draws: each belongs to a seed, an example and a number that the method gives it, whatever shares a forward pass.

    def generator(self, draw: int, example: int = 0) -> torch.Generator:
        """The random generator, on the CPU, of one draw for one example."""
        number, *samples = (example,) if self.keys is None else self._keys[example]
        return torch.Generator().manual_seed(mixed((self.seed, self.first + number, *samples, draw)))

    @property
    def example_rows(self) -> Tensor:
        """Which of the caller's examples each row is, shape ``(batch,)``."""
        return torch.arange(len(self.arguments)) if self.keys is None else self.keys[:, 0]

    def for_rows(self, option: Any, of: int | Tensor) -> Any:
        """A method's option for the rows of this problem, like a mask with a row for each.

        ``of`` are the rows that the option is for: how many examples, or the ``example_rows`` of another problem.
        """
        if not isinstance(option, Tensor | tuple):
            return option
        rows = self.example_rows
        if isinstance(of, Tensor):
            first = of.new_zeros(int(of.max()) + 1 if len(of) else 0)  # row of each example
            first[of.flip(0)] = torch.arange(len(of)).flip(0)
            rows = first[rows]
        return for_rows(option, len(of) if isinstance(of, Tensor) else of, rows, {t.dim() for t in self.point})

    @cached_property
    def _keys(self) -> list[tuple[int, ...]]:
        assert self.keys is not None  # for the type checker
        return [tuple(key) for key in self.keys.tolist()]

    def common_generator(self, draw: int) -> torch.Generator:
        """The random generator, on the CPU, of one draw that all examples share, whichever they are."""
        return torch.Generator().manual_seed(mixed((self.seed, _COMMON, draw)))

    def normal(self, draw: int, like: Tensors | None = None) -> Tensors:
        """Standard normal numbers shaped like the site, or like other tensors with a row for each example."""
        like = self.point if like is None else like
        if not len(like[0]):
            return tuple(torch.zeros_like(x, dtype=_floating(x)) for x in like)
        drawn = []
        for example in range(len(like[0])):
            generator = self.generator(draw, example)
            drawn.append([torch.randn(x.shape[1:], generator=generator, dtype=_floating(x)) for x in like])
        return tuple(torch.stack(rows).to(x.device) for rows, x in zip(zip(*drawn, strict=True), like, strict=True))

    def uniform(self, draw: int) -> Tensor:
        """A number between 0 and 1 for each example, shape ``(batch,)``, float64 on the CPU."""
        numbers = [torch.rand((), generator=self.generator(draw, i), dtype=torch.float64) for i in range(len(self.arguments))]
        return torch.stack(numbers) if numbers else torch.zeros(0, dtype=torch.float64)

    # Evaluation: the runner decides how many points share a forward pass. ``total`` says how many there are, to show progress.

    def values(self, points: Iterable[Tensors], total: int | None = None) -> Iterator[Tensor]:
        """The objective at each value of the site, shape ``(batch,)`` (``(1,)`` where the model returns one for the batch)."""
        return self._noting(points, lambda p: self.runner.values(self, p, total=total), lambda value: value)

    def grads(self, points: Iterable[Tensors], total: int | None = None) -> Iterator[Tensors]:
        """The objective's gradient at each value of the site."""
        return (gradient for _, gradient in self.values_and_grads(points, total))

    def values_and_grads(self, points: Iterable[Tensors], total: int | None = None) -> Iterator[tuple[Tensor, Tensors]]:
        """The objective, and its gradient, at each value of the site."""
        found = self._noting(points, lambda p: self.runner.grads(self, p, total=total), lambda outcome: outcome[0])
        return ((value, gradient) for value, _, gradient in found)

    def path_sum(self, rule: Iterable[tuple[float, float]]) -> Tensors:
        """The weighted sum of gradients on the site's straight path from baseline to point, shaped like the site.

        ``rule`` gives places between 0, the baseline, and 1, the point, and their weights. Sums are kept in float32 at least.
        """
        baseline = self.baseline
        return self.runner.path(self, (baseline, self.point), rule, moving_inputs=False)

    def input_path_sum(self, rule: Iterable[tuple[float, float]]) -> Tensors:
        """The same of gradients at the site while the *inputs* move on their straight path."""
        return self.runner.path(self, (self.start, self.inputs), rule, moving_inputs=True)

    def input_path(self, places: Iterable[float]) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's value, and the gradient there, at places of the inputs' straight path from 0, the baseline, to 1.

        In order, those of a pass together: tensors have a first dimension for the places.
        """
        return self.runner.along_path(self, (self.start, self.inputs), places)

    def along(self, inputs: Iterable[Tensors], total: int | None = None) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's value, and the objective's gradient there, while the *inputs* move."""
        return ((at, gradient) for _, at, gradient in self._along(inputs, total))

    def along_path(self, nodes: Sequence[float]) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's derivative along the inputs' straight path, and the objective's gradient there, at some places of it.

        One forward pass with tangents (forward-mode differentiation) and one backward pass for each.

        Raises:
            UsageError: an operation below the site has no forward-mode derivative.
        """
        for name, x in zip(self.arguments.names, self.inputs, strict=True):
            if not x.is_floating_point():
                raise UsageTypeError(
                    f"inputs: {name!r} has dtype {x.dtype}, along which nothing can be differentiated; use a method "
                    "without 'forward_'"
                )
        way = tuple(x - b for x, b in zip(self.inputs, self.start, strict=True))
        points = ((*self.input_lerp(node), *way) for node in nodes)
        return self.runner.tangents(self, points, total=len(nodes))

    def _along(self, inputs: Iterable[Tensors], total: int | None = None) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
        def run(p: Iterable[Tensors]) -> Iterator[tuple[Tensor, Tensors, Tensors]]:
            return self.runner.grads(self, p, moving_inputs=True, total=total)

        return self._noting(inputs, run, lambda outcome: outcome[0])

    def sites(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """The site's value while the *inputs* move; no pass where the site is the inputs, else only as far as the site."""
        if not self.layers:
            return iter(inputs)
        found = self._noting(inputs, lambda p: self.runner.sites(self, p), lambda outcome: outcome[0])
        return (at for _, at in found)

    def values_of(
        self, blocks: Iterable[Tensors], build: Callable[[Tensors], Tensors], total: int | None = None
    ) -> Iterator[Tensor]:
        """The objective at values of the site that are described by rows of tensors, shape ``(rows, batch)``, some at a time.

        ``build`` makes those of some rows as one larger batch, new tensors of shape ``(rows * batch, ...)``, when their turn
        comes. ``total`` is how many rows there are.
        """
        return self.runner.values_of(self, blocks, build, total=total)

    def game(
        self,
        features: Players | Any = None,
        replacement: Any = None,
        background: Any = None,
    ) -> Game:
        """The objective as a function of which features are there, the others replaced.

        Args:
            features: integer tensors, one per tensor at the site, in which positions of one number are one feature; the name
                of a segmenter, or a mapping of that to its options; or an object that knows its features. Without, each
                position is one.
            replacement: what absent features are replaced by instead of the baseline: the name of a replacement, or a mapping
                of that to its options.
            background: rows to take in place of absent features, one after another, instead of a replacement.
        """
        return Game.of(self, features, replacement, background)

    @staticmethod
    def part(kind: Part, given: Any, option: str) -> Chosen:
        """What a caller chose for an option: a part of a kind, like "estimators", to be called with its options bound.

        ``given`` is a name, a mapping of that to options, a declaration or a function; ``option`` is for messages.
        """
        return chosen(kind, given, option)

    def value(self) -> Tensor:
        """The objective for the inputs."""
        return next(self.values([self.point], 1))

    def value_and_grad(self) -> tuple[Tensor, Tensors]:
        """The objective for the inputs, and its gradient at the site; one forward and one backward pass."""
        value, at, gradient = next(self._along([self.inputs], 1))
        self.__dict__.setdefault("point", at)
        return value, gradient

    def propagate(self, ruleset: Any, parameters: Mapping[str, Any] | None = None) -> tuple[Tensor, Tensors]:
        """The objective, and its relevance at the site, with the operations' backward passes replaced by rules.

        Args:
            ruleset: the name of one, its file, or its content as a mapping.
            parameters: values for the ruleset's parameters, by name.

        Raises:
            UsageTypeError: the parameters are no mapping.
            RulesetError: the ruleset is not valid, or does not fit the model.
        """
        return self.runner.propagate(self, ruleset, _named(parameters))

    def contributions(
        self,
        references: Iterable[Tensors],
        contribute: Contribute,
        ruleset: Any,
        parameters: Mapping[str, Any] | None = None,
        total: int | None = None,
    ) -> Iterator[Tensors]:
        """What each of several references at the inputs contributes to the objective's change, by rules that compare with it.

        ``contribute`` makes that of the multipliers, the site's value and the value there for the reference.
        """
        return self.runner.contributions(self, references, contribute, ruleset, _named(parameters), total=total)

    def _noting(
        self,
        points: Iterable[Tensors],
        run: Callable[[Iterable[Tensors]], Iterator[Result]],
        value: Callable[[Result], Tensor | None],
    ) -> Iterator[Result]:
        """What ``run`` yields for the points; the objective at point and baseline is kept where they are among them."""
        ends: deque[str] = deque()

        def passing() -> Iterator[Tensors]:
            for tensors in points:
                ends.append(self._end(tensors))
                yield tensors

        for result in run(passing()):
            end, seen = ends.popleft(), value(result)
            if end and seen is not None:
                self.outputs[end] = seen
            yield result

    def _end(self, tensors: Tensors) -> str:
        """Whether tensors are the point or the baseline, at the inputs or at the site, without computing either."""
        known = vars(self)  # a layer's value at the baseline leaves what is beside the layer at the point, and is no end
        compared = known.get("baseline" if self.site_baseline is not None else "start")
        for end, places in (("point", (self.inputs, known.get("point"))), ("baseline", (compared,))):
            if any(place and all(map(operator.is_, tensors, place)) for place in places):
                return end
        return ""

    # Other problems: the same for other examples.

    def taken(self, rows: Tensor, inputs: Tensors | None = None, keys: Tensor | None = None) -> Problem:
        """The problem of those of the examples ``rows``, in that order, with other ``inputs`` where they are given.

        ``keys`` are what draws depend on then, shape ``(len(rows), numbers)``.
        """
        n = len(self.arguments)
        if keys is None:
            keys = rows[:, None] if self.keys is None else self.keys[rows]
        other = attrs.evolve(
            self,
            arguments=self.arguments.taken(rows, inputs),
            target=self.target.taken(rows),
            input_baseline=taken_rows(self.input_baseline, n, rows),
            site_baseline=taken_rows(self.site_baseline, n, rows),
            keys=keys,
            objectives=tuple(objective.taken(rows) for objective in self.objectives),
            choices=None if self.choices is None else self.choices[rows],
        )
        for name in ("point", "baseline") if inputs is None else ():
            known = vars(self).get(name)
            if known and all(len(t) == n for t in known):
                vars(other)[name] = taken_rows(known, n, rows)
        return other

    def on(self, device: torch.device) -> Problem:
        """The same problem with what the model is called with on a device; itself where that is there already."""
        arguments = self.arguments.on(device)
        return self if arguments is self.arguments else attrs.evolve(self, arguments=arguments)

    def at_inputs(self) -> Problem:
        """The same problem with the inputs as the site."""
        return attrs.evolve(self, layers=(), site_baseline=None)

    def drawing(self) -> Problem:
        """The same problem with the baselines that were given taken for a distribution, of which each example draws a row.

        Raises:
            UsageError: the method takes no baselines, or what was given is no distribution.
        """
        if not self.compares:
            raise UsageError("there is nothing to draw baselines for: the method takes no baselines")
        if self.background is not None:
            return self
        return attrs.evolve(self, input_baseline=None, background=distribution(self.input_baseline, self.inputs))

    def apart(self, seed: int | None = None) -> Problem:
        """The same problem, in which a method notes what it finds out without a trace here; ``seed`` is that of its draws."""
        other = attrs.evolve(self, seed=self.seed if seed is None else seed)
        same = seed in (None, self.seed)  # else the baseline may be another draw
        for name in ("point", "baseline", "start") if same else ("point",):
            if name in vars(self):
                vars(other)[name] = vars(self)[name]
        return other

    def attributions(
        self, inner: Inner, inputs: Iterable[Tensors], total: int | None = None, most: int | None = None
    ) -> Iterator[Tensors]:
        """What another method says at each of several values of the inputs, ``most`` of them at once, or as many as is best.

        Its draws differ from one to the next.
        """
        return self.runner.attributions(self, inner, inputs, total=total, most=most)

    def of_targets(self, inner: Inner, targets: Sequence[Any], option: str = "targets") -> tuple[Tensors, ...]:
        """What another method says of each of several targets, on shared forward passes as far as the method and model allow.

        Each is what ``target`` of :func:`attrkit.explain` may be, a list with one entry for each of the caller's examples; None
        is the problem's own. Their draws are the same. ``option`` is for messages.

        Raises:
            UsageTypeError: one of them is no target.
            UsageError: a list has another number of entries than there are examples.
        """
        try:
            aims = [None if target is None else self._aim(target) for target in targets]
        except UsageError as error:
            raise type(error)(f"{option}: {error}") from None
        return self.runner.of_targets(self, inner, aims)

    def _aim(self, given: Any) -> Target:
        """A target, as callers give it, for the rows of this problem."""
        if self.keys is None:
            return Target.of(given, len(self.arguments))
        entries = len(given) if isinstance(given, list) or bool(getattr(given, "ndim", 0)) else 1
        last = max(self.example_rows.tolist(), default=0)
        return Target.of(given, max(entries, last + 1)).taken(self.example_rows)


def _named(parameters: Any) -> Mapping[str, Any]:
    """A ruleset's parameters as callers give them."""
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageTypeError(f"parameters must be a mapping of names to values, like {{'eps': 1}}, got {parameters!r}")
    return parameters or {}


def _floating(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _accumulating(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.get_default_dtype()


def _between(start: Tensors, end: Tensors, alpha: float) -> Tensors:
    if alpha in (0.0, 1.0) and all(x.is_floating_point() for x in end):  # the very tensors, by which passes are known again
        return end if alpha else start
    pairs = zip(start, end, strict=True)
    return tuple(torch.lerp(b.to(_floating(x)), x.to(_floating(x)), alpha) for b, x in pairs)
