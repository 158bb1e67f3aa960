"""Operations of every kind that rules are for, as the engine hands them to a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrkit.propagation import Rewriter, operations
from attrkit.propagation.binding import Binding
from attrkit.propagation.operations import by_function
from attrkit.propagation.step import Kept, OperationStep
from attrkit.protocols import Tensors
from attrkit.rulesets.ruleset import Entry, Fallback, Match, Ruleset
from attrkit.rulesets.vocabulary import ANY, members
from attrkit.specs import RuleSpec, rule
from attrkit.testing.models import points, seeded

Compute = Callable[..., Any]


@attrs.define(slots=False)
class _Bound(Binding):
    """Has operations governed by rules that need not be of any plugin, one for each entry."""

    specs: tuple[RuleSpec, ...] = attrs.field(kw_only=True)

    @cached_property
    def _rules(self) -> tuple[RuleSpec, ...]:
        return self.specs


def rewriter(spec: RuleSpec, options: Mapping[str, Any], *words: str) -> Rewriter:
    """What governs operations by a rule: every one, or those of some names.

    The others keep their own backward pass then, but activations hand relevance through, as they do in most rulesets.
    """
    chosen: list[tuple[RuleSpec, Iterable[str], Mapping[str, Any]]] = [(spec, words, options)]
    if words and spec.carries == "relevance":
        chosen.append((_THROUGH, ("activation",), {}))
    if words:
        chosen.append((_OWN, (), {}))
    entries = tuple(Entry(s.name, Match(op=tuple(w)), s.name, dict(o), optional=True, origin="here") for s, w, o in chosen)
    ruleset = Ruleset(spec.name, entries, fallback=Fallback("gradient", "gradient", "gradient"))
    return Rewriter(_Bound(ruleset, specs=tuple(s for s, _, _ in chosen)), by_function(operations()))


@attrs.frozen(eq=False)
class Case:
    """One call of an operation: what computes it, from inputs of shapes whose first dimension is the batch."""

    label: str
    make: Callable[[bool], Compute]  # of whether it adds a bias
    shapes: tuple[tuple[int, ...], ...]
    positive: bool = False  # whether it is for positive inputs only
    smooth_at_zero: bool = True  # whether it and its derivative are finite for zeros

    def compute(self, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The operation, with weights of its own that are the same each time."""

        def build() -> nn.Module:
            made = self.make(bias)
            return made if isinstance(made, nn.Module) else _Call(made)

        return seeded(build).to(dtype)

    def inputs(self, rows: int = 3, dtype: torch.dtype = torch.float64) -> Tensors:
        """What goes in."""
        drawn = [points(rows, *shape, seed=11 + i) for i, shape in enumerate(self.shapes)]
        return tuple((x.abs() + 0.5 if self.positive else x).to(dtype) for x in drawn)


def spy(step: OperationStep) -> tuple[float, ...]:
    """Let every operand have its own backward pass, and note the step."""
    _seen.append(step)
    return (1.0,) * len(step.inputs)


def own(step: OperationStep) -> tuple[float, ...]:
    """Let every operand have its own backward pass."""
    return (1.0,) * len(step.inputs)


