"""The classes of wrappers: ``NoiseTunnel(IntegratedGradients(model))`` and whatever third parties wrap methods with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from attrkit.attributing import Request, answer
from attrkit.attributor import Attributor, Parameters
from attrkit.bases import Attribution, GradientAttribution, LayerAttribution
from attrkit.errors import UsageTypeError, did_you_mean
from attrkit.protocols import Tensors
from attrkit.reading import arguments_of
from attrkit.specs import MethodSpec, Where
from attrkit.wrapping import WrapperSpec


class Around(Attribution):
    """What the classes of wrappers share."""

    wrapper: WrapperSpec
    _signature: Parameters

    def __init__(self, attribution_method: Attribution) -> None:
        if isinstance(attribution_method, type) or not callable(getattr(attribution_method, "attribute", None)):
            raise UsageTypeError(
                f"attribution_method must be an attribution, like Saliency(model), got {_described(attribution_method)}"
            )
        super().__init__(getattr(attribution_method, "forward_func", None))
        self.attribution_method = attribution_method

    @property
    def multiplies_by_inputs(self) -> bool:
        """That of the wrapped attribution."""
        return bool(getattr(self.attribution_method, "multiplies_by_inputs", False))

    def has_convergence_delta(self) -> bool:
        """Whether the wrapped attribution has one; ``attribute`` then returns one for each sample, an example's together."""
        return bool(getattr(self.attribution_method, "has_convergence_delta", bool)())

    def _attribute(self, *args: Any, **kwargs: Any) -> Any:
        own = {k: v for k, v in kwargs.items() if k in self._signature.signature.parameters}
        given = self._signature.bound(f"{type(self).__name__}.attribute", args, own)
        inputs, rest = given.pop("inputs"), {k: v for k, v in kwargs.items() if k not in own}
        if given.get("seed") is None:
            given["seed"] = int(torch.randint(2**62, (1,)))
        inner = self.attribution_method
        if isinstance(inner, Attributor):
            self._check_names(rest, inner)
        if isinstance(inner, Attributor) and getattr(type(inner).attribute, "generated", False):
            return inner.run(self.wrapper.around(inner.spec), (inputs,), rest, given)
        return self._foreign(inputs, rest, given)

    def _check_names(self, given: Mapping[str, Any], inner: Attributor) -> None:
        known = [*self._signature.signature.parameters, *inspect.signature(inner.attribute).parameters]
        for name in given:
            if name not in known and name != "neuron_index":
                raise UsageTypeError(
                    f"{type(self).__name__} around {type(inner).__name__} has no parameter {name!r}."
                    f"{did_you_mean(name, known)} Parameters: {', '.join(known)}"
                )

    def _foreign(self, inputs: Any, rest: Mapping[str, Any], given: dict[str, Any]) -> Any:
        """As ``attribute``, around a class of the user's own."""
        inner = self.attribution_method
        if rest.get("return_convergence_delta"):
            raise UsageTypeError(
                f"{type(self).__name__} has no convergence delta around {type(inner).__name__}, which is a class of your own; "
                "declare the method with attrkit.method, or leave return_convergence_delta out"
            )
        passed = dict(rest)
        arguments = arguments_of(self.forward_func, inputs, passed.pop("additional_forward_args", None))
        seed = given.pop("seed")
        layers = (inner.layer,) if isinstance(inner, LayerAttribution) else ()
        if isinstance(inner, Around):
            passed["seed"] = seed
        spec = foreign_method(inner, dict(passed), len(arguments), as_tuple=isinstance(inputs, tuple))
        request = Request(
            model=self.forward_func,
            arguments=arguments,
            target=passed.pop("target", None),
            layers=layers,
            seed=seed,
        )
        values = answer(self.wrapper.around(spec), request, given, outputs=False).values
        return values if isinstance(inputs, tuple) and not layers else values[0]


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def foreign_method(attribution: Attribution, keywords: Mapping[str, Any], n: int, *, as_tuple: bool) -> MethodSpec:
    """A declaration for an object with an ``attribute`` method, called with keywords for a batch of ``n``.

    It calls the model itself.
    """

    def function(problem: Any) -> Tensors:
        own = {k: problem.for_rows(v, n) for k, v in keywords.items() if k != "target"}
        if "target" in keywords:
            own["target"] = problem.target.plain()
        if problem.arguments.extra:
            own["additional_forward_args"] = problem.arguments.extra
        found = attribution.attribute(problem.inputs if as_tuple else problem.inputs[0], **own)
        return found if isinstance(found, tuple) else (found,)

    where = Where.LAYER if isinstance(attribution, LayerAttribution) else Where.INPUT
    gradient = isinstance(attribution, GradientAttribution)
    return MethodSpec("foreign", function, where={where}, gradient=gradient, objective=False)
