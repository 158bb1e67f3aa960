"""Feature permutation: what the objective loses when a feature's values are exchanged between the examples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from attrkit import Estimate, Features, Game, Problem, method
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors
from attrkit_perturbation.asking.spread import errors_of_mean


def _each_of_several(problem: Problem) -> tuple[int, int]:
    """How many examples there are, and how many copies of them; values are exchanged within each copy."""
    rows = problem.example_rows
    n = len(rows.unique())
    copies = len(rows) // max(1, n)
    return (n, copies) if torch.equal(rows, rows[:n].repeat(copies)) else (len(rows), 1)


def _permuting(problem: Problem) -> Callable[[Tensor], Tensors]:
    """What replaces the site's value in each draw: the same of other examples, by a permutation that is not the identity."""
    n, copies = _each_of_several(problem)
    starts = n * torch.arange(copies)[:, None]

    def permutation(draw: int) -> Tensor:
        generator, order = problem.common_generator(draw), torch.arange(n)
        while n > 1 and torch.equal(order, torch.arange(n)):
            order = torch.randperm(n, generator=generator)
        return (starts + order).flatten()

    def replaced(draws: Tensor) -> Tensors:
        orders = torch.stack([permutation(draw) for draw in draws.tolist()])
        return tuple(x[orders.to(x.device)] for x in problem.point)

    return replaced


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Give torch's global generators a seed in this block, and put them back after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


def _permuted_by(
    function: Callable[[Tensor, Tensor], Tensor], problem: Problem, features: Features
) -> Callable[[Tensor], Tensors]:
    """The same by the caller's function of a tensor and a mask of the feature's positions; each draw has a seed of its own."""

    def one(x: Tensor, ids: Tensor, draw: int) -> Tensor:
        mask = ids == (draw - 1) % max(1, features.count)  # draw 0 is that of the coalition of all
        if not draw or not bool(mask.any()):
            return x
        with _seeded(problem.common_generator(draw).initial_seed(), x.device):
            found = function(x.clone(), mask)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"perm_func must return a tensor of the shape that it is given, {tuple(x.shape)}, it returned {got}"
            )
        return found.to(x)

    def replaced(draws: Tensor) -> Tensors:
        pairs = zip(problem.point, features.ids, strict=True)
        return tuple(torch.stack([one(x, ids, draw) for draw in draws.tolist()]) for x, ids in pairs)

    return replaced


def _repeated(game: Game, n_repeats: int) -> Iterator[Tensor]:
    """The coalition of all, then ``n_repeats`` times those that lack one, in blocks."""
    yield torch.ones(1, game.count, dtype=torch.bool)
    numbers = torch.arange(game.count)
    for run in game.blocks(n_repeats * game.count):
        yield numbers != torch.arange(run.start, run.stop)[:, None] % game.count


@method(
    "feature_permutation",
    where={"input", "layer"},
    gradient=False,
    outputs="every",
    linear=True,
    stochastic=True,
    forward_passes="1 + n_repeats * features + layer",
    references=("doi:10.1023/A:1010933404324", "arXiv:1801.01489"),
)
def feature_permutation(problem: Problem, *, feature_mask: Any = None, perm_func: Any = None, n_repeats: int = 1) -> Tensors:
    """Drop of the objective when the values of each feature are permuted within the batch, the others left as they are.

    All tensors of a feature are permuted alike, and never by the identity. With a model that returns one number for the batch,
    like a loss, the result is permutation importance as it is known.

    Args:
        perm_func: a function of a tensor and a boolean mask of a feature's positions that returns the tensor, these permuted,
            in place of random permutations; called for each tensor of each feature, with torch's global generator seeded by
            ``seed``.
        n_repeats: how many permutations of each feature are averaged; several give standard errors.

    Raises:
        UsageError: the batch has one example, or a layer's value has other rows than the batch.
    """
    if n_repeats < 1:
        raise UsageError(f"n_repeats must be at least 1, got {n_repeats}")
    if perm_func is not None and not callable(perm_func):
        raise UsageTypeError(f"perm_func must be a function of a tensor and a mask, got {type(perm_func).__name__}")
    batch = len(problem.arguments)
    if any(len(x) != batch for x in problem.point):
        raise UsageError("layer: its value has other rows than the batch, which cannot be exchanged between examples")
    if batch and _each_of_several(problem)[0] == 1:
        raise UsageError("inputs: feature_permutation exchanges values between examples; give a batch of at least 2")
    game = problem.game(feature_mask, lambda _: _permuting(problem))
    if perm_func is not None:
        assert isinstance(game.features, Features)  # for the type checker: a mask is what it was made of
        game.replacing = _permuted_by(cast("Callable[[Tensor, Tensor], Tensor]", perm_func), problem, game.features)
    values = game.streamed(_repeated(game, n_repeats), 1 + n_repeats * game.count)
    drops = (values[0] - values[1:]).unflatten(0, (n_repeats, game.count))
    if n_repeats == 1:
        return game.attributions(Estimate(drops[0]))
    return game.attributions(Estimate(drops.double().mean(0), *errors_of_mean(drops.double())))
