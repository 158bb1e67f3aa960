"""What wrappers promise: what methods do, of the methods that they are applied to, and what they say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from attrkit.registry import registry
from attrkit.specs import Where
from attrkit.testing.checks import CHECKS as OF_METHODS
from attrkit.testing.checks import applying
from attrkit.testing.declared import declared
from attrkit.testing.listed import Check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject
from attrkit.wrapping import WrapperSpec

check = declared()

_AROUND: dict[str, dict[str, Any]] = {"saliency": {}, "integrated_gradients": {"n_steps": 8}}  # and options of theirs
_OF_ITSELF = {"is_described"}  # what a wrapper says of itself, and cannot say of methods that it is applied to


@attrs.frozen(eq=False)
class WrapperSubject:
    """One wrapper, with the options under test."""

    spec: WrapperSpec
    options: Mapping[str, Any] = attrs.field(factory=dict)


@check()
def applies_the_method(s: WrapperSubject) -> None:
    """The method it is given is what it applies: around another one it says something else."""
    first, second = (
        Subject(s.spec.around(registry.method(name)), min(registry.method(name).where), s.options) for name in _AROUND
    )
    one, other = (subject.values(seeded(), points(3, 5)) for subject in (first, second))
    assert any(bool((a != b).any()) for a, b in zip(one, other, strict=True)), "two methods, wrapped, say the same"


@check()
def hands_on_the_options_of_the_method(s: WrapperSubject) -> None:
    """Options that are the method's reach it."""
    inner = registry.method("integrated_gradients")
    seen: list[Any] = []

    def function(problem: Any, **options: Any) -> Any:
        seen.append(options.get("n_steps"))
        return inner.function(problem, **options)

    function.__signature__ = inspect.signature(inner.function)  # type: ignore[attr-defined]
    function.__doc__ = inner.doc
    wrapped = s.spec.around(attrs.evolve(inner, function=function))
    Subject(wrapped, min(inner.where), {**s.options, "n_steps": 3}).values(seeded(), points(3, 5))
    assert seen, "the method was never applied"
    assert set(seen) == {3}, f"n_steps=3 is an option of the method, which was applied with n_steps={seen[0]}"


def cases(spec: WrapperSpec, options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Check]]:
    """What is checked: the wrapper by itself, then two methods that it is applied to, the second at the inputs only."""
    itself = WrapperSubject(spec, options)
    yield from ((spec.name, itself, each) for each in check.applying(itself))
    for name, given in _AROUND.items():
        wrapped = spec.around(registry.method(name))
        for where in sorted(wrapped.where) if not given else (Where.INPUT,):
            subject = Subject(wrapped, where, {**given, **options})
            yield from ((f"{name}-{where}", subject, each) for each in applying(subject) if each.name not in _OF_ITSELF)


CHECKS: dict[str, Check] = {**OF_METHODS, **check.found}
