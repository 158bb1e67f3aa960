"""How much a coalition counts in a local surrogate: a kernel of its distance from the example."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from attrkit import Features, Game
from attrkit.errors import UsageError
from attrkit.protocols import Tensors

Space = Literal["site", "features"]
Kernel = Literal["cosine", "euclidean", "hamming"]
Product = Callable[[Tensor, Tensor], Tensor]
_PRODUCTS: dict[str, tuple[Product, ...]] = {
    "cosine": (lambda x, _: x * x, lambda x, z: x * z, lambda _, z: z * z),
    "euclidean": (lambda x, z: (x - z) ** 2,),
}
_TINY = 1e-8  # the least length of a vector in a cosine: the cosine with a zero vector is 0
_ENTRIES = 2**22  # of inputs that are built at a time


def kernel_weights(distances: Tensor, width: float) -> Tensor:
    """Weights ``exp(-d^2 / (2 width^2))``."""
    return (distances / width).square_().mul_(-0.5).exp_()


def distances(
    game: Game,
    coalitions: Tensor,
    draws: Tensor | None,
    kernel: Kernel,
    space: Space = "site",
    *,
    joined: bool = False,
) -> Tensor:
    """How far each coalition is from the one of all features, shape ``(k, batch or 1)``, float64.

    ``coalitions`` are boolean, of all features: shape ``(k, features)``, or ``(k, batch, features)`` where each example has its
    own; ``joined`` says that the batch is one vector. Distances are between the values at the site, all tensors flattened and
    joined, or between the vectors of which feature is there; ``hamming`` is the share of absent features in either case.

    Raises:
        UsageError: values at the site are not finite.
    """
    present = (coalitions if coalitions.dim() == 3 else coalitions[:, None]).double()
    if kernel == "hamming":
        return 1 - present.mean(-1)
    if space == "features":
        kept = present.sum(-1)
        total = torch.full_like(kept, present.shape[-1])
        return _cosine(total, kept, kept) if kernel == "cosine" else (total - kept).sqrt()
    products = _PRODUCTS[kernel]
    if isinstance(game.features, Features) and isinstance(game.replacing, tuple):
        sums = iter(_from_totals(game, coalitions, kernel))
    else:
        sums = _from_inputs(game, coalitions, draws, products)
    each = (s.sum(1, keepdim=True) if joined else s for s in sums)
    found = _cosine(*each) if kernel == "cosine" else next(each).clamp_min(0).sqrt()
    if not bool(found.isfinite().all()):
        raise UsageError(f"kernel={kernel!r} compares values that are not all finite; use kernel='hamming'")
    return found


def _cosine(length: Tensor, product: Tensor, other: Tensor) -> Tensor:
    """The cosine distance from squared lengths and a product."""
    return 1 - product / (length.clamp_min(0).sqrt().clamp_min(_TINY) * other.clamp_min(0).sqrt().clamp_min(_TINY))


def _from_totals(game: Game, coalitions: Tensor, kernel: Kernel) -> tuple[Tensor, ...]:
    """Sums over the site of products of the values and what coalitions make of them, without building the latter."""
    features, replaced = game.features, game.replacing
    assert isinstance(features, Features)  # for the type checker
    assert isinstance(replaced, tuple)
    every = Features(features.ids, features.count + 1) if features.fixed else features  # what is never replaced is one more
    present = coalitions.double()
    if features.fixed:
        present = torch.cat([present, present.new_ones(*present.shape[:-1], 1)], -1)
    absent = 1 - present
    pairs = [(x.double(), b.double()) for x, b in zip(game.problem.point, replaced, strict=True)]

    def summed(product: Product) -> Tensor:
        return every.totals(tuple(product(x, b) for x, b in pairs)).cpu()

    def over(which: Tensor, totals: Tensor) -> Tensor:
        return which @ totals.T if which.dim() == 2 else (which * totals).sum(-1)

    if kernel == "euclidean":
        return (over(absent, summed(_PRODUCTS[kernel][0])),)
    length, product, other = map(summed, _PRODUCTS["cosine"])
    kept = over(present, length)
    return length.sum(1)[None], kept + over(absent, product), kept + over(absent, other)


def _from_inputs(game: Game, coalitions: Tensor, draws: Tensor | None, products: tuple[Product, ...]) -> Iterator[Tensor]:
    """The same sums from values at the site that are built once more."""
    found: list[list[Tensor]] = [[] for _ in products]
    for built in perturbed(game, coalitions, draws):
        pairs = [(x.double(), z.double()) for x, z in zip(game.problem.point, built, strict=True)]
        for sums, product in zip(found, products, strict=True):
            each = [product(x, z).expand_as(z).reshape(*z.shape[:2], -1).sum(2) for x, z in pairs]
            sums.append(torch.stack(each).sum(0).cpu())
    return map(torch.cat, found)


def perturbed(game: Game, coalitions: Tensor, draws: Tensor | None) -> Iterator[Tensors]:
    """The values at the site that coalitions of all features make, shape ``(k, batch, ...)``, some coalitions at a time."""
    point = game.problem.point
    step = max(1, _ENTRIES // max(1, sum(x.numel() for x in point)))
    for low in range(0, len(coalitions), step):
        part = coalitions[low : low + step]
        numbers = torch.arange(len(part)) if draws is None else draws[low : low + step]
        replaced = game.replacing if isinstance(game.replacing, tuple) else game.replacing(numbers)
        triples = zip(_present(game, part), point, replaced, strict=True)
        yield tuple(torch.where(p, x, b.to(x)) for p, x, b in triples)


def _present(game: Game, coalitions: Tensor) -> Tensors:
    """Which positions keep their value, shape ``(k, batch or 1, ...)``."""
    device = game.problem.point[0].device
    if coalitions.dim() == 2:
        return game.features.present(coalitions.to(device))
    k, batch, count = coalitions.shape
    each = game.features.present(coalitions.reshape(k * batch, count).to(device))
    rows = torch.arange(batch, device=device)
    return tuple(p.unflatten(0, (k, batch)).expand(k, batch, batch, *p.shape[2:])[:, rows, rows] for p in each)


def check_width(width: float) -> None:
    """Raise UsageError where a kernel's width is not positive."""
    if not (math.isfinite(width) and width > 0):
        raise UsageError(f"kernel_width must be a positive number, got {width!r}")
