"""What a method costs: passes as declared, memory that does not grow."""

from __future__ import annotations

import ast
import operator
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from torch import Tensor

from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject
from attrkit.wrapping import Wrapped

_OPERATIONS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv, ast.Div: operator.truediv,
}  # fmt: skip


class UnknownCostError(Exception):
    """A declared cost is no arithmetic over numbers that are known."""


def passes(declared: str, names: Mapping[str, Any]) -> float:
    """The value of a declared cost.

    Raises:
        UnknownCostError: it names something else than options, ``features`` and ``layer``, or one that is no number.
    """

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.Name) and isinstance(names.get(node.id), int | float):
            return names[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "min":
            return min(map(value, node.args))
        raise UnknownCostError(ast.unparse(node))

    return float(value(ast.parse(declared, mode="eval").body))


@check(lambda s: s.where is not Where.NEURON)
def costs_what_it_declares(s: Subject) -> None:
    """Forward and backward passes are as many as declared; of methods that draw, and of wrapped ones, no more."""
    counts = {o.name: 7 for o in s.spec.options if o.name.startswith("n_") and s.takes(o.name) and o.type.startswith("int")}
    counted = s.changed(options={**s.options, **counts})
    x = points(2, 5)
    found = counted.explain(seeded(), x)
    features = sum(v[0].numel() for v in found.values.values())
    names = {**s.spec.resolve(counted.options), "features": features, "layer": int(s.where is Where.LAYER)}
    for direction, declared in (("forward", s.spec.forward_passes), ("backward", s.spec.backward_passes)):
        try:
            expected = passes(declared, names)
        except UnknownCostError:  # it depends on what only a run tells
            continue
        taken = found.passes[direction]
        saving = s.spec.stochastic or isinstance(s.spec, Wrapped)  # coalitions drawn twice cost once, targets share passes
        fits = taken <= expected if saving else taken == expected
        assert fits, f"declares {declared} = {expected:g} {direction} passes, and took {taken}"


_STREAMS = {"grads", "values", "along_path", "attributions", "contributions"}
_AT_ONCE = 2  # copies of the inputs that another method is given; without a bound their number depends on the clock


@attrs.define
class _Watching:
    """A runner that counts how many of the results that it yielded are alive at once."""

    runner: Any
    alive: list[weakref.ref[Tensor]] = attrs.field(factory=list)
    most: int = 0

    def __getattr__(self, name: str) -> Any:
        stream = getattr(self.runner, name)
        return self._watched(stream, bounded=name == "attributions") if name in _STREAMS else stream

    def _watched(self, stream: Any, *, bounded: bool) -> Any:
        def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
            if bounded:
                kwargs["most"] = min(kwargs.get("most") or _AT_ONCE, _AT_ONCE)
            for found in stream(*args, **kwargs):
                self.alive.extend(weakref.ref(t) for t in _tensors(found))
                self.alive = [ref for ref in self.alive if ref() is not None]
                self.most = max(self.most, len(self.alive))
                yield found
                del found

        return call


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, tuple):
        for each in found:
            yield from _tensors(each)


def _in_steps(s: Subject) -> bool:
    return s.spec.gradient and any(s.takes(name) for name in ("n_steps", "n_samples"))


@check(_in_steps)
def memory_does_not_grow(s: Subject) -> None:
    """Of the gradients of many steps, no more are kept at once than of few."""
    name = next(name for name in ("n_steps", "n_samples") if s.takes(name))
    few, many = (_kept(s, {name: n}) for n in (8, 64))
    allowed = max(2 * few + 8, 32)  # those of a pass are there together
    assert many <= allowed, f"{few} tensors were alive at once with {name}=8, and {many} with 64; add up as they come"


def _kept(s: Subject, options: Mapping[str, Any]) -> int:
    watching: list[_Watching] = []

    def function(problem: Any, **given: Any) -> Any:
        watching.append(_Watching(problem.runner))
        return s.spec.function(attrs.evolve(problem, runner=watching[-1]), **given)

    _through(s, function, options)
    return max((w.most for w in watching), default=0)


def _through(s: Subject, function: Any, options: Mapping[str, Any]) -> None:
    import inspect

    function.__doc__ = s.spec.doc
    function.__signature__ = inspect.signature(s.spec.function)
    watched = s.changed(spec=attrs.evolve(s.spec, function=function), options={**s.options, **options})
    watched.values(seeded(), points(2, 5), internal_batch_size=4)
