"""Rules as attributes of modules: ``module.rule = EpsilonRule()`` governs what that module computes, over the ruleset."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from attrkit import RuleSpec, hookimpl, rule
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Step
from attrkit_propagation.stabilizer import stabilized


class PropagationRule(ABC):
    """Base of rules that share relevance by contribution under changed weights. Subclasses say how these are changed."""

    STABILITY_FACTOR = 1e-9  # what keeps denominators from zero

    @abstractmethod
    def _manipulate_weights(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Change the weights of ``module``, a copy, given what went into the module and what came out."""

    def __repr__(self) -> str:
        return _described(self)


def _described(found: Any) -> str:
    options = ", ".join(f"{'epsilon' if name == 'STABILITY_FACTOR' else name}={value!r}" for name, value in vars(found).items())
    return f"{type(found).__name__}({options})"


class EpsilonRule(PropagationRule):
    """Share by contribution; what ``epsilon`` adds to a small denominator is absorbed."""

    def __init__(self, epsilon: float = 1e-9) -> None:
        self.STABILITY_FACTOR = epsilon

    def _manipulate_weights(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Leave them as they are."""


class IdentityRule(EpsilonRule):
    """Hand relevance at the output to the input unchanged, which has the same shape."""


class _Biased(PropagationRule):
    def __init__(self, *, set_bias_to_zero: bool) -> None:
        self.set_bias_to_zero = set_bias_to_zero

    def _changed(self, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _manipulate_weights(
        self,
        module: nn.Module,
        inputs: tuple[Tensor, ...],  # noqa: ARG002 - the base's signature
        outputs: Tensor,  # noqa: ARG002 - the base's signature
    ) -> None:
        """Change the weight, and leave the bias out where that is wanted."""
        for name in ("weight", "bias"):
            if isinstance(tensor := getattr(module, name, None), Tensor) and (name == "weight" or self.set_bias_to_zero):
                tensor.data = self._changed(tensor.data) if name == "weight" else torch.zeros_like(tensor.data)


class GammaRule(_Biased):
    """Share by contribution, positive weights counted ``1 + gamma`` times."""

    def __init__(self, gamma: float = 0.25, set_bias_to_zero: bool = False) -> None:  # noqa: FBT001, FBT002 - the established signature
        super().__init__(set_bias_to_zero=set_bias_to_zero)
        self.gamma = gamma

    def _changed(self, weight: Tensor) -> Tensor:
        return weight + self.gamma * weight.clamp(min=0)


class Alpha1_Beta0_Rule(_Biased):  # noqa: N801 - the established name
    """Share by contribution of the positive weights alone."""

    def __init__(self, set_bias_to_zero: bool = False) -> None:  # noqa: FBT001, FBT002 - the established signature
        super().__init__(set_bias_to_zero=set_bias_to_zero)

    def _changed(self, weight: Tensor) -> Tensor:
        return weight.clamp(min=0)


def _twin(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A copy of a module, without its hooks, that has this weight and this bias."""
    cls = type(module)
    if parametrize.is_parametrized(module):  # its class computes the weight, which none could change
        cls = cls.__bases__[0]
    twin: Any = object.__new__(cls)  # copy.copy asks the class, which may refuse
    fields, given = vars(twin), {"weight": weight, "bias": bias}
    fields.update(vars(module))
    fields["_buffers"] = {name: b if b is None else b.clone() for name, b in module._buffers.items()}  # noqa: SLF001 - its own copy
    fields["_parameters"] = dict(module._parameters)  # noqa: SLF001 - the same
    for name, tensor in given.items():
        known = None if tensor is None else nn.Parameter(tensor.detach().clone(), requires_grad=False)
        fields["_parameters"][name] = known
    result: nn.Module = twin
    return result


@attrs.frozen(eq=False)
class _Asked:
    """A rule object, and the module that it is on."""

    rule: Any
    module: nn.Module

    def changed(self, step: Step, weight: Tensor, bias: Tensor | None) -> nn.Module:
        """A copy of the module whose weight and bias the rule has changed."""
        twin = _twin(self.module, weight, bias)
        self.rule._manipulate_weights(twin, (step.input,), step.output)  # noqa: SLF001 - the established name
        return twin


@attrs.define(eq=False)
class _Manipulation:
    """What a rule makes of the weight and the bias of a step's linear map."""

    asked: _Asked
    step: Step
    bias: Tensor | float = attrs.field(default=0.0, init=False)

    def weight(self, weight: Tensor) -> Tensor:
        """The changed weight; from then on ``bias`` is the changed bias."""
        added, own = self.step.bias, getattr(self.asked.module, "bias", None)
        if added is not None:
            added = added.reshape(own.shape if isinstance(own, Tensor) and own.numel() == added.numel() else -1)
        twin = self.asked.changed(self.step, weight, added)
        if self.step.bias is not None:
            self.bias = _parameter(twin, "bias").reshape(self.step.bias.shape)
        return _parameter(twin, "weight")


def _parameter(twin: nn.Module, name: str) -> Tensor:
    found: Tensor = getattr(twin, name)
    return found.detach()


@rule(
    "manipulated",
    operations={"linear_like", "norm", "batch_norm"},
    returns="quotient",
    references=("doi:10.1007/978-3-030-28954-6_10",),
)
def manipulated(step: Step, relevance: Tensor, *, by: str = "", asked: Any = None) -> Tensor:
    """Share by contribution under the weights that a rule object on a module makes of the module's.

    Args:
        by: the rule object in words.
        asked: the rule object and its module, as the attribute ``rule`` of modules is read.
    """
    if not isinstance(asked, _Asked):
        raise UsageError(
            f"rule 'manipulated' is for objects on modules, like module.rule = GammaRule(); {by or 'none'} was given"
        )
    if step.operation.endswith("_norm"):
        return _through_module(step, relevance, asked)
    changed = _Manipulation(asked, step)
    total = step.forward(step.input, changed.weight) + changed.bias
    return step.transpose(relevance / stabilized(total, asked.rule.STABILITY_FACTOR, "STABILITY_FACTOR"), changed.weight)


def _through_module(step: Step, relevance: Tensor, asked: _Asked) -> Tensor:
    """The same at a normalisation: through the module itself, all of which is this operation."""
    weight, bias = (getattr(asked.module, name, None) for name in ("weight", "bias"))
    if weight is None or not torch.equal(_twin(asked.module, weight, bias).forward(step.input), step.output):
        raise UsageError(
            f"{asked.rule!r} at {step.operation} in {step.path or 'the model'!r} has no weight of that module to change; use "
            "EpsilonRule there"
        )
    twin = asked.changed(step, weight, bias)
    with torch.enable_grad():
        x = step.input.detach().requires_grad_()
        total: Tensor = twin.forward(x)
    denominator = stabilized(total.detach(), asked.rule.STABILITY_FACTOR, "STABILITY_FACTOR")
    return torch.autograd.grad(total, x, relevance / denominator)[0]


@rule("by_gradient", operations={"activation", "arithmetic", "softmax", "log_softmax"}, returns="cotangent")
def by_gradient(step: Step, relevance: Tensor, *, epsilon: float = 1e-9) -> Tensor:
    """Share by input times derivative, in parts of the output; what epsilon adds to a small output is absorbed.

    Args:
        epsilon: what keeps outputs from zero.
    """
    return relevance / stabilized(step.output, epsilon, "epsilon")


@rule("unchanged", operations={"any"}, conserves="yes")
def unchanged(step: Step, relevance: Tensor) -> Tensor:
    """Hand relevance at the output to the input, whatever the operation is."""
    if sum(step.live) > 1 or relevance.shape != step.input.shape:
        shapes = [tuple(x.shape) for x in step.inputs]
        raise UsageError(
            f"rule 'unchanged' (IdentityRule) at {step.operation} in {step.path or 'the model'!r}: relevance of shape "
            f"{tuple(relevance.shape)} cannot be handed unchanged to what has shapes {shapes}; use EpsilonRule there"
        )
    return relevance


#: What a subclass may not override: there are no hooks to put in their place.
_HOOKS = frozenset({
    "backward_hook_activation", "forward_hook", "forward_hook_weights", "forward_pre_hook_activations",
    "_create_backward_hook_input", "_create_backward_hook_output",
})  # fmt: skip
_KNOWN = ("PropagationRule", "EpsilonRule", "IdentityRule", "GammaRule", "Alpha1_Beta0_Rule")


def _checked(path: str, found: Any) -> Any:
    """A rule as it was found on a module.

    Raises:
        UsageTypeError: it is none.
        UsageError: it does what cannot be supported.
    """
    where = f"the attribute rule of module {path!r}" if path else "the attribute rule of the model"
    if not callable(getattr(found, "_manipulate_weights", None)) or isinstance(found, type):
        got = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise UsageTypeError(f"{where} must be a PropagationRule, like attrkit.attr.EpsilonRule(), or None, got {got}")
    for cls in type(found).__mro__:
        if cls.__name__ not in _KNOWN and (hooks := sorted(_HOOKS & vars(cls).keys())):
            raise UsageError(
                f"{where}: {cls.__name__} overrides {', '.join(hooks)}, but modules get no hooks here. Change weights in "
                "_manipulate_weights(module, inputs, outputs), or declare the whole rule and name it in a ruleset: "
                f"@attrkit.rule({cls.__name__.lower()!r}) def rule(step, relevance): return step.input * step.vjp(...)"
            )
    return found


#: What no rule object is about in the established API: the ruleset decides there.
_PASSING = ["relu", "tanh"]


def _by_weights(name: str, *options: str) -> Callable[[Any], tuple[str, Mapping[str, Any]]]:
    """The declared rule that changes weights as a rule object does, with options of that."""

    def declared(found: Any) -> tuple[str, Mapping[str, Any]]:
        given = {option: getattr(found, option) for option in options}
        bias = "zero" if found.set_bias_to_zero else "absorb"
        return name, {**given, "stabilizer": found.STABILITY_FACTOR, "bias": bias}

    return declared


#: What the rules of the established API are called here, by the names of their classes, whosever these are.
_DECLARED: dict[str, Callable[[Any], tuple[str, Mapping[str, Any]]]] = {
    "EpsilonRule": lambda found: ("epsilon", {"epsilon": found.STABILITY_FACTOR}),
    "GammaRule": _by_weights("gamma_positive", "gamma"),
    "Alpha1_Beta0_Rule": _by_weights("weights_plus"),
}


def _at_weights(found: Any, module: nn.Module) -> tuple[str, Mapping[str, Any]]:
    """The declared rule for linear maps, and its options: by how the weights are changed."""
    for cls in type(found).__mro__:
        if cls.__name__ in _DECLARED:
            return _DECLARED[cls.__name__](found)
        if "_manipulate_weights" in vars(cls):
            break
    return _manipulating(found, module)


def _manipulating(found: Any, module: nn.Module) -> tuple[str, Mapping[str, Any]]:
    return "manipulated", {"by": _described(found), "asked": _Asked(found, module)}


def _entries(path: str, module: nn.Module, found: Any) -> Iterator[Mapping[str, Any]]:
    """What a module's rule says, as entries of a ruleset."""
    label, here = f"{path or 'model'}.rule", {"path_regex": re.escape(path) or "^$"}
    if any(cls.__name__ == "IdentityRule" for cls in type(found).__mro__):
        yield {"id": label, "match": here, "rule": "unchanged", "optional": True}
        return
    absorbing = "epsilon", {"epsilon": found.STABILITY_FACTOR}
    at_weights = _at_weights(found, module)
    at_norms = absorbing if at_weights[0] == "epsilon" else _manipulating(found, module)
    governing: tuple[tuple[list[str], str, tuple[str, Mapping[str, Any]]], ...] = (
        (["linear_like"], "", at_weights),
        (["norm", "batch_norm"], ", norms", at_norms),
        (["homogeneous"], ", no weights", absorbing),
        (["activation", "arithmetic", "softmax", "log_softmax"], ", functions", ("by_gradient", absorbing[1])),
    )
    for operations, note, (name, options) in governing:
        match = {**here, "op": operations, "not": {"op": _PASSING}}
        yield {"id": label + note, "match": match, "rule": name, "with": options, "optional": True}


@hookimpl
def attrkit_entries(modules: Mapping[str, nn.Module], carries: str) -> list[Mapping[str, Any]]:
    """What the modules ask for by their attribute ``rule``, of rulesets for relevance."""
    entries: list[Mapping[str, Any]] = []
    for path, module in modules.items() if carries == "relevance" else ():
        found = vars(module).get("rule", getattr(type(module), "rule", None))
        if found is not None:
            entries += _entries(path, module, _checked(path, found))
    return entries


@hookimpl
def attrkit_names() -> Mapping[str, type]:
    """The rules as classes."""
    return {cls.__name__: cls for cls in (PropagationRule, EpsilonRule, GammaRule, Alpha1_Beta0_Rule, IdentityRule)}


@hookimpl
def attrkit_rules() -> Iterable[RuleSpec]:
    """What these come to."""
    return manipulated, by_gradient, unchanged
