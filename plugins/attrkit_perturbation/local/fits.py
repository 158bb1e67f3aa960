"""The surrogates of the examples of a batch, and how well they fit."""

from collections.abc import Iterable, Iterator

import attrs
import torch
from torch import Tensor

from attrkit.errors import UsageError, warn
from attrkit_perturbation.local.neighbours import Neighbours
from attrkit_perturbation.surrogates.fitting import Surrogate
from attrkit_perturbation.surrogates.linear import least_squares, ridge
from attrkit_perturbation.surrogates.sandwich import regressed

_ROUNDING, _NOISE = 1e-13, 1e-6  # relative deviations up to which values are constant: that of sums, and that of models


@attrs.define(eq=False)
class Fit:
    """Coefficients, their standard errors where they are known, intercepts and the weighted R^2.

    ``scores`` and ``errors`` have shape ``(features, batch, *outputs)``, the others ``(batch, *outputs)``; ``idle`` says where
    all coefficients are zero although the values vary.
    """

    scores: Tensor
    errors: Tensor | None
    intercept: Tensor
    r2: Tensor
    idle: Tensor
    degrees: float


def fitted(surrogate: Surrogate, near: Neighbours, weights: Tensor, *, standardise: bool) -> Fit:
    """A surrogate for each example and output, from weights of shape ``(k, batch or 1)``.

    Raises:
        UsageError: the weights of an example are all zero.
    """
    if not bool((weights.sum(0) > 0).all()):
        raise UsageError(
            "all samples have the weight 0; use a larger kernel_width, or a similarity_func that returns more than 0"
        )
    shape = near.values.shape[1:]
    values = near.values.flatten(2) if len(shape) > 1 else near.values[..., None]
    moved = near.moved()
    each = near.coalitions.dim() == 3 or (weights.shape[1] > 1 and values.shape[2] > 1)  # has equations of its own
    if not each and bool(moved.all()):
        found = _fitted(surrogate, near.coalitions, values.flatten(1), weights, standardise=standardise)
    else:
        found = _apart(surrogate, near, values, weights, _alike(moved, each=each), standardise=standardise)
    _warn_of_idle(found.idle)
    intercept, r2, idle = (t.reshape(shape) for t in (found.intercept, found.r2, found.idle))
    errors = None if found.errors is None else found.errors.reshape(len(found.errors), *shape)
    return Fit(found.scores.reshape(len(found.scores), *shape), errors, intercept, r2, idle, found.degrees)


def _apart(
    surrogate: Surrogate,
    near: Neighbours,
    values: Tensor,
    weights: Tensor,
    alike: Iterable[tuple[Tensor, Tensor]],
    *,
    standardise: bool,
) -> Fit:
    """The surrogates of examples by groups; features that make no difference to a group have the coefficient 0."""
    every, none = values.new_zeros(near.coalitions.shape[-1], *values.shape[1:]), torch.zeros_like(values[0])
    found = Fit(every, every.clone(), none, none.clone(), none.bool(), float(len(values)))
    for rows, moved in alike:
        z = near.coalitions if near.coalitions.dim() == 2 else near.coalitions[:, rows[0]]
        w = weights if weights.shape[1] == 1 else weights[:, rows]
        part = _fitted(surrogate, z[:, moved], values[:, rows].flatten(1), w, standardise=standardise)
        at = (moved[:, None], rows)
        found.scores[at] = part.scores.unflatten(1, (len(rows), -1))
        for whole, own in ((found.intercept, part.intercept), (found.r2, part.r2), (found.idle, part.idle)):
            whole[rows] = own.reshape(len(rows), -1)
        if found.errors is None or part.errors is None:
            found.errors = None
        else:
            found.errors[at] = part.errors.unflatten(1, (len(rows), -1))
        found.degrees = min(found.degrees, part.degrees)
    return found


def _fitted(surrogate: Surrogate, z: Tensor, y: Tensor, w: Tensor, *, standardise: bool) -> Fit:
    """The surrogate for columns of values, shape ``(k, columns)``."""
    weight = w.sum(0)
    middle = (w * y).sum(0) / weight
    total = (w * (y - middle).square_()).sum(0)
    size, deviation = y.abs().amax(0), (total / weight).sqrt()
    varies = deviation > _ROUNDING * size
    scale = torch.where(varies, deviation, 1) if standardise else torch.ones_like(deviation)
    alpha, errors = _penalty(surrogate), None
    if not z.shape[1]:
        x, constant = z.new_zeros(0, y.shape[1]), middle / scale
        errors = None if alpha is None else x
    elif alpha is None:
        x, constant = surrogate(z, y / scale, w)
    else:
        x, constant, errors = regressed(z, y / scale, w, alpha)
    x, constant = x * scale, constant * scale
    r2 = torch.where(varies, 1 - (w * (y - z @ x - constant).square_()).sum(0) / total, 1)
    idle = (x == 0).all(0) & (deviation > _NOISE * size) & bool(z.shape[1])
    errors = None if errors is None else errors * scale
    return Fit(x, errors, constant, r2, idle, len(z) - z.shape[1] - 1.0)


def _alike(moved: Tensor, *, each: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of examples that are fitted at once, one at a time for ``each``, and of the features that matter to them."""
    patterns, which = torch.unique(moved, dim=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        rows = torch.nonzero(which == p).flatten()
        for part in rows.split(1 if each else len(rows)):
            yield part, torch.nonzero(pattern).flatten()


def _penalty(surrogate: Surrogate) -> float | None:
    """The penalty of a surrogate whose standard errors are known; None of any other."""
    function = getattr(surrogate, "function", None)
    if function is least_squares.function:
        return 0.0
    return float(getattr(surrogate, "options", {})["alpha"]) if function is ridge.function else None


def _warn_of_idle(idle: Tensor) -> None:
    if bool(idle.any()):
        warn(
            f"lime: all coefficients are 0 for {int(idle.sum())} of {idle.numel()} outputs, although they vary: by less than "
            "the surrogate's penalty; use standardise=True, a smaller penalty, like surrogate={'lasso': {'alpha': 1e-4}}, or "
            "surrogate='ridge'"
        )
