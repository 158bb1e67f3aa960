"""Correct methods, written in many ways: the kit has nothing to say against any of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attrkit import Estimate, Problem, method, wrapper
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors


def _times(first: Tensors, second: Tensors) -> Tensors:
    return tuple(a * b for a, b in zip(first, second, strict=True))


def _count(name: str, n: int) -> int:
    if n < 1:
        raise UsageError(f"{name} must be at least 1, got {n}")
    return n


# Gradients.


@method(
    "by_explicit_gradients", baseline="optional", complete="approximate", linear=True,
    forward_passes="n_steps + 2 * layer", backward_passes="n_steps",
)  # fmt: skip
def by_explicit_gradients(problem: Problem, *, n_steps: int = 16) -> Tensors:
    """Integrated gradients by the midpoint rule, gradients added up as they come.

    Args:
        n_steps: points on the path.
    """
    steps = _count("n_steps", n_steps)
    total = problem.zeros()
    for gradient in problem.grads((problem.lerp((i + 0.5) / steps) for i in range(steps)), steps):
        total = tuple(t + g / steps for t, g in zip(total, gradient, strict=True))
    return _times(total, problem.delta)


@method(
    "by_path_sum", where={"input", "layer"}, baseline="optional", complete="approximate", linear=True,
    forward_passes="points + 2 * layer", backward_passes="points",
)  # fmt: skip
def by_path_sum(problem: Problem, *, points: int = 12) -> Tensors:
    """Integrated gradients by Gauss-Legendre quadrature, nodes and weights from numpy.

    Args:
        points: points on the path.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_count("points", points))
    rule = [((float(n) + 1) / 2, float(w) / 2) for n, w in zip(nodes, weights, strict=True)]
    return _times(problem.path_sum(rule), problem.delta)


@method("along_the_inputs", neuron="through", baseline="optional", where={"input", "neuron"}, complete="approximate",
        linear=True, forward_passes="16", backward_passes="16")  # fmt: skip
def along_the_inputs(problem: Problem) -> Tensors:
    """Integrated gradients of the output as far as it goes through a neuron, by 16 midpoints."""
    total = problem.input_path_sum([((i + 0.5) / 16, 1 / 16) for i in range(16)])
    return _times(total, problem.delta)


@method("times_input", complete="exact", linear=True, where={"input", "layer"}, backward_passes="1")
def times_input(problem: Problem) -> Tensors:
    """Gradient times input: exact for piecewise linear models without biases, which is all that it promises."""
    _, gradient = problem.value_and_grad()
    return _times(problem.point, gradient)


@method("as_shares", backward_passes="1")
def as_shares(problem: Problem, *, floor: float = 1e-3) -> Tensors:
    """Absolute gradients as shares of the example's sum over all tensors, which is taken for no smaller than ``floor``.

    Args:
        floor: the smallest sum.
    """
    if not floor > 0:
        raise UsageError(f"floor must be positive, got {floor}")
    _, gradient = problem.value_and_grad()
    sizes = [g.float().abs() if g.element_size() < 4 else g.abs() for g in gradient]
    whole = sum((s.flatten(1).sum(1) for s in sizes), sizes[0].new_zeros(len(sizes[0]))).clamp_min(floor)
    return tuple(s / whole.reshape(-1, *[1] * (s.dim() - 1)) for s in sizes)


@method("normalised", where={"input"}, backward_passes="1")
def normalised(problem: Problem) -> Tensors:
    """The gradient of each example, divided by its own root mean square, tensor by tensor."""
    _, gradient = problem.value_and_grad()
    scales = (g.float().square().flatten(1).mean(1).sqrt().clamp_min(1e-6).to(g) for g in gradient)
    return tuple(g / s.reshape(-1, *[1] * (g.dim() - 1)) for g, s in zip(gradient, scales, strict=True))


@method("always_float64", where={"input", "layer"}, linear=True, backward_passes="1")
def always_float64(problem: Problem) -> Tensors:
    """The gradient, in float64 whatever the model is, by way of numpy."""
    _, gradient = problem.value_and_grad()
    return tuple(torch.from_numpy(g.double().cpu().numpy().copy()).to(g.device) for g in gradient)