def through(step: OperationStep, relevance: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand relevance through."""
    return relevance


_seen: list[OperationStep] = []
_THROUGH = rule("through", operations={"activation"}, identity=True)(through)
_OWN, _SPY = (rule(f.__name__, operations={ANY}, carries="anything", returns="shares")(f) for f in (own, spy))


@attrs.frozen(eq=False)
class Called:
    """One call of an operation: what computes it, what went in, and the step that a rule is given."""

    case: Case
    compute: nn.Module
    inputs: Tensors
    step: OperationStep

    @classmethod
    def of(cls, case: Case, compute: nn.Module, inputs: Tensors, *, compares: bool = False) -> Called:
        """A call, as the engine hands it to a rule; with the same operation elsewhere for reference where it ``compares``."""
        step = _step(compute, inputs)
        if compares:
            step = attrs.evolve(step, reference=_step(compute, tuple(map(elsewhere, inputs))), changed={})
        return cls(case, compute, inputs, step)

    def again(self) -> Called:
        """The same call, a second time."""
        return Called.of(self.case, self.compute, self.inputs, compares=self.step.reference is not None)

    def own(self, carried: Tensor) -> Tensors:
        """The operation's own backward pass."""
        leaves = [x.detach().clone().requires_grad_() for x in self.inputs]
        with torch.enable_grad():
            output = self.compute(*leaves)
            return torch.autograd.grad(output, leaves, carried, allow_unused=True, materialize_grads=True)


def elsewhere(x: Tensor) -> Tensor:
    """The input of a reference: positive where x is, and near no x."""
    return x.flip(-1) * 0.7 + 0.1


def _step(compute: nn.Module, inputs: Tensors) -> OperationStep:
    """The step that a rule is given where ``compute``, one operation, is governed. Detached from any graph."""
    _seen.clear()
    with rewriter(_SPY, {}).active(None, lambda hook: hook) as gate:
        compute(*(gate(x.detach().clone().requires_grad_()) for x in inputs))
    (step,) = _seen
    _seen.clear()
    kept = attrs.evolve(step, operands=tuple(Kept(x.detach().clone()) for x in step.inputs), changed={})
    kept.kept_output = Kept(kept.output.detach())
    return kept


@cache
def operation_of(case: Case) -> str:
    """What rulesets call it."""
    return _step(case.compute(), case.inputs()).operation


def cases(words: frozenset[str]) -> Iterator[Case]:
    """The cases of operations, or groups of them."""
    wanted = members(words)
    return (case for case in CASES if ANY in wanted or operation_of(case) in wanted)


class _Call(nn.Module):
    """A function of torch as a module, so that it may have parameters."""

    def __init__(self, function: Compute) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        """The function itself."""
        return self.function(*inputs)


class _Product(nn.Module):
    """A matrix product with a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        """``x @ weight``."""
        return x @ self.weight


def _normed(module: nn.Module) -> nn.Module:
    """A batch norm that has seen something."""
    for name, value in (("running_mean", 0.3), ("running_var", 1.7)):
        getattr(module, name).fill_(value)
    return module


def _unshifted(module: nn.Module, *, bias: bool) -> nn.Module:
    """A normalisation that adds nothing, where that is asked for."""
    if not bias:
        for name in ("bias", "running_mean"):
            if isinstance(tensor := getattr(module, name, None), Tensor):
                tensor.data.zero_()
    return module


def _function(function: Compute) -> Callable[[bool], Compute]:
    return lambda _: function


_WEIGHTED: dict[str, tuple[Callable[[bool], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda bias: nn.Linear(5, 4, bias), (5,)),
    "dense over time": (lambda bias: nn.Linear(5, 4, bias), (3, 5)),
    "product with a constant": (lambda _: _Product(), (5,)),
    "conv1d": (lambda bias: nn.Conv1d(3, 4, 3, stride=2, padding=1, bias=bias), (3, 7)),
    "conv2d": (lambda bias: nn.Conv2d(3, 4, 3, padding=1, bias=bias), (3, 5, 4)),
    "conv2d in groups": (lambda bias: nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=bias), (4, 4, 4)),
    "transposed conv2d": (lambda bias: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, bias=bias), (4, 3, 3)),
    "batch norm": (lambda bias: _unshifted(_normed(nn.BatchNorm2d(3)), bias=bias), (3, 4, 4)),
    "layer norm": (lambda bias: _unshifted(nn.LayerNorm(6), bias=bias), (3, 6)),
    "RMS norm": (lambda _: nn.RMSNorm(6), (3, 6)),
    "group norm": (lambda bias: _unshifted(nn.GroupNorm(2, 4), bias=bias), (4, 3, 3)),
}
_IMAGE, _ROW, _TIMES = (2, 4, 4), (6,), (4, 6)
_FUNCTIONS: dict[str, tuple[Compute, tuple[tuple[int, ...], ...]]] = {
    "sum of two": (torch.add, (_ROW, _ROW)),
    "concatenation": (lambda a, b: torch.cat([a, b], 1), (_ROW, _ROW)),
    "sum": (lambda x: x.sum(-1), (_TIMES,)),
    "mean": (lambda x: x.mean(-1), (_TIMES,)),
    "average pooling": (lambda x: F.avg_pool2d(x, 2), (_IMAGE,)),
    "interpolation": (lambda x: F.interpolate(x, scale_factor=2), (_IMAGE,)),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), ((4, 2, 2),)),
    "max pooling": (lambda x: F.max_pool2d(x, 2), (_IMAGE,)),
    "largest": (lambda x: x.amax(-1), (_TIMES,)),
    "larger of two": (torch.maximum, (_ROW, _ROW)),
    "absolute value": (torch.abs, (_ROW,)),
    "product": (torch.mul, (_ROW, _ROW)),
    "matrix product": (torch.matmul, ((3, 4), (4, 2))),
    "einsum": (lambda a, b: torch.einsum("bij,bjk->bik", a, b), ((3, 4), (4, 2))),
    "softmax": (lambda x: F.softmax(x, -1), (_TIMES,)),
    "logarithm of softmax": (lambda x: F.log_softmax(x, -1), (_TIMES,)),
    "attention": (F.scaled_dot_product_attention, ((2, 3, 4), (2, 5, 4), (2, 5, 4))),
}
_ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid", "tanh", "hardtanh",
    "relu6", "hardsigmoid", "hardswish", "logsigmoid", "tanhshrink", "softshrink", "hardshrink",
)  # fmt: skip
_ARITHMETIC: dict[str, tuple[Compute, int]] = {
    **{name: (getattr(torch, name), 1) for name in ("sqrt", "rsqrt", "reciprocal", "exp", "log", "sin", "cos", "tan", "sinh")},
    "square": (torch.square, 1),
    "power": (lambda x: x**3, 1),
    "clamp": (lambda x: x.clamp(0.1, 5.0), 1),
    "quotient": (torch.div, 2),
    "variance": (lambda x: x.var(-1), 1),
    "deviation": (lambda x: x.std(-1), 1),
    "norm": (lambda x: torch.linalg.vector_norm(x, dim=-1), 1),
}

#: Every kind of operation at least once.
CASES: tuple[Case, ...] = (
    *(Case(label, make, (shape,)) for label, (make, shape) in _WEIGHTED.items()),
    *(Case(label, _function(f), shapes) for label, (f, shapes) in _FUNCTIONS.items()),
    *(Case(name, _function(getattr(F, name)), (_ROW,)) for name in _ACTIVATIONS),
    *(
        Case(label, _function(f), (_TIMES,) * count, positive=True, smooth_at_zero=False)
        for label, (f, count) in _ARITHMETIC.items()
    ),
)
