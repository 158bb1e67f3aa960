"""Guided Grad-CAM: the map of a layer's channels, resized to the input, times the guided gradient there."""

import torch.nn.functional as F
from torch import Tensor

from attrkit import Problem, method
from attrkit.errors import UsageError, warn
from attrkit.protocols import Tensors

_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


@method(
    "guided_grad_cam",
    where={"layer"},
    lands="inputs",
    forward_passes="2",
    backward_passes="2",
    references=("arXiv:1610.02391", "arXiv:1412.6806"),
    classes={"layer": "GuidedGradCam"},
)
def guided_grad_cam(problem: Problem, *, interpolate_mode: str = "nearest") -> Tensors:
    """Weigh a layer's channels by their mean gradient, keep what speaks for the objective, and scale the guided gradient by it.

    The attributions are shaped like the inputs. An input whose places are not those of the layer gets zeros, and a warning.

    Args:
        interpolate_mode: how the map is resized, as of torch.nn.functional.interpolate.

    Raises:
        UsageError: there is no such mode, it is not for maps of so many dimensions, or the layer's value is not one tensor of
            shape (batch, channels, places ...).
    """
    if interpolate_mode not in _MODES:
        raise UsageError(f"interpolate_mode must be one of {', '.join(_MODES)}, got {interpolate_mode!r}")
    _, gradient = problem.value_and_grad()
    if len(problem.point) != 1 or problem.point[0].dim() < 3:
        shapes = [tuple(t.shape) for t in problem.point]
        raise UsageError(f"layer: guided_grad_cam needs one tensor of shape (batch, channels, places ...), got {shapes}")
    value, weight = problem.point[0], gradient[0]
    weight = weight.mean(dim=tuple(range(2, weight.dim())), keepdim=True)
    seen = (weight * value).sum(1, keepdim=True).clamp(min=0)
    _, guided = problem.at_inputs().propagate("guided_backprop")
    return tuple(_scaled(g, seen, interpolate_mode, i) for i, g in enumerate(guided))


def _scaled(guided: Tensor, seen: Tensor, mode: str, position: int) -> Tensor:
    if guided.dim() != seen.dim():
        warn(f"inputs[{position}] of shape {tuple(guided.shape)} has other places than the layer: its attributions are 0")
        return guided * 0
    try:
        return guided * F.interpolate(seen, guided.shape[2:], mode=mode)
    except NotImplementedError as error:
        raise UsageError(f"interpolate_mode {mode!r} is not for maps of {seen.dim() - 2} dimensions; use 'nearest'") from error