@method("of_every_kind", where={"input"}, backward_passes="1")
def of_every_kind(
    problem: Problem,
    *,
    absolute: bool = True,
    power: float = 1.0,
    repeats: int = 1,
    limit: float | None = None,
    most: int | None = None,
    norm: str = "none",
    sign: Literal["keep", "flip"] = "keep",
    factors: tuple[float, ...] = (),
    scale: Any = None,
) -> Tensors:
    """The gradient, changed by options of all kinds.

    Args:
        absolute: absolute values.
        power: to this power, their signs kept.
        repeats: add this up as often.
        limit: no value is larger; None for no limit.
        most: keep so many of the largest values; None for all.
        norm: none, or max: divide by the largest value of each example.
        sign: keep it, or flip it.
        factors: multiply by these, one after the other.
        scale: a function of the gradient, or None.
    """
    if not isinstance(factors, tuple | list) or not all(isinstance(f, int | float) for f in factors):
        raise UsageTypeError(f"factors must be numbers, got {factors!r}")
    if most is not None:
        _count("most", most)
    if norm not in ("none", "max"):
        raise UsageError(f"norm must be none or max, got {norm!r}")
    if sign not in ("keep", "flip"):
        raise UsageError(f"sign must be keep or flip, got {sign!r}")
    if scale is not None and not callable(scale):
        raise UsageTypeError(f"scale must be a function, got {scale!r}")

    def one(g: Tensor) -> Tensor:
        found = (g.abs() if absolute else g.sign() * g.abs() ** power) * repeats
        found = found if limit is None else found.clamp(-limit, limit)
        if norm == "max":
            found = found / found.abs().flatten(1).amax(1, keepdim=True).clamp_min(1e-12)
        if most is not None:
            found = found * (found >= found.flatten(1).topk(most).values[:, -1:])
        for factor in factors:
            found = found * factor
        return -found if sign == "flip" else found

    _, gradient = problem.value_and_grad()
    return tuple(map(one if scale is None else scale, gradient))


@method("blurred", where={"input"}, linear=True, backward_passes="1")
def blurred(problem: Problem) -> Tensors:
    """The gradient, of which each feature also gets some of its neighbours', so that ignored features get something."""
    _, gradient = problem.value_and_grad()
    return tuple((2 * g + g.roll(1, 1) + g.roll(-1, 1)) / 4 for g in gradient)


# Layers, and where attributions land.


@method("map_of_images", where={"layer"}, backward_passes="1")
def map_of_images(problem: Problem) -> Tensors:
    """The sum over channels of gradient times value, for layers that return images."""
    _, gradient = problem.value_and_grad()
    if any(x.dim() != 4 for x in problem.point):
        raise UsageError("layer: its value must be images, shape (batch, channels, height, width)")
    return tuple((x * g).sum(1, keepdim=True) for x, g in zip(problem.point, gradient, strict=True))


@method("at_layers", where={"layer"}, linear=True, backward_passes="1")
def at_layers(problem: Problem) -> Tensors:
    """Gradient times value, of a layer alone."""
    _, gradient = problem.value_and_grad()
    return _times(problem.point, gradient)


@method("squares_of_values", where={"layer"}, gradient=False, objective=False)
def squares_of_values(problem: Problem) -> Tensors:
    """The square of a layer's value, which explains no output."""
    return tuple(x.square() for x in problem.point)


@method("one_for_each_row", where={"input", "layer"}, backward_passes="1")
def one_for_each_row(problem: Problem) -> Tensors:
    """The sum of absolute gradients over the last dimension, which is kept as one."""
    _, gradient = problem.value_and_grad()
    return tuple(g.abs().sum(-1, keepdim=True) for g in gradient)


@method("lands_at_inputs", where={"layer"}, lands="inputs", backward_passes="1")
def lands_at_inputs(problem: Problem) -> Tensors:
    """Gradients at the inputs, times how large the layer's gradient is."""
    _, gradient = problem.value_and_grad()
    size = sum(g.flatten(1).norm(dim=1) for g in gradient)
    return tuple(x.detach() * size.reshape(-1, *[1] * (x.dim() - 1)) for x in problem.inputs)


# Perturbation.


@method("dropped_one_by_one", gradient=False, baseline="optional", baseline_at="site", outputs="every", linear=True,
        forward_passes="1 + features + layer")  # fmt: skip
def dropped_one_by_one(problem: Problem, *, feature_mask: Any = None, replacement: Any = None) -> Tensors:
    """What the output loses without a feature."""
    game = problem.game(feature_mask, replacement)
    whole, *others = itertools.chain.from_iterable(game.stream(game.all_but_one(), game.count + 1))
    return game.spread(whole - torch.stack(others) if others else whole[None][:0])


@method("shapley_by_enumeration", where={"input", "layer"}, gradient=False, baseline="optional", baseline_at="site",
        outputs="every", complete="exact", linear=True, forward_passes="2 ** features + layer")  # fmt: skip
