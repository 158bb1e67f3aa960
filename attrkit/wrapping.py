"""Methods that take methods: a wrapper applied to one, or to several, is a method again, with the options of all."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import attrs

from attrkit.addressing import Addresses
from attrkit.errors import UsageError
from attrkit.hookspecs import hookimpl
from attrkit.specs import Declared, MethodSpec, Option, Where, checked_spec, places, positional

Complete = Literal["exact", "approximate", "no"]
_AT_LAYER = " + layer"
_COMPLETE: tuple[Complete, ...] = ("no", "approximate", "exact")


@attrs.frozen(eq=False)
class WrapperSpec(Declared):
    """A function of a problem, and of a method, or several, to apply to problems like it.

    A method comes as a function of a problem that returns its attributions, options bound. ``problem.attributions`` calls it
    at several values of the inputs, ``problem.of_targets`` for several targets; it is called directly with
    ``problem.apart()``. A wrapped method promises what the wrapper and all of its methods promise.

    Attributes:
        methods: how many methods it takes: 1, which the function is given by itself, or the least and the most (None for any
            number), of which it is given a tuple.
        applies_to: the methods that it takes: ``any``, those that are ``stochastic``, or those that look at the ``objective``.
        where: the places it can attribute to.
        objective: whether it looks at the target that the caller gave; else it has targets of its own.
        outputs: whether it explains one output, or every output at once, where its methods do.
        complete, linear: what it leaves of these promises of its methods.
        stochastic: whether it draws random numbers itself.
        times: how many times it runs each method, as arithmetic over options; the most, where passes are shared.
    """

    methods: int | tuple[int, int | None] = attrs.field(kw_only=True, default=1)
    applies_to: Literal["any", "stochastic", "objective"] = attrs.field(
        kw_only=True, default="any", validator=attrs.validators.in_(("any", "stochastic", "objective"))
    )
    where: frozenset[Where] = attrs.field(converter=places, kw_only=True, default=frozenset(Where))
    objective: bool = attrs.field(kw_only=True, default=True)
    outputs: Literal["one", "every"] = attrs.field(
        kw_only=True, default="every", validator=attrs.validators.in_(("one", "every"))
    )
    complete: Complete = attrs.field(kw_only=True, default="no", validator=attrs.validators.in_(_COMPLETE))
    linear: bool = attrs.field(kw_only=True, default=False)
    stochastic: bool = attrs.field(kw_only=True, default=False)
    times: str = attrs.field(kw_only=True, default="1")

    def __attrs_post_init__(self) -> None:
        """Refuse a function that cannot be called as a wrapper, and a number of methods that is none."""
        if (count := len(positional(self.function))) != 2:
            wanted = "inners" if self.several else "inner"
            raise UsageError(
                f"wrapper {self.name!r}: {self.function.__qualname__} must take (problem, {wanted}) and options as "
                f"keyword-only arguments, it takes {count} positional"
            )
        if isinstance(self.methods, tuple):
            least, most = self.methods
            fits = least >= 1 and (most is None or most >= max(2, least))
        else:
            fits = self.methods == 1
        if not fits:
            raise UsageError(f"wrapper {self.name!r}: methods must be 1, or a pair like (2, None), got {self.methods!r}")

    @property
    def several(self) -> bool:
        """Whether it takes several methods."""
        return isinstance(self.methods, tuple)

    @property
    def usage(self) -> str:
        """How it is asked for, like ``noise_tunnel(METHOD)``."""
        if not isinstance(self.methods, tuple):
            return f"{self.name}(METHOD)"
        least, most = self.methods
        return f"{self.name}({','.join(['METHOD'] * least)}{'' if least == most else ',...'})"

    def around(self, *inners: MethodSpec) -> Wrapped:
        """The wrapper applied to methods.

        An option whose name is also the wrapper's, or another method's, is called ``METHOD__option``; by its name alone it
        goes to the wrapper, or else to all methods that have it.

        Raises:
            UsageError: they are too many or too few, are not what the wrapper takes, or do not go together.
        """
        least, most = self.methods if isinstance(self.methods, tuple) else (1, 1)
        if len(inners) < least or (most is not None and len(inners) > most):
            some = "one method" if most == 1 else f"{least} or more methods" if most is None else f"{least} to {most} methods"
            got = ", ".join(inner.name for inner in inners) or "none"
            raise UsageError(f"{self.name!r} takes {some}, got {got}; ask for it as {self.usage!r}")
        for inner in inners:
            if self.applies_to != "any" and not getattr(inner, self.applies_to):
                wanted = {"stochastic": "draw random numbers", "objective": "look at the target"}[self.applies_to]
                raise UsageError(
                    f"{self.name!r} takes methods that {wanted}, and {inner.name!r} does not: every run of it would say the "
                    "same; use it by itself"
                )
        return _around(self, inners)

    @hookimpl
    def attrkit_wrappers(self) -> tuple[WrapperSpec, ...]:
        """A spec provides itself."""
        return (self,)


def wrapper(name: str, **facts: Any) -> Callable[[Callable[..., Any]], WrapperSpec]:
    """Declare the decorated function a wrapper of methods. ``facts`` are the attributes of :class:`WrapperSpec`."""
    return lambda function: checked_spec(WrapperSpec, name, function, facts)


def listed(names: str) -> list[str]:
    """The names of methods that commas separate, those in brackets left together."""
    found, depth = [""], 0
    for letter in names:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [name.strip() for name in found]


@attrs.frozen(eq=False)
class Wrapped(MethodSpec):
    """A wrapper applied to methods, called ``wrapper(method)`` or ``wrapper(method,method)``.

    Attributes:
        wrapper, inners: what it is made of.
        addresses: what its options are called.
    """

    wrapper: WrapperSpec = attrs.field(kw_only=True)
    inners: tuple[MethodSpec, ...] = attrs.field(kw_only=True)
    addresses: Addresses = attrs.field(kw_only=True, repr=False)
    options: tuple[Option, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: self.addresses.options, takes_self=True)
    )
    pattern: ClassVar[str] = r"[a-z][a-z0-9_]*\([a-z0-9_(),]+\)"

    @property
    def shared(self) -> Mapping[str, tuple[str, ...]]:
        """Names by which a value goes to several options, and to which."""
        return self.addresses.shared

    @property
    def accepts(self) -> tuple[str, ...]:
        """The names of options, and those that stand for several."""
        own = super().accepts
        return (*own, *(name for name in self.shared if name not in own))

    @property
    def parts(self) -> tuple[Declared, ...]:
        """Every declaration that it is made of."""
        return (self.wrapper, *(p for i in self.inners for p in (i.parts if isinstance(i, Wrapped) else (i,))))

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As of any method; what goes to several goes to those that are not given a value of their own."""
        spread = {name: value for name, value in given.items() if name not in self.shared}
        for name in given.keys() & self.shared.keys():
            for each in self.shared[name]:
                spread.setdefault(each, given[name])
        return super().resolve(spread)

    def __reduce__(self) -> tuple[Any, ...]:
        return _around, (self.wrapper, self.inners)


