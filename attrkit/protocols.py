"""The structural types at which plugins and core meet. Nothing has to inherit from these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from attrkit.problem import Problem
    from attrkit.targets import Target

Tensors: TypeAlias = tuple["Tensor", ...]  # not all of it in quotes: ``Tensors | None`` is evaluated at run time too
#: What to make of multipliers, the value at the site, and the value there that it is compared with.
Contribute: TypeAlias = Callable[[Tensors, Tensors, Tensors], Tensors]
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
    ``forward`` applies the operation's linear map, without the bias, to ``x``; ``transpose`` applies its transpose.
    ``weight`` changes the operation's weight first and must be an elementwise function; ``transposes`` are those for several
    such changes, ``forwards`` the sum of values for several inputs with a change for each, which may be cheaper at once.
    ``reads`` is how many weights there are between each output and the inputs, shaped to broadcast against ``output``;
    ``evenly`` gives each input the sum of the amounts at the outputs that read it, as ``transpose`` does with a weight of
    ones. ``inputs`` are all of its operands; ``live`` says which of them depend on what is attributed, ``gates`` how much of
    a gate each is (0 none; 1 the output of an activation; 2 of one between nothing and all; 3 of a reciprocal, which
    normalises). ``degree`` is the power with which the output grows with what is live. ``options`` are what else an operation
    says of itself, like a softmax its ``dim``. ``at`` is the output for other operands, ``local`` the derivative of a
    function of each entry, ``vjps`` the operation's own backward pass to each operand, at their values or at others (``vjp``
    to the first). ``reference`` is the same operation in the pass over the baseline, for rules that carry multipliers;
    ``before`` the linear map that made the input, for rules that join it.
    """

    @property
    def operation(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def input(self) -> Tensor: ...
    @property
    def inputs(self) -> Tensors: ...
    @property
    def live(self) -> tuple[bool, ...]: ...
    @property
    def gates(self) -> tuple[int, ...]: ...
    @property
    def degree(self) -> float: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def reference(self) -> Step | None: ...
    @property
    def before(self) -> Step | None: ...
    @property
    def output(self) -> Tensor: ...
    @property
    def bias(self) -> Tensor | None: ...
    def forward(self, x: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor: ...
    def transpose(self, cotangent: Tensor, weight: Callable[[Tensor], Tensor] | None = None) -> Tensor: ...
    def forwards(self, *pairs: tuple[Tensor, Callable[[Tensor], Tensor] | None]) -> Tensor: ...
    def transposes(self, cotangent: Tensor, *weights: Callable[[Tensor], Tensor] | None) -> Tensors: ...
    def reads(self) -> Tensor: ...
    def evenly(self, amounts: Tensor) -> Tensor: ...
    def vjp(self, cotangent: Tensor) -> Tensor: ...
    def vjps(self, cotangent: Tensor, at: Sequence[Tensor] | None = None) -> Tensors: ...
    def at(self, *operands: Tensor) -> Tensor: ...
    def local(self) -> Tensor: ...


@runtime_checkable
class OperationCall(Protocol):
    """One call of an operation in a forward pass, as the handler of an :class:`attrkit.Operation` sees it.

    ``args`` and ``kwargs`` are those of the torch function. A handler says what the call is by returning what one of the
    methods returns: ``unary`` an operation on one tensor; ``several`` one on several, of which two or more may depend on the
    input; ``weighted`` a linear map, ``function(x, weight)`` with a constant weight, which rules for linear maps govern;
    ``by_parts`` the operations that its ``parts`` compute it by; ``ungoverned`` the operation itself, reported with a reason;
    ``run`` the operation itself, of which nothing is said. ``operands`` gives arguments by position or name, and makes them
    what rules are about. ``own`` says for what the operation's own backward pass will do: ``"homogeneous"`` where it shares
    relevance by contribution, ``"linear"`` where it also hands on multipliers. ``degree`` is the power with which the output
    grows with the input.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def operands(self, *names: str) -> tuple[Any, ...]: ...
    def unary(self, x: Any, own: Literal["", "homogeneous", "linear"] = "", degree: float = 1.0, **options: Any) -> Any: ...
    def several(self, *operands: Tensor, own: Literal["", "homogeneous", "linear"] = "") -> Any: ...
    def weighted(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Any: ...
    def by_parts(self) -> Any: ...
    def ungoverned(self, reason: str) -> Any: ...
    def run(self) -> Any: ...


@runtime_checkable
class PropagationRule(Protocol):
    """Sends relevance from an operation's output (same shape as ``step.output``) to its input."""

    def __call__(self, step: Step, relevance: Tensor, /, **parameters: Any) -> Tensor: ...


@runtime_checkable
class Executor(Protocol):
    """Runs pieces of work, passes over the model, and yields their results in the order of the work.

    Pieces may run at the same time in several threads of this process: each has a replica of the model to itself.
    """

    def run(self, work: Iterable[Work], do: Callable[[Work], Result]) -> Iterator[Result]: ...


@runtime_checkable
class Runner(Protocol):
    """Executes model calls for a problem: packing, taps, devices. Methods never call the model themselves."""

    def sites(self, problem: Problem, inputs: Iterable[Tensors]) -> Iterator[tuple[Tensor | None, Tensors]]: ...
    def values(self, problem: Problem, points: Iterable[Tensors], *, total: int | None = None) -> Iterator[Tensor]: ...
    def values_of(
        self, problem: Problem, blocks: Iterable[Tensors], build: Callable[[Tensors], Tensors], *, total: int | None = None
    ) -> Iterator[Tensor]: ...
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
    def contributions(
        self,
        problem: Problem,
        references: Iterable[Tensors],
        contribute: Contribute,
        ruleset: Any,
        parameters: Mapping[str, Any],
        *,
        total: int | None = None,
    ) -> Iterator[Tensors]: ...
    def attributions(
        self,
        problem: Problem,
        inner: Callable[[Problem], Tensors],
        inputs: Iterable[Tensors],
        *,
        total: int | None = None,
        most: int | None = None,
    ) -> Iterator[Tensors]: ...
    def of_targets(
        self, problem: Problem, inner: Callable[[Problem], Tensors], targets: Sequence[Target | None]
    ) -> tuple[Tensors, ...]: ...