def shapley_by_enumeration(problem: Problem, *, feature_mask: Any = None) -> Tensors:
    """Shapley values by all coalitions: for each size the mean of those with a feature, less that of those without."""
    game = problem.game(feature_mask)
    n = game.count
    if n > 16:
        raise UsageError(f"feature_mask: {n} features have too many coalitions; give 16 at most")
    rows = torch.tensor(list(itertools.product([False, True], repeat=n)), dtype=torch.bool).reshape(2**n, n)
    values, sizes = game.values(rows), rows.sum(1)
    weight = torch.tensor([1.0 / (max(n, 1) * math.comb(max(n - 1, 0), k)) for k in range(max(n, 1))], dtype=torch.float64)
    with_it = rows.double() * weight[(sizes - 1).clamp(min=0)][:, None]
    without = (~rows).double() * weight[sizes.clamp(max=max(n - 1, 0))][:, None]
    return game.attributions(Estimate(torch.tensordot((with_it - without).T, values, 1)))


@method("windows", where={"input"}, gradient=False, baseline="optional", forward_passes="1 + features")
def windows(problem: Problem, *, width: int = 2) -> Tensors:
    """What the output loses where a window of each tensor is at the baseline, given to the place where the window begins.

    Args:
        width: positions of the window, in each example laid out flat.
    """
    _count("width", width)
    point, baseline = problem.point, problem.baseline
    places = [(i, at) for i, x in enumerate(point) for at in range(math.prod(x.shape[1:]))]

    def moved(i: int, at: int) -> Tensors:
        flat, other = point[i].flatten(1).clone(), baseline[i].flatten(1)
        flat[:, at : at + width] = other[:, at : at + width]
        return (*point[:i], flat.reshape(point[i].shape), *point[i + 1 :])

    whole, *values = problem.values(itertools.chain([point], itertools.starmap(moved, places)), len(places) + 1)
    lost = [[whole - v for (i, _), v in zip(places, values, strict=True) if i == k] for k in range(len(point))]
    return tuple(torch.stack(each, 1).reshape(x.shape) for each, x in zip(lost, point, strict=True))


@method("of_features", where={"input"}, gradient=False, baseline="optional", lands="features",
        forward_passes="3")  # fmt: skip
def of_features(problem: Problem) -> Tensors:
    """What the output loses without what is below zero, and without what is above: two numbers for each example."""
    signs = [[x.sign() == sign for x in problem.point] for sign in (-1, 1)]
    without = [tuple(map(torch.where, each, problem.baseline, problem.point)) for each in signs]
    whole, *values = problem.values([problem.point, *without], 3)
    return (torch.stack([whole - v for v in values], 1),)


@method("by_differences", where={"input"}, gradient=False, linear=True, forward_passes="2 * features")
def by_differences(problem: Problem, *, step: float = 1e-3) -> Tensors:
    """The gradient by central differences, in which half precision has too few digits.

    Args:
        step: how far to each side.
    """
    if not step > 0:
        raise UsageError(f"step must be positive, got {step}")
    if any(x.is_floating_point() and x.element_size() < 4 for x in problem.point):
        raise UsageTypeError("inputs: differences need float32 or float64; convert the model and the inputs")

    def points() -> Iterator[Tensors]:
        for i, x in enumerate(problem.point):
            for at in range(math.prod(x.shape[1:])):
                for side in (step, -step):
                    moved = x.flatten(1).clone()
                    moved[:, at] += side
                    yield (*problem.point[:i], moved.reshape(x.shape), *problem.point[i + 1 :])

    values = torch.stack(list(problem.values(points()))).unflatten(0, (-1, 2))
    slopes = ((values[:, 0].double() - values[:, 1].double()) / (2 * step)).T.split(
        [math.prod(x.shape[1:]) for x in problem.point], 1
    )
    return tuple(s.reshape(x.shape) for s, x in zip(slopes, problem.point, strict=True))


# Draws.


@method("smoothed", where={"input", "layer"}, stochastic=True, forward_passes="n_samples + layer", backward_passes="n_samples")
def smoothed(problem: Problem, *, n_samples: int = 3, deviation: float = 0.05) -> Tensors:
    """The gradient averaged over noisy copies of the site's value.

    Args:
        n_samples: how many.
        deviation: standard deviation of the noise.
    """
    total = problem.zeros()
    noisy = (
        tuple(x + deviation * e for x, e in zip(problem.point, problem.normal(i), strict=True))
        for i in range(_count("n_samples", n_samples))
    )
    for gradient in problem.grads(noisy, n_samples):
        total = tuple(t + g / n_samples for t, g in zip(total, gradient, strict=True))
    return total


@method("of_a_distribution", where={"input"}, baseline="required", distribution=True, complete="approximate",
        stochastic=True, linear=True, forward_passes="n_samples", backward_passes="n_samples")  # fmt: skip
