"""What wrappers promise: what methods do, of the methods that they are applied to, and what they say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch

from attrkit.registry import registry
from attrkit.specs import MethodSpec, Where
from attrkit.testing.checks import CHECKS as OF_METHODS
from attrkit.testing.checks import applying
from attrkit.testing.declared import declared
from attrkit.testing.listed import Check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject
from attrkit.wrapping import WrapperSpec

_AROUND = {  # the methods that wrappers are applied to, by what they take; the second has an option to hand on
    **dict.fromkeys(("any", "objective"), ("saliency", "integrated_gradients", "input_x_gradient")),
    "stochastic": ("noise_tunnel(saliency)", "gradient_shap", "expected_gradients"),
}
_FEW = {"n_steps": 8, "n_samples": 8, "nt_samples": 4}
_OF_ITSELF = {"is_described"}  # what a wrapper says of itself, and cannot say of methods that it is applied to


@attrs.frozen(eq=False)
class WrapperSubject:
    """One wrapper, with the options under test."""

    spec: WrapperSpec
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def count(self) -> int:
        """How many methods it is applied to."""
        return max(2, self.spec.methods[0]) if isinstance(self.spec.methods, tuple) else 1

    def methods(self) -> list[MethodSpec]:
        """Those that it may be applied to."""
        return [registry.method(name) for name in _AROUND[self.spec.applies_to]]

    def around(
        self, methods: Sequence[MethodSpec], where: Where = Where.INPUT, options: Mapping[str, Any] | None = None
    ) -> Subject:
        """The wrapper applied to methods."""
        wrapped = self.spec.around(*methods)
        few = {name: number for name, number in _FEW.items() if name in wrapped.accepts}
        return Subject(wrapped, where, {**few, **self.options, **(options or {})})


def _used(s: WrapperSubject, options: Mapping[str, Any]) -> Any:
    """Attributions by the first of the methods, with options of the wrapper."""
    return s.around(s.methods()[: s.count], options=options).values(seeded(), points(3, 5))


check = declared(_used)


@check()
def applies_the_method(s: WrapperSubject) -> None:
    """The methods it is given are what it applies: with another one in any place it says something else."""
    other, method, *_ = s.methods()
    expected = s.around([method] * s.count).values(seeded(), points(3, 5))
    for place in range(s.count):
        methods = [other if k == place else method for k in range(s.count)]
        found = s.around(methods).values(seeded(), points(3, 5))
        said = f"with another method in place {place + 1} it says the same"
        assert any(bool((a != b).any()) for a, b in zip(expected, found, strict=True)), said


@check()
def hands_on_the_options_of_the_method(s: WrapperSubject) -> None:
    """Options that are the method's reach it."""
    inner = s.methods()[1]
    name = next(o.name for o in inner.options if o.name in _FEW)
    seen: list[Any] = []

    def function(problem: Any, **options: Any) -> Any:
        seen.append(options.get(name))
        return inner.function(problem, **options)

    function.__signature__ = inspect.signature(inner.function)  # type: ignore[attr-defined]
    function.__doc__ = inner.doc
    watched = attrs.evolve(inner, function=function)
    s.around([watched] * s.count, options={name: 3}).values(seeded(), points(3, 5))
    assert seen, "the method was never applied"
    assert set(seen) == {3}, f"{name}=3 is an option of the method, which was applied with {name}={seen[0]}"


@check(lambda s: s.spec.stochastic)
def draws_belong_to_examples(s: WrapperSubject) -> None:
    """A part of the examples, which says the number of its first one, gets the draws that it gets among all of them."""
    subject, x = s.around(s.methods()[: s.count]), points(6, 5)
    all_of_them, some = subject.values(seeded(), x), subject.values(seeded(), x[2:], first_example=2)
    for whole, part in zip(all_of_them, some, strict=True):
        same = torch.allclose(whole[2:], part, rtol=1e-6, atol=1e-9)
        assert same, "the last examples by themselves get other draws; take them from problem.normal or problem.generator"


def cases(spec: WrapperSpec, options: Mapping[str, Any]) -> Iterator[tuple[str, Any, Check]]:
    """What is checked: the wrapper by itself, then two sets of methods that it is applied to, the second at the inputs only."""
    itself = WrapperSubject(spec, options)
    yield from ((spec.name, itself, each) for each in check.applying(itself))
    each = itself.methods()
    for first in (0, 1):
        methods = [each[(first + k) % len(each)] for k in range(itself.count)]
        label = ",".join(method.name for method in methods)
        for where in (Where.INPUT,) if first else sorted(spec.around(*methods).where):
            subject = itself.around(methods, where)
            yield from ((f"{label}-{where}", subject, c) for c in applying(subject) if c.name not in _OF_ITSELF)


CHECKS: dict[str, Check] = {**OF_METHODS, **check.found}