def _said(fact: Any) -> str:
    return " and ".join(sorted(fact)) if isinstance(fact, frozenset) else str(fact)


@lru_cache(maxsize=256)
def _around(wrapper: WrapperSpec, inners: tuple[MethodSpec, ...]) -> Wrapped:
    addresses = Addresses.of(wrapper, inners)
    own = {o.name for o in wrapper.options}

    def function(problem: Any, **options: Any) -> Any:
        examples = problem.example_rows
        bound = [{name: options[key] for name, key in names.items()} for names in addresses.called]
        applied = tuple(Applied(inner, examples, given) for inner, given in zip(inners, bound, strict=True))
        mine = {k: v for k, v in options.items() if k in own}
        return wrapper.function(problem, applied if wrapper.several else applied[0], **mine)

    name = f"{wrapper.name}({','.join(inner.name for inner in inners)})"
    around = "\n".join(f"Around {inner.name}: {inner.summary}" for inner in inners)
    function.__doc__ = f"{wrapper.doc}\n\n{around}"
    word = inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(o.name, word, default=o.default, annotation=o.type) for o in addresses.options]
    signature = inspect.Signature([*positional(inners[0].function), *options])
    function.__signature__ = signature  # type: ignore[attr-defined]
    facts = _promised(name, wrapper, inners) | _costs(wrapper, inners, addresses)
    return Wrapped(name, function, wrapper=wrapper, inners=inners, addresses=addresses, **facts)