def of_a_distribution(problem: Problem, *, n_samples: int = 30) -> Tensors:
    """Gradients at random places between the inputs and rows of the baselines, times the difference.

    Args:
        n_samples: places for each example.
    """
    _count("n_samples", n_samples)
    total, background = problem.zeros(), problem.background
    assert background is not None
    starts: list[Tensors] = []

    def points() -> Iterator[Tensors]:
        for i in range(n_samples):
            each = [problem.generator(2 * i, example) for example in range(len(problem.inputs[0]))]
            rows = [int(torch.randint(len(background[0]), (), generator=generator)) for generator in each]
            starts.append(tuple(b[rows] for b in background))
            shares = (problem.uniform(2 * i + 1) + i) / n_samples  # one in each of n_samples strata
            yield tuple(
                torch.lerp(b, x, shares.to(x).reshape(-1, *[1] * (x.dim() - 1)))
                for b, x in zip(starts[-1], problem.inputs, strict=True)
            )

    for gradient in problem.grads(points(), n_samples):
        start = starts.pop(0)
        parts = zip(total, gradient, problem.inputs, start, strict=True)
        total = tuple(t + g * (x - b) / n_samples for t, g, x, b in parts)
    return total


@method("shared_draws", where={"input"}, stochastic=True, gradient=False, forward_passes="1 + n_samples")
def shared_draws(problem: Problem, *, n_samples: int = 40) -> Tensors:
    """How the output changes along random directions, the same for all examples, drawn in the inputs' own type.

    Args:
        n_samples: directions.
    """
    generator = problem.common_generator(0)
    draws = [
        torch.randn(_count("n_samples", n_samples), *x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)
        for x in problem.point
    ]
    points = (tuple(x + 0.1 * d[i] for x, d in zip(problem.point, draws, strict=True)) for i in range(n_samples))
    whole, *values = problem.values(itertools.chain([problem.point], points), 1 + n_samples)
    total = problem.zeros()
    for i, value in enumerate(values):
        change = (value - whole) / (0.1 * n_samples)
        total = tuple(t + change.to(t).reshape(-1, *[1] * (t.dim() - 1)) * d[i] for t, d in zip(total, draws, strict=True))
    return total


@method("random_coalitions", where={"input"}, stochastic=True, gradient=False, baseline="optional", baseline_at="site",
        outputs="every", linear=True, forward_passes="n_samples")  # fmt: skip
def random_coalitions(problem: Problem, *, n_samples: int = 64, feature_mask: Any = None) -> Tensors:
    """The mean output of random coalitions with a feature, less that of those without, with standard errors.

    Args:
        n_samples: coalitions.
    """
    game = problem.game(feature_mask)
    rows = torch.rand(_count("n_samples", n_samples), game.count, generator=game.generator(0)) < 0.5
    values = game.values(rows)
    signs = 2 * rows.double() - 1
    scores = 2 * torch.tensordot(signs.T, values, 1) / n_samples
    spread = (values.square().mean(0) - values.mean(0).square()).clamp_min(0).sqrt().expand_as(scores) * 2 / n_samples**0.5
    return game.attributions(Estimate(scores, errors=spread, details={"coalitions": n_samples}))


# Methods of methods.


@wrapper("averaged", stochastic=True, times="copies")
def averaged(problem: Problem, inner: Callable[[Problem], Tensors], *, copies: int = 3, spread: float = 0.1) -> Tensors:
    """The mean of a method's attributions for noisy copies of the inputs.

    Args:
        copies: how many.
        spread: standard deviation of the noise.
    """
    _count("copies", copies)
    noisy = (
        tuple(x + spread * e for x, e in zip(problem.inputs, problem.normal(i, problem.inputs), strict=True))
        for i in range(copies)
    )
    sums: Tensors = ()
    for found in problem.attributions(inner, noisy, copies):
        sums = tuple(map(torch.add, sums, found)) if sums else found
    return tuple(s / copies for s in sums)


@method("of_another_method", where={"input"}, baseline="optional", complete="approximate", linear=True,
        forward_passes="n_steps", backward_passes="n_steps")  # fmt: skip
def of_another_method(problem: Problem, *, n_steps: int = 16) -> Tensors:
    """Another method's attributions at one place, with a partial application of it.

    Args:
        n_steps: points on the path.
    """
    inner = partial(by_explicit_gradients.function, n_steps=_count("n_steps", n_steps))
    (found,) = problem.attributions(inner, [problem.inputs], 1)
    return found


averaged_and_normalised = averaged.around(normalised)
averaged_twice = averaged.around(averaged.around(windows))
