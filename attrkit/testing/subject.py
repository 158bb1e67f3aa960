"""What is checked: one method at one place, with options; and how to run it so that its own return is seen."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from attrkit.errors import UsageError
from attrkit.explaining import explain
from attrkit.explanation import Explanation
from attrkit.protocols import Tensors
from attrkit.specs import MethodSpec, Where
from attrkit.testing.models import points, seeded

_MIDDLE = {"middle", "2"}  # layers of the kit's models


_PLACES = (2, 2)


@attrs.frozen(eq=False, slots=False)
class Subject:
    """One method at one place, with the options under test."""

    spec: MethodSpec
    where: Where
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Dimensions after the features that inputs need: none, or those of an image where the method refuses others."""
        try:
            self._run(self.spec, seeded(), points(2, 5), 1, None, {})
        except UsageError:
            try:
                self._run(self.spec, seeded(), images(points(2, 5), _PLACES), 1, None, {})
            except Exception:  # noqa: BLE001 - images are not what it needs
                return ()
            return _PLACES
        except Exception:  # noqa: BLE001, S110 - which a check finds again, and can say where
            pass
        return ()

    def changed(self, **fields: Any) -> Subject:
        """The same with another declaration or other options, for inputs of the same dimensions."""
        other = attrs.evolve(self, **fields)
        vars(other)["places"] = self.places
        return other

    def at(self, x: Any) -> Any:
        """Inputs with such dimensions, of examples that are rows of features."""
        if isinstance(x, tuple):
            return tuple(map(self.at, x))
        return images(x, self.places) if isinstance(x, Tensor) and x.dim() == 2 else x

    def explain(self, model: nn.Module, inputs: Any, *, target: Any = 1, layer: Any = None, **more: Any) -> Explanation:
        """Run the method through the native door."""
        return self._run(self.spec, model, self.at(inputs), target, layer, self._placed(more))

    def _placed(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.at(value) if name == "baselines" else value for name, value in more.items()}

    def values(self, model: nn.Module, inputs: Any, **more: Any) -> Tensors:
        """Its attributions."""
        return tuple(self.explain(model, inputs, **more).values.values())

    def raw(self, model: nn.Module, inputs: Any, **more: Any) -> tuple[Any, Any]:
        """What the declared function itself returns, and the problem that it was given."""
        seen: list[tuple[Any, Any]] = []

        @functools.wraps(self.spec.function)
        def watched(problem: Any, **options: Any) -> Any:
            returned = self.spec.function(problem, **options)
            seen.append((returned, problem))
            return returned

        watched.__signature__ = inspect.signature(self.spec.function)  # type: ignore[attr-defined]
        spec = attrs.evolve(self.spec, function=watched)
        more.setdefault("target", 1)
        more.setdefault("layer", None)
        target, layer = more.pop("target"), more.pop("layer")
        try:
            self._run(spec, model, self.at(inputs), target, layer, self._placed(more))
        except Exception:
            if not seen:
                raise
        return seen[-1]

    def _run(
        self, spec: MethodSpec, model: nn.Module, inputs: Any, target: Any, layer: Any, more: Mapping[str, Any]
    ) -> Explanation:
        given: dict[str, Any] = {"baselines": self.baseline(inputs), **more}
        if self.where is not Where.INPUT:
            given["layer"] = layer or next(name for name, _ in model.named_modules() if name in _MIDDLE)
        if self.where is Where.NEURON:
            given["neuron"] = 2 if len(_first(inputs).shape) == 2 else (2, *[0] * (_first(inputs).dim() - 2))
        if self.where is not Where.NEURON or spec.neuron == "through":
            given["target"] = target if spec.objective else None
        return explain(model, inputs, spec, options=dict(self.options), **given)

    def baseline(self, inputs: Any) -> Any:
        """The baseline that the method is given where a check does not care: none, or rows of one's own."""
        if self.spec.baseline != "required":
            return None
        each = inputs if isinstance(inputs, tuple) else (inputs,)
        rows = tuple(x.new_zeros(1, *x.shape[1:]) for x in each)
        return rows if isinstance(inputs, tuple) else rows[0]

    def takes(self, option: str) -> bool:
        """Whether the method has an option of that name which the author did not set."""
        return option not in self.options and any(o.name == option for o in self.spec.options)

    def place(self, problem: Any) -> Tensors:
        """The tensors that attributions are shaped like."""
        found: Tensors = problem.point if self.spec.lands == "site" else problem.inputs
        return found


def images(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """Examples with each feature at some places, another multiple of it at each."""
    if not places:
        return x
    factors = torch.linspace(1.0, -0.5, math.prod(places), dtype=x.dtype, device=x.device)
    return x.reshape(*x.shape, *[1] * len(places)) * factors.reshape(places)


def _first(inputs: Any) -> Tensor:
    found: Tensor = inputs[0] if isinstance(inputs, tuple) else inputs
    return found


def fits(s: Subject, returned: Tensors, problem: Any) -> bool:
    """Whether what the function returned has the shapes that its declaration says."""
    if s.spec.lands == "features":
        return len(returned) == 1 and returned[0].dim() == 2 and len(returned[0]) in (1, len(problem.inputs[0]))
    place = s.place(problem)
    return len(returned) == len(place) and all(map(shaped_like, returned, place))


def shaped_like(value: Tensor, site: Tensor) -> bool:
    """Whether a value has the site's shape, apart from dimensions after the first that it summed up and kept as one."""
    fits = all(have in (1, size) for have, size in zip(value.shape[1:], site.shape[1:], strict=False))
    return value.dim() == site.dim() and len(value) == len(site) and fits


def close(found: Tensors, expected: Tensors, tolerance: float = 1e-9) -> None:
    """Fail where tensors differ by more than the tolerance, relative to their largest entry."""
    for a, b in zip(found, expected, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        atol = tolerance * max(1.0, scale)
        torch.testing.assert_close(a, b, rtol=tolerance, atol=atol)


def total(values: Tensors, change: Tensor) -> Tensor:
    """The sum of the attributions of each example."""
    return sum((v.double().flatten(1).sum(1) for v in values), torch.zeros_like(change))
