"""Class activation maps: a layer's channels, weighted by what the objective makes of them, added up.

A layer's tensor has shape (batch, channels, ...); maps keep a channel dimension of one. All are computed for every tensor that
the layer passes on, and with ``relu_attributions`` only what speaks for the objective is kept.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from attrkit import MethodSpec, Problem, hookimpl, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

Weigh = Callable[[Tensor, Tensor], Tensor]  # the layer's value and its gradient to what is added up over channels


def _over_space(t: Tensor) -> Tensor:
    """The mean over everything after the channels, kept as dimensions of one."""
    return t.mean(dim=tuple(range(2, t.dim())), keepdim=True) if t.dim() > 2 else t


def _maps(problem: Problem, weigh: Weigh, *, relu: bool, summed: bool = True) -> Tensors:
    _, gradient = problem.value_and_grad()
    for value in problem.point:
        if value.dim() < 2:
            raise UsageError(f"layer: its value has shape {tuple(value.shape)}; a map needs (batch, channels, ...)")
    maps = tuple(weigh(value, g) for value, g in zip(problem.point, gradient, strict=True))
    maps = tuple(m.sum(1, keepdim=True) for m in maps) if summed else maps
    return tuple(m.clamp(min=0) for m in maps) if relu else maps


@method(
    "grad_cam",
    where={"layer"},
    backward_passes="1",
    references=("arXiv:1610.02391",),
    classes={"layer": "LayerGradCam"},
)
def grad_cam(problem: Problem, *, relu_attributions: bool = False, attr_dim_summation: bool = True) -> Tensors:
    """Weigh each channel by its mean gradient, and add the channels up.

    Args:
        relu_attributions: keep only what is positive, as the paper does.
        attr_dim_summation: add the channels up; without, each weighted channel by itself.

    Raises:
        UsageError: the layer's value has no channels: fewer than two dimensions.
    """
    return _maps(problem, lambda v, g: _over_space(g) * v, relu=relu_attributions, summed=attr_dim_summation)


@method(
    "hires_cam",
    where={"layer"},
    linear=True,
    backward_passes="1",
    references=("arXiv:2011.08891",),
    classes={"layer": "LayerHiResCam"},
)
def hires_cam(problem: Problem, *, relu_attributions: bool = False) -> Tensors:
    """Multiply value and gradient place by place, and add the channels up.

    Args:
        relu_attributions: keep only what is positive.

    Raises:
        UsageError: the layer's value has no channels: fewer than two dimensions.
    """
    return _maps(problem, lambda v, g: g * v, relu=relu_attributions)


@method(
    "layer_cam",
    where={"layer"},
    backward_passes="1",
    references=("doi:10.1109/TIP.2021.3089943",),
    classes={"layer": "LayerCam"},
)
def layer_cam(problem: Problem, *, relu_attributions: bool = True) -> Tensors:
    """Weigh each place of each channel by the positive part of its gradient, and add the channels up.

    Args:
        relu_attributions: keep only what is positive, as the paper does.

    Raises:
        UsageError: the layer's value has no channels: fewer than two dimensions.
    """
    return _maps(problem, lambda v, g: g.clamp(min=0) * v, relu=relu_attributions)


@method(
    "x_grad_cam",
    where={"layer"},
    backward_passes="1",
    references=("arXiv:2008.02312",),
    classes={"layer": "LayerXGradCam"},
)
def x_grad_cam(problem: Problem, *, relu_attributions: bool = True) -> Tensors:
    """Weigh each channel by its gradients, averaged in proportion to its values, and add the channels up.

    Args:
        relu_attributions: keep only what is positive.

    Raises:
        UsageError: the layer's value has no channels: fewer than two dimensions.
    """

    def weigh(value: Tensor, gradient: Tensor) -> Tensor:
        total = _over_space(value)
        share = _over_space(gradient * value)
        return torch.where(total == 0, 0, share / torch.where(total == 0, 1, total)) * value

    return _maps(problem, weigh, relu=relu_attributions)


@method(
    "grad_cam_plus_plus",
    where={"layer"},
    backward_passes="1",
    references=("arXiv:1710.11063",),
    classes={"layer": "LayerGradCamPlusPlus"},
)
def grad_cam_plus_plus(problem: Problem, *, relu_attributions: bool = True) -> Tensors:
    """Weigh each channel by its positive gradients, those places most where the channel is seldom active.

    Args:
        relu_attributions: keep only what is positive, as the paper does.

    Raises:
        UsageError: the layer's value has no channels: fewer than two dimensions.
    """

    def weigh(value: Tensor, gradient: Tensor) -> Tensor:
        square, cube = gradient**2, gradient**3
        places = max(1, value[0, 0].numel()) if len(value) else 1
        below = 2 * square + places * _over_space(value) * cube
        alpha = torch.where(below == 0, 0, square / torch.where(below == 0, 1, below))
        return places * _over_space(alpha * gradient.clamp(min=0)) * value

    return _maps(problem, weigh, relu=relu_attributions)


@method(
    "eigen_cam",
    where={"layer"},
    gradient=False,
    objective=False,
    references=("arXiv:2008.00299",),
    classes={"layer": "LayerEigenCam"},
)
def eigen_cam(problem: Problem, *, relu_attributions: bool = True) -> Tensors:
    """Project the channels at each place on their first principal direction; the objective is not looked at.

    The direction's sign is the one for which the map's largest entry is positive. Examples with NaN have maps of NaN.

    Args:
        relu_attributions: keep only what is positive.

    Raises:
        UsageError: the layer's value has no places beside its channels: fewer than three dimensions.
    """

    def project(value: Tensor) -> Tensor:
        flat = value.flatten(2).transpose(1, 2)  # (batch, places, channels)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))  # half precision has no decomposition
        finite = flat.isfinite().all(2).all(1)[:, None, None]
        flat = torch.where(finite, flat, 0)  # one example must not keep the decomposition from the others
        centred = flat - flat.mean(1, keepdim=True)
        direction = torch.linalg.svd(centred, full_matrices=False).Vh[:, :1]
        projected = (centred @ direction.transpose(1, 2)).transpose(1, 2)
        peak = projected.gather(2, projected.abs().argmax(2, keepdim=True))
        projected = torch.where(finite, torch.where(peak < 0, -projected, projected), torch.nan)
        return projected.reshape(len(value), 1, *value.shape[2:]).to(value.dtype)

    for value in problem.point:
        if value.dim() < 3:
            raise UsageError(f"layer: its value has shape {tuple(value.shape)}; eigen_cam needs (batch, channels, places ...)")
    maps = tuple(map(project, problem.point))
    return tuple(m.clamp(min=0) for m in maps) if relu_attributions else maps


@hookimpl
def attrkit_methods() -> Iterable[MethodSpec]:
    """The methods of this family."""
    return grad_cam, hires_cam, layer_cam, x_grad_cam, grad_cam_plus_plus, eigen_cam
