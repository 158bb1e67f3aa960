"""Where to attribute and what to explain: one number per example, seen from a place in the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError, UsageIndexError, UsageTypeError
from attrkit.layers import ModuleLayer, Neuron
from attrkit.protocols import Runner, Tensors
from attrkit.specs import Where
from attrkit.targets import Target


@attrs.frozen
class Arguments:
    """What the model is called with: the attributed tensors by name, and everything else as it is.

    ``keyword`` says that the tensors are passed by their names. The first dimension of every tensor is the batch.
    """

    names: tuple[str, ...]
    tensors: Tensors
    keyword: bool = False
    extra: tuple[Any, ...] = ()
    fixed: Mapping[str, Any] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def call(self, tensors: Tensors, copies: int, part: slice) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for copies of a part of the batch, ``tensors`` in place of the attributed ones."""
        extra = tuple(tiled(e, len(self), copies, part) for e in self.extra)
        fixed = {k: tiled(v, len(self), copies, part) for k, v in self.fixed.items()}
        if self.keyword:
            return extra, {**dict(zip(self.names, tensors, strict=True)), **fixed}
        return (*tensors, *extra), fixed


def tiled(value: Any, n: int, copies: int, part: slice) -> Any:
    """``copies`` copies of a part of a tensor with a row for each of ``n`` examples; anything else as it is.

    Tensors are always copied, so that the model may write into them.
    """
    if not isinstance(value, Tensor):
        return value
    if value.dim() == 0 or len(value) != n:
        return value.clone()
    return value[part].repeat(copies, *[1] * (value.dim() - 1))


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
    input_baseline: Tensors | None = None
    site_baseline: Any = None
    layers: tuple[ModuleLayer, ...] = ()
    neuron: Neuron | None = None
    through: Neuron | None = None
    seed: int = 0

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
        return self.runner.read(self, self.inputs) if self.layers else self.inputs

    @cached_property
    def baseline(self) -> Tensors:
        """The value at the site to compare with; zero where none was given.

        Raises:
            UsageError: the baseline has another number of tensors, or another shape, than the site.
        """
        if self.site_baseline is not None:
            return matched(self.site_baseline, self.point, "the layer's value")
        if self.layers:
            return self.runner.read(self, self.start)
        return self.start

    @cached_property
    def start(self) -> Tensors:
        """The baseline at the model's inputs; zero where none was given."""
        return self.input_baseline or tuple(map(torch.zeros_like, self.inputs))

    @property
    def delta(self) -> Tensors:
        """Point minus baseline."""
        return tuple(x - b for x, b in zip(self.point, self.baseline, strict=True))

    def lerp(self, alpha: float) -> Tensors:
        """The value at the site a fraction ``alpha`` of the way from baseline to point."""
        return _between(self.baseline, self.point, alpha)

    def input_lerp(self, alpha: float) -> Tensors:
        """The inputs a fraction ``alpha`` of the way from the baseline at the inputs to the inputs."""
        return _between(self.start, self.inputs, alpha)

    def zeros(self) -> Tensors:
        """Zero at the site."""
        return tuple(map(torch.zeros_like, self.point))

    def generator(self, sample: int, example: int = 0) -> torch.Generator:
        """The random generator, on the CPU, of one sample for one example; the same whatever shares a forward pass with it."""
        return torch.Generator().manual_seed(hash((self.seed, example, sample)) & 0x7FFF_FFFF_FFFF_FFFF)

    def normal(self, sample: int) -> Tensors:
        """Standard normal numbers shaped like the site, from each example's own generator."""
        drawn = []
        for example in range(len(self.point[0])):
            generator = self.generator(sample, example)
            drawn.append([torch.randn(x.shape[1:], generator=generator, dtype=_floating(x)) for x in self.point])
        return tuple(torch.stack(rows).to(x.device) for rows, x in zip(zip(*drawn, strict=True), self.point, strict=True))

    # Evaluation: the runner decides how many points share a forward pass. ``total`` says how many there are, to show progress.

    def values(self, points: Iterable[Tensors], total: int | None = None) -> Iterator[Tensor]:
        """The objective at each value of the site, shape ``(batch,)`` (``(1,)`` where the model returns one for the batch)."""
        return self.runner.values(self, points, total=total)

    def grads(self, points: Iterable[Tensors], total: int | None = None) -> Iterator[Tensors]:
        """The objective's gradient at each value of the site."""
        return (gradient for _, _, gradient in self.runner.grads(self, points, total=total))

    def along(self, inputs: Iterable[Tensors], total: int | None = None) -> Iterator[tuple[Tensors, Tensors]]:
        """The site's value, and the objective's gradient there, while the *inputs* move."""
        return ((at, gradient) for _, at, gradient in self.runner.grads(self, inputs, moving_inputs=True, total=total))

    def value(self) -> Tensor:
        """The objective for the inputs."""
        return next(self.values([self.point]))

    def value_and_grad(self) -> tuple[Tensor, Tensors]:
        """The objective for the inputs, and its gradient at the site; one forward and one backward pass."""
        value, at, gradient = next(self.runner.grads(self, [self.inputs], moving_inputs=True))
        self.__dict__.setdefault("point", at)
        return value, gradient

    def propagate(self, ruleset: Any, parameters: Mapping[str, Any] | None = None) -> tuple[Tensor, Tensors]:
        """The objective, and its relevance at the site, with the operations' backward passes replaced by rules."""
        return self.runner.propagate(self, ruleset, parameters or {})


def _floating(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _between(start: Tensors, end: Tensors, alpha: float) -> Tensors:
    pairs = zip(start, end, strict=True)
    return tuple(torch.lerp(b, x, alpha) if x.is_floating_point() else b + alpha * (x - b) for b, x in pairs)


def matched(given: Any, like: Tensors, what: str) -> Tensors:
    """A baseline as one tensor per tensor of ``like``, from numbers or tensors that broadcast over the batch.

    Raises:
        UsageIndexError: another number of tensors.
        UsageError: a shape that is neither that of ``what`` nor one example of it.
        UsageTypeError: neither a number nor a tensor.
    """
    parts = given if isinstance(given, tuple | list) else (given,) * len(like) if not isinstance(given, Tensor) else (given,)
    if len(parts) != len(like):
        raise UsageIndexError(
            f"baselines has {len(parts)} entries, but {what} has {len(like)} tensors; give one baseline for each"
        )
    return tuple(_matched(part, x, what) for part, x in zip(parts, like, strict=True))


def _matched(part: Any, x: Tensor, what: str) -> Tensor:
    if isinstance(part, bool | int | float):
        return torch.full_like(x, part)
    if not isinstance(part, Tensor):
        raise UsageTypeError(f"baselines must be numbers or tensors, got {type(part).__name__}")
    if part.shape == x.shape or part.shape == (1, *x.shape[1:]):
        return part.to(x).expand_as(x)
    raise UsageError(
        f"baselines has shape {tuple(part.shape)}, but {what} has shape {tuple(x.shape)}; give that shape, one example of it "
        f"({(1, *x.shape[1:])}), or a number"
    )
