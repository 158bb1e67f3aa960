"""The structural types at which plugins and core meet. Nothing has to inherit from these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from attrkit.problem import Problem

Tensors: TypeAlias = "tuple[Tensor, ...]"
Work = TypeVar("Work")
Result = TypeVar("Result")


@runtime_checkable
class Attribution(Protocol):
    """Computes attributions for a problem: one tensor per tensor at the problem's site, of the same shape."""

    def __call__(self, problem: Problem, /, **options: Any) -> Tensors: ...


@runtime_checkable
class Layer(Protocol):
    """A place inside a model whose tensors can be read, and replaced, each time a forward pass comes by."""

    @property
    def name(self) -> str: ...
    def read(self, value: Any) -> Tensors: ...
    def write(self, value: Any, tensors: Tensors) -> Any: ...


@runtime_checkable
class Step(Protocol):
    """One operation of a forward pass, as a rule sees it.

    ``input``, ``output`` and ``bias`` are detached; ``bias`` is shaped to be added to ``output``, None where there is none.
    ``forward`` applies the operation's linear map, without the bias unless one is given, to ``x``; ``transpose`` applies its
    transpose. ``weight`` changes the operation's weight first and must be an elementwise function.
    """

    @property
    def operation(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def input(self) -> Tensor: ...
    @property
    def output(self) -> Tensor: ...
    @property
    def bias(self) -> Tensor | None: ...
    def forward(self, x: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor: ...
    def transpose(self, cotangent: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor: ...
    def vjp(self, cotangent: Tensor) -> Tensor: ...


@runtime_checkable
class PropagationRule(Protocol):
    """Sends relevance from an operation's output (same shape as ``step.output``) to its input."""

    def __call__(self, step: Step, relevance: Tensor, /, **parameters: Any) -> Tensor: ...


@runtime_checkable
class Executor(Protocol):
    """Runs pieces of work, each on one replica of the model, and yields their results in the order of the work."""

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]: ...


@runtime_checkable
class Runner(Protocol):
    """Executes model calls for a problem: packing, taps, devices. Methods never call the model themselves."""

    def sites(self, problem: Problem, inputs: Iterable[Tensors]) -> Iterator[tuple[Tensor | None, Tensors]]: ...
    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]: ...
    def grads(
        self, problem: Problem, points: Iterable[Tensors], *, moving_inputs: bool = False, total: int | None = None
    ) -> Iterator[tuple[Tensor, Tensors, Tensors]]: ...
    def path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], rule: Iterable[tuple[float, float]], *, moving_inputs: bool
    ) -> Tensors: ...
    def along_path(
        self, problem: Problem, ends: tuple[Tensors, Tensors], places: Iterable[float]
    ) -> Iterator[tuple[Tensors, Tensors]]: ...
    def tangents(
        self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None
    ) -> Iterator[tuple[Tensors, Tensors]]: ...
    def propagate(self, problem: Problem, ruleset: Any, parameters: Mapping[str, Any]) -> tuple[Tensor, Tensors]: ...
    def attributions(
        self,
        problem: Problem,
        inner: Callable[[Problem], Tensors],
        inputs: Iterable[Tensors],
        *,
        total: int | None = None,
        most: int | None = None,
    ) -> Iterator[Tensors]: ...
