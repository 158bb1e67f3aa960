"""What absent features are replaced by, the same for every draw: the baseline, a mean, a blurred copy, a mask token."""

import math
from typing import Any

import torch
from torch import Tensor

from attrkit import Features, Problem, replacement
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


def as_values(replaced: Tensor, x: Tensor, name: str) -> Tensor:
    """What replaces a tensor's values, in its type.

    Raises:
        UsageError: the type is one of integers, and some of it is no integer, or too large.
    """
    found = replaced.to(x.dtype)
    if not x.is_floating_point() and not bool((found.to(replaced.dtype) == replaced).all()):
        raise UsageError(
            f"replacement {name!r} gives numbers that {x.dtype} cannot hold; convert the inputs to a floating-point type, or "
            "choose another replacement, like 'baseline', 'marginal' or 'mask_token'"
        )
    return found


@replacement("baseline")
def baseline(problem: Problem) -> Tensors:
    """The baseline; zero where none was given."""
    return problem.baseline


@replacement("mean")
def mean(problem: Problem) -> Tensors:
    """The mean of each channel over the example's positions; of tables, the mean of each column over the batch.

    Raises:
        UsageError: the inputs are integers and a mean is none.
    """

    def one(x: Tensor) -> Tensor:
        dims = tuple(range(2, x.dim())) or (0,)
        return as_values(x.double().mean(dims, keepdim=True), x, "mean").expand_as(x)

    return tuple(map(one, problem.point))


@replacement("blur")
def blur(problem: Problem, *, sigma: float = 5.0) -> Tensors:
    """A copy of the example blurred along all of its positions, which are the dimensions from the third on (one to three).

    At the borders the Gaussian's weights are made to sum to one, so that a constant stays as it is.

    Args:
        sigma: the Gaussian's standard deviation, in positions.

    Raises:
        UsageError: sigma is not positive; a tensor has no positions, or more than three dimensions of them; or the inputs are
            integers and what is blurred is none.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise UsageError(f"sigma must be a positive number of positions, got {sigma!r}")

    def one(x: Tensor) -> Tensor:
        if not 3 <= x.dim() <= 5:
            raise UsageError(
                f"replacement 'blur' needs shape (batch, channels, ...) with 1 to 3 dimensions more, got {tuple(x.shape)}"
            )
        blurred = x.double()
        for dim in range(2, x.dim()):
            at = torch.arange(x.shape[dim], dtype=torch.float64, device=x.device)
            weights = torch.softmax(-((at[:, None] - at) ** 2) / (2 * sigma**2), 1)
            blurred = (blurred.movedim(dim, -1) @ weights.T).movedim(-1, dim)
        return as_values(blurred, x, "blur")

    return tuple(map(one, problem.point))


@replacement("mask_token")
def mask_token(problem: Problem, *, token: int | None = None) -> Tensors:
    """One token number at each position, like that of ``[MASK]``.

    Args:
        token: the token's number; required.

    Raises:
        UsageError: no token was given, or the inputs' type cannot hold it.
        UsageTypeError: the inputs are no token numbers.
    """
    if token is None:
        raise UsageError("replacement 'mask_token' needs its option token, a token's number: {'mask_token': {'token': 103}}")

    def one(x: Tensor) -> Tensor:
        if x.is_floating_point() or x.dtype is torch.bool:
            raise UsageTypeError(f"replacement 'mask_token' replaces token numbers, which are integers; the input is {x.dtype}")
        return as_values(torch.tensor(token, device=x.device), x, "mask_token").expand_as(x)

    return tuple(map(one, problem.point))


@replacement("segment_mean")
def segment_mean(problem: Problem, *, feature_mask: Any = None) -> Tensors:
    """The mean over the feature's own positions, in each channel (the second dimension) apart where there are positions.

    Positions that belong to no feature keep their value.

    Args:
        feature_mask: the features; without, those of the method.

    Raises:
        UsageError: features share positions; or the inputs are integers and a mean is none.
    """
    features = features_of(problem, feature_mask, "segment_mean")

    def one(x: Tensor, ids: Tensor) -> Tensor:
        apart = x.shape[1] if x.dim() > 2 else 1
        channel = torch.arange(apart, device=x.device).reshape(1, -1, *[1] * (x.dim() - 2))
        groups = (ids * apart + channel).expand_as(x).flatten(1)
        zeros = torch.zeros(len(x), (features.count + 1) * apart, dtype=torch.float64, device=x.device)
        values = x.flatten(1).double()
        means = zeros.scatter_add(1, groups, values) / zeros.scatter_add(1, groups, torch.ones_like(values)).clamp_min(1)
        found = torch.where(groups < features.count * apart, means.gather(1, groups), values)
        return as_values(found.reshape(x.shape), x, "segment_mean")

    return tuple(one(x, ids) for x, ids in zip(problem.point, features.ids, strict=True))


def features_of(problem: Problem, given: Any, name: str) -> Features:
    """The features that a replacement goes by. Raises UsageError where they share positions."""
    found = given if given is not None and hasattr(given, "spread") else problem.game(given).features
    if not isinstance(found, Features):
        raise UsageError(f"replacement {name!r} needs features that share no position; give a feature_mask")
    return found
