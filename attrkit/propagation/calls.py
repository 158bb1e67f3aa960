"""One intercepted call of an operation, and what its handler can make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from torch import Tensor

from attrkit.propagation.linear import ByGradient, LinearMap
from attrkit.propagation.made import made_by, noted
from attrkit.propagation.normalised import Normalised
from attrkit.propagation.operations import Operation, live, writes
from attrkit.propagation.step import Kept, OperationStep
from attrkit.rulesets.vocabulary import GROUPS

if TYPE_CHECKING:
    from attrkit.propagation.choices import Own
    from attrkit.propagation.rewriter import Rewriter


@attrs.frozen
class Row:
    """One line of the report: what governed one call of an operation."""

    path: str
    operation: str
    rule: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    entry: str = ""
    origin: str = ""


@attrs.frozen
class Again:
    """A function with the places of its operands left open. It holds on to no operand, which may be its own result."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    keys: tuple[int | str, ...]
    writes: bool

    def __call__(self, *operands: Any) -> Any:
        """Apply it; nothing is written into what is given."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for key, value in zip(self.keys, operands, strict=True):
            if isinstance(key, int):
                args[key] = value
            else:
                kwargs[key] = value
        if self.writes:
            args[0] = args[0].clone()
        return self.function(*args, **kwargs)


@attrs.define
class Call:
    """One intercepted call: what handlers of operations work with. Each ends in one of its methods."""

    rewriter: Rewriter
    operation: Operation
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    keys: tuple[int | str, ...] = (0,)  # of the operands
    name: str = attrs.field(default=attrs.Factory(lambda self: self.operation.name, takes_self=True))  # for rulesets

    def bind(self, *required: str, **defaults: Any) -> dict[str, Any]:
        """The arguments by name."""
        return {**defaults, **dict(zip((*required, *defaults), self.args, strict=False)), **self.kwargs}

    @property
    def writes(self) -> bool:
        """Whether it writes into its first operand."""
        return writes(self.function, self.args, self.kwargs)

    def operands(self, *names: str) -> tuple[Any, ...]:
        """The first arguments, by position or by name; rules are about these from now on."""
        self.keys = tuple(i if i < len(self.args) else name for i, name in enumerate(names))
        return tuple(self.args[k] if isinstance(k, int) else self.kwargs.get(k) for k in self.keys)

    def anew(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        keys: tuple[int | str, ...] = (0,),
        name: str = "",
        **kwargs: Any,
    ) -> Call:
        """The same call, made in another way."""
        return attrs.evolve(self, function=function, args=args, kwargs=kwargs, keys=keys, name=name or self.name)

    def run(self) -> Any:
        """The operation itself, with its own backward pass; what is kept of what it writes into is copied first."""
        if self.writes:
            self.rewriter.links.keeper.secure(self.args[0])
        return self.function(*self.args, **self.kwargs)

    @property
    def on(self) -> Again:
        """The operation as a function of its operands."""
        args = tuple(None if i in self.keys else value for i, value in enumerate(self.args))
        kwargs = {name: value for name, value in self.kwargs.items() if name not in self.keys}
        return Again(self.function, args, kwargs, self.keys, self.writes)

    # How a handler ends.

    def ungoverned(self, reason: str) -> Any:
        """The operation itself, treated like one that no entry matched."""
        if any(map(live, (*self.args, *self.kwargs.values()))):
            self.rewriter.choices.fall_back(self.name, f"no rule can govern it: {reason}")
        return self.rewriter.links.audit.treated(self.run)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, linear: LinearMap) -> Any:
        """A linear map of ``x``."""
        if self.operation.name not in GROUPS["linear_like"]:
            self.name = "matmul_const"
            given: dict[Any, Any] = {**dict(enumerate(self.args)), **self.kwargs}
            self.keys = tuple(key for key, value in given.items() if value is x)[:1] or self.keys  # of what is live alone
        offset = None if bias is None else bias.detach()
        return self.rewriter.applied(self, self.step((x,), map=linear, weight=weight.detach(), offset=offset), (x,))

    def affine(self, x: Tensor, computed: Callable[[], tuple[Tensor, Tensor]]) -> Any:
        """An affine map per channel, which is merged into the linear map that made ``x`` where the ruleset says so.

        ``computed`` are what each channel is multiplied by, and what is added then.
        """
        made = made_by(x) if self.rewriter.choices.merges(self.name) else None
        if made is not None and made.step is not None and made.step.map is not None and made.step.map.channels_second(x):
            return self.rewriter.links.merged(self, made, *computed())
        return self.rewriter.applied(self, self.step((x,)), (x,), "linear")

    def unary(self, x: Any, own: Own = "", degree: float = 1.0, **options: Any) -> Any:
        """An operation on one tensor; ``own`` says for what its own backward pass will do.

        ``degree`` is the power with which the output grows with the input, where there is one; ``options`` are what rules need
        to know beside that.
        """
        if not isinstance(x, Tensor):
            return self.run()
        return self.rewriter.applied(self, self.step((x,), degree=degree, options=options), (x,), own)

    def several(self, *operands: Tensor, own: Own = "") -> Any:
        """An operation on several tensors, of which two or more depend on the input."""
        degree = 1.0 if own else float(sum(map(live, operands)))
        return self.rewriter.applied(self, self.step(operands, degree=degree), operands, own)

    def constant(self, *factors: Any) -> Any:
        """A product of which at most one factor depends on the input: its own backward pass will do."""
        if not (alive := [i for i, x in enumerate(factors) if live(x)]):
            return self.run()
        return self.rewriter.links.multiplied(self, factors, alive[0])

    def shifted(self, *terms: Any) -> Any:
        """A sum of which at most one term depends on the input: ``1 - gate`` is a gate."""
        made = next((made_by(x) for x in terms if live(x)), None)
        return self.run() if made is None or not made.gate else noted(self.run(), gate=made.gate)

    def weighted(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Any:
        """A product with a constant: a linear map, unless the constant is what a rule has made of something by stopping it."""
        if self.rewriter.links.stopped(weight):
            return self.constant(x, weight)
        return self.linear(x, weight, None, ByGradient(function))

    def normalised(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, linear: Normalised) -> Any:
        """A normalisation by what ``x`` itself is like: a linear map, once its deviation is taken for a constant."""
        scale = x.new_ones(()) if weight is None else weight.detach()
        offset = None if bias is None else bias.detach()
        return self.rewriter.applied(self, self.step((x,), map=linear, weight=scale, offset=offset), (x,))

    def picking(self, x: Tensor, picked: Callable[[Tensor], Tensor]) -> Any:
        """An operation that picks entries of ``x``; ``picked`` says which of another tensor those are."""
        return self.rewriter.links.picked(self, x, picked)

    def stopped(self, x: Any) -> bool:
        """Whether a constant was computed from the input by what a rule has stopped."""
        return self.rewriter.links.stopped(x)

    def intercepted(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Another operation, governed like those of the model."""
        return self.rewriter.intercepted(function, args, kwargs)

    def by_parts(self) -> Any:
        """The operation as the operations it is made of, unless an entry is about it as a whole."""
        return self.rewriter.composite(self)

    def taken_apart(self) -> Any:
        """The operation as the operations it is made of."""
        return self.rewriter.taken_apart(self)

    def step(self, operands: tuple[Tensor, ...], **facts: Any) -> OperationStep:
        """What rules are to see of the call."""
        if "map" not in facts:  # which is the operation as a function already
            facts["again"] = self.on
        return OperationStep(self.name, self.rewriter.path, tuple(map(Kept, operands)), **facts)


def flat(value: Any) -> Iterator[Any]:
    """What is in lists and tuples, however deep."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from flat(item)
    else:
        yield value