def _promised(name: str, wrapper: WrapperSpec, inners: tuple[MethodSpec, ...]) -> dict[str, Any]:
    """What the wrapper and all of its methods promise."""
    every: tuple[WrapperSpec | MethodSpec, ...] = (wrapper, *inners)
    comparing = [inner for inner in inners if inner.compares]
    where = wrapper.where.intersection(*(inner.where for inner in inners))
    if len({inner.baseline_at for inner in comparing}) > 1:  # at the inputs that is the same
        where -= {Where.LAYER}
    if len({inner.neuron for inner in inners}) > 1:
        where -= {Where.NEURON}
    clashing = {
        "where": not where,
        "lands": len({inner.lands for inner in inners}) > 1,
        "distribution": len({inner.distribution for inner in comparing}) > 1,
    }
    for fact, clashes in clashing.items():
        if clashes:
            said = ", ".join(f"{inner.name} {_said(getattr(inner, fact))}" for inner in inners)
            raise UsageError(f"{name}: these do not go together, their {fact}= differ: {said}")
    return {
        "where": where,
        "gradient": any(inner.gradient for inner in inners),
        "baseline": next((b for b in ("required", "optional") if any(inner.baseline == b for inner in inners)), "none"),
        "baseline_at": comparing[0].baseline_at if comparing else "inputs",
        "distribution": bool(comparing) and comparing[0].distribution,
        "objective": wrapper.objective and any(inner.objective for inner in inners),
        "outputs": "one" if any(spec.outputs == "one" for spec in every) else "every",
        "lands": inners[0].lands,
        "complete": min((spec.complete for spec in every), key=_COMPLETE.index),
        "linear": all(spec.linear for spec in every),
        "stochastic": any(spec.stochastic for spec in every),
        "neuron": inners[0].neuron,
        "references": tuple(dict.fromkeys(r for spec in every for r in spec.references)),
        "deprecated": next((spec.deprecated for spec in every if spec.deprecated), None),
    }


def _costs(wrapper: WrapperSpec, inners: tuple[MethodSpec, ...], addresses: Addresses) -> dict[str, Any]:
    """Passes of all runs of all methods, and the one that tells a layer's value."""

    def total(costs: Iterable[str]) -> str:
        runs = addresses.cost(costs)
        return runs if wrapper.times == "1" else f"{_bracketed(wrapper.times)} * {_bracketed(runs)}"

    wrapped = [isinstance(inner, Wrapped) for inner in inners]  # where nobody asks for the layer's value
    forward = [
        i.forward_passes.removesuffix(_AT_LAYER) if w else i.forward_passes for i, w in zip(inners, wrapped, strict=True)
    ]
    return {
        "forward_passes": total(forward) + (_AT_LAYER if inners[0].lands == "site" else ""),
        "backward_passes": total(i.backward_passes for i in inners) if any(i.gradient for i in inners) else "0",
    }


def _bracketed(cost: str) -> str:
    return cost if re.fullmatch(r"\w+|\w+\(\w+\)", cost) else f"({cost})"


@attrs.frozen(eq=False)
class Applied:
    """A method with its options bound, to be applied to problems whose rows are some of ``examples``."""

    method: MethodSpec
    examples: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    def __call__(self, problem: Any) -> Any:
        """Its attributions."""
        return self.method.function(problem, **{k: problem.for_rows(v, self.examples) for k, v in self.options.items()})
