"""Methods of the tests' own, which need no other family of plugins."""

from __future__ import annotations

import torch

from attrkit import method


@method("planted_gradient", linear=True, outputs="one", forward_passes="1", backward_passes="1")
def gradient(problem, *, scale: float = 1.0):
    """The gradient.

    Args:
        scale: what it is multiplied by.
    """
    _, found = problem.value_and_grad()
    return tuple(scale * g for g in found)


@method("planted_product", baseline="optional", linear=True, forward_passes="1 + layer", backward_passes="1")
def product(problem, *, scale: float = 2.0, power: int = 1):
    """Gradient times the distance from the baseline.

    Args:
        scale: what it is multiplied by.
        power: that of the gradient.
    """
    _, found = problem.value_and_grad()
    return tuple(scale * g**power * d for g, d in zip(found, problem.delta, strict=True))


@method("planted_noisy", stochastic=True, outputs="one", forward_passes="n_draws", backward_passes="n_draws")
def noisy(problem, *, n_draws: int = 2, width: float = 0.5, feature_mask: object = None):
    """The mean of gradients near the point, zero where a mask is zero.

    Args:
        n_draws: how many.
        width: how far from the point.
    """
    near = (tuple(x + width * e for x, e in zip(problem.point, problem.normal(i), strict=True)) for i in range(n_draws))
    found = list(problem.grads(near, n_draws))
    means = [torch.stack(each).mean(0) for each in zip(*found, strict=True)]
    return tuple(m if feature_mask is None else m * feature_mask for m in means)


@method("planted_scores", gradient=False, outputs="every", forward_passes="1")
def scores(problem):
    """The point times the output, of every output where there is no target."""
    (value,) = problem.values([problem.point])
    ones = [1] * (problem.point[0].dim() - 1)
    more = [1] * (value.dim() - 1)
    return tuple(value.reshape(*value.shape, *ones) * x.reshape(len(x), *more, *x.shape[1:]) for x in problem.point)
