"""The base classes of ``attrkit.attr``, which users of the established API subclass."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.baselines import matched
from attrkit.errors import UsageError
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.reading import arguments_of
from attrkit.runner import Passes, Runner, isolated
from attrkit.targets import Target


def _objective(forward_func: Any, inputs: Any, target: Any, extra: Any) -> Tensor:
    """The objective for inputs, without gradients."""
    arguments = arguments_of(forward_func, inputs, extra)

    def compute(forward: Any) -> Tensor:
        return Problem(Runner(Passes(forward), len(arguments)), arguments, Target.of(target, len(arguments))).value()

    return isolated(forward_func, compute)


def gradients(
    forward_fn: Any, inputs: Any, target_ind: Any = None, additional_forward_args: Any = None, **grad_kwargs: Any
) -> Tensors:
    """The gradient of the output at the target by each input, as the ``gradient_func`` of subclasses."""
    arguments = arguments_of(forward_fn, inputs, additional_forward_args)

    def compute(forward: Any) -> Tensors:
        runner = Runner(Passes(forward, grad_kwargs), len(arguments))
        return Problem(runner, arguments, Target.of(target_ind, len(arguments))).value_and_grad()[1]

    return isolated(forward_fn, compute)


class Attribution:
    """Base of every attribution class: holds the forward function. Subclasses define ``attribute``."""

    def __init__(self, forward_func: Any) -> None:
        self.forward_func = forward_func

    attribute: Any

    def attribute_future(self) -> Any:
        """Attribution with futures, for the classes that have it."""
        raise NotImplementedError(f"{type(self).__name__} has no attribute_future; use attribute")

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are multiplied by the inputs, or by their difference from the baseline."""
        return False

    def has_convergence_delta(self) -> bool:
        """Whether ``attribute`` takes ``return_convergence_delta``."""
        return False

    @classmethod
    def get_name(cls) -> str:
        """The class name with a blank before each capital."""
        return re.sub(r"(?<=.)(?=[A-Z])", " ", cls.__name__)


class GradientAttribution(Attribution):
    """Base of classes that use gradients; ``gradient_func`` is there for the ``attribute`` of subclasses to call."""

    gradient_func: Callable[..., Tensors] = staticmethod(gradients)

    def compute_convergence_delta(
        self,
        attributions: Any,
        start_point: Any,
        end_point: Any,
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> Tensor:
        """Sum of the attributions minus the change of the output from start to end, shape ``(batch,)``.

        Raises:
            UsageError: the three do not have one batch.
        """
        ends = end_point if isinstance(end_point, tuple) else (end_point,)
        given = attributions if isinstance(attributions, tuple) else (attributions,)
        if len({len(t) for t in (*ends, *given)}) != 1:
            raise UsageError(f"attributions and end_point must have one batch, got {[len(t) for t in (*ends, *given)]} rows")
        starts = matched(start_point, ends, "end_point", label="start_point")
        with torch.no_grad():
            change = _objective(self.forward_func, ends, target, additional_forward_args)
            change = change - _objective(self.forward_func, starts, target, additional_forward_args)
        return sum((t.flatten(1).sum(1) for t in given), torch.zeros_like(change)) - change


class PerturbationAttribution(Attribution):
    """Base of classes that replace parts of the input and need no gradients."""

    @property
    def multiplies_by_inputs(self) -> bool:
        """What is measured is the effect of the inputs' values themselves."""
        return True


def given_layer(attribution: Attribution, layer: Any) -> Any:
    """A layer as an attribution's constructor got it. Raises UsageError where it got none."""
    if layer is None:
        raise UsageError(f"{type(attribution).__name__} needs layer, a module of the model or its path")
    return layer


class InternalAttribution(Attribution):
    """Base of classes that look at a layer.

    ``device_ids`` may name CUDA devices, on all of which the model computes then; where there are none it says nothing.
    """

    def __init__(self, forward_func: Any, layer: Any, device_ids: list[int] | None = None) -> None:
        super().__init__(forward_func)
        self.layer = given_layer(self, layer)
        self.device_ids = device_ids


class LayerAttribution(InternalAttribution):
    """Base of classes that attribute to a layer."""

    @staticmethod
    def interpolate(
        layer_attribution: Tensor, interpolate_dims: int | tuple[int, ...], interpolate_mode: str = "nearest"
    ) -> Tensor:
        """Resize attributions of shape (batch, channels, ...) to ``interpolate_dims``, as ``F.interpolate`` does."""
        return F.interpolate(layer_attribution, interpolate_dims, mode=interpolate_mode)


class NeuronAttribution(InternalAttribution):
    """Base of classes that explain one neuron of a layer."""
