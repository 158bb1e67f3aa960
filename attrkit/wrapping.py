"""Methods that take a method: a wrapper applied to a method is a method again, with the options of both."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import attrs

from attrkit.errors import UsageError
from attrkit.hookspecs import hookimpl
from attrkit.specs import Declared, MethodSpec, checked_spec, positional


@attrs.frozen(eq=False)
class WrapperSpec(Declared):
    """A function of a problem, and of a method to apply to problems like it.

    The method comes as a function of a problem that returns its attributions, options bound; ``problem.attributions`` calls it
    at several values of the inputs.

    Attributes:
        stochastic: whether it draws random numbers itself.
        times: how many times it runs the method, as arithmetic over options.
    """

    stochastic: bool = attrs.field(kw_only=True, default=False)
    times: str = attrs.field(kw_only=True, default="1")

    def __attrs_post_init__(self) -> None:
        """Refuse a function that cannot be called as a wrapper."""
        if (count := len(positional(self.function))) != 2:
            raise UsageError(
                f"wrapper {self.name!r}: {self.function.__qualname__} must take (problem, inner) and options as keyword-only "
                f"arguments, it takes {count} positional"
            )

    def around(self, inner: MethodSpec) -> Wrapped:
        """The wrapper applied to a method. An option of both is the wrapper's; the method keeps its default."""
        return _around(self, inner)

    @hookimpl
    def attrkit_wrappers(self) -> tuple[WrapperSpec, ...]:
        """A spec provides itself."""
        return (self,)


def wrapper(name: str, **facts: Any) -> Callable[[Callable[..., Any]], WrapperSpec]:
    """Declare the decorated function a wrapper of methods. ``facts`` are the attributes of :class:`WrapperSpec`."""
    return lambda function: checked_spec(WrapperSpec, name, function, facts)


@attrs.frozen(eq=False)
class Wrapped(MethodSpec):
    """A wrapper applied to a method, called ``wrapper(method)``."""

    wrapper: WrapperSpec = attrs.field(kw_only=True)
    inner: MethodSpec = attrs.field(kw_only=True)
    pattern: ClassVar[str] = r"[a-z][a-z0-9_]*\([a-z0-9_()]+\)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _around, (self.wrapper, self.inner)


@lru_cache(maxsize=256)
def _around(wrapper: WrapperSpec, inner: MethodSpec) -> Wrapped:
    own = {o.name for o in wrapper.options}

    def function(problem: Any, **options: Any) -> Any:
        bound = {k: v for k, v in options.items() if k not in own}
        apply = Applied(inner, len(problem.arguments), bound)
        return wrapper.function(problem, apply, **{k: v for k, v in options.items() if k in own})

    function.__doc__ = f"{wrapper.doc}\n\nAround {inner.name}: {inner.summary}"
    function.__signature__ = _joined(wrapper, inner)  # type: ignore[attr-defined]
    facts = {a.name: getattr(inner, a.name) for a in attrs.fields(MethodSpec) if a.kw_only}
    facts |= {
        "references": (*wrapper.references, *inner.references),
        "complete": "no",
        "linear": False,
        "stochastic": wrapper.stochastic or inner.stochastic,
        "forward_passes": f"({wrapper.times}) * ({inner.forward_passes})",
        "backward_passes": f"({wrapper.times}) * ({inner.backward_passes})" if inner.gradient else "0",
        "classes": {},
        "deprecated": wrapper.deprecated or inner.deprecated,
    }
    return Wrapped(f"{wrapper.name}({inner.name})", function, wrapper=wrapper, inner=inner, **facts)


@attrs.frozen(eq=False)
class Applied:
    """A method with its options bound, to be applied to problems whose rows are some of ``n`` examples."""

    method: MethodSpec
    n: int
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    def __call__(self, problem: Any) -> Any:
        """Its attributions."""
        return self.method.function(problem, **{k: problem.for_rows(v, self.n) for k, v in self.options.items()})


def _joined(wrapper: WrapperSpec, inner: MethodSpec) -> inspect.Signature:
    """The problem, and the options of both."""
    first, *_ = positional(inner.function)
    every = {**inspect.signature(inner.function).parameters, **inspect.signature(wrapper.function).parameters}
    return inspect.Signature([first, *(p for p in every.values() if p.kind is p.KEYWORD_ONLY)])
