"""What absent features are replaced by, another for each draw: noise, or values of other examples."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from attrkit import Problem, Rows, replacement
from attrkit.errors import UsageError, UsageTypeError
from attrkit.protocols import Tensors
from attrkit_perturbation.replacements.fixed import as_values, features_of

Drawing: TypeAlias = Callable[[Tensor], Tensors]  # numbers of draws, shape (k,), to shape (k, batch or 1, ...)


@replacement("noise")
def noise(problem: Problem, *, sigma: float = 1.0) -> Drawing:
    """Gaussian noise around the baseline, each draw and each example its own.

    Args:
        sigma: the standard deviation.

    Raises:
        UsageError: sigma is not positive, or the inputs are integers.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise UsageError(f"sigma must be a positive number, got {sigma!r}")

    def draw(numbers: Tensor) -> Tensors:
        each = [problem.normal(int(n)) for n in numbers]
        triples = zip(zip(*each, strict=True), problem.baseline, problem.point, strict=True)
        return tuple(as_values(b + sigma * torch.stack(e), x, "noise") for e, b, x in triples)

    return draw


@replacement("permuted")
def permuted(problem: Problem) -> Drawing:
    """The values of other examples: the batch in another order, a fresh one for each draw, the same for all tensors.

    Raises:
        UsageError: the batch is a single example.
    """
    count = len(problem.point[0])
    if count < 2:
        raise UsageError(
            "replacement 'permuted' takes values from other examples of the batch, but there is only one; add some"
        )

    def order(number: int) -> Tensor:
        generator, same = problem.common_generator(number), torch.arange(count)
        found = same
        while torch.equal(found, same):
            found = torch.randperm(count, generator=generator)
        return found

    def draw(numbers: Tensor) -> Tensors:
        orders = torch.stack([order(int(n)) for n in numbers])
        return tuple(x[orders.to(x.device)] for x in problem.point)

    return draw


@replacement("background")
def background(problem: Problem, *, data: Any = None) -> Rows:
    """The rows of a data set, which take turns.

    Args:
        data: a tensor with a row for each example of the data set, or one for each tensor; required.

    Raises:
        UsageError: no data was given, or its rows do not look like an example.
    """
    return _rows(problem, data, "background", "data")


@replacement("marginal")
def marginal(problem: Problem, *, background: Any = None, feature_mask: Any = None) -> Drawing:
    """Values of a data set, those of each feature from a row of its own, drawn independently of the other features.

    Args:
        background: the data set: a tensor with a row for each of its examples, or one for each tensor; required.
        feature_mask: the features; without, those of the method.

    Raises:
        UsageError: no background was given, its rows do not look like an example, or features share positions.
    """
    rows = _rows(problem, background, "marginal", "background")
    features = features_of(problem, feature_mask, "marginal")

    def draw(numbers: Tensor) -> Tensors:
        sizes = [(features.count + 1,)] * len(numbers)
        pairs = zip(numbers, sizes, strict=True)
        drawn = torch.stack([torch.randint(len(rows), s, generator=problem.common_generator(int(n))) for n, s in pairs])
        return tuple(_picked(t, drawn.to(t.device)[:, ids]) for t, ids in zip(rows.tensors, features.ids, strict=True))

    return draw


@replacement("quartiles", references=("arXiv:1602.04938",))
def quartiles(problem: Problem, *, background: Any = None, categorical: tuple[int, ...] = ()) -> Drawing:
    """LIME's replacement for tables: a value of the column from a data set, of another quartile than the example's own.

    Each column is drawn independently, among the rows whose value lies between other quartiles of the column; where there is no
    such row, among all. Columns of several tensors, and positions of larger ones, count through.

    Args:
        background: the data set: a tensor with a row for each of its examples, or one for each tensor; required.
        categorical: numbers of columns that hold categories: of these it is a value unlike the example's own.

    Raises:
        UsageError: no background was given, its rows do not look like an example, or there is no such column.
        UsageTypeError: categorical are no numbers of columns.
    """
    if not isinstance(categorical, list | tuple) or any(type(c) is not int for c in categorical):
        raise UsageTypeError(f"categorical must be numbers of columns, like (0, 3), got {categorical!r}")
    rows = _rows(problem, background, "quartiles", "background")
    sizes = [math.prod(x.shape[1:]) for x in problem.point]
    if stray := [c for c in categorical if not 0 <= c < sum(sizes)]:
        raise UsageError(f"categorical names column {stray[0]}, but there are {sum(sizes)}, counted from 0")
    coded = torch.zeros(sum(sizes), dtype=torch.bool)
    coded[list(categorical)] = True
    triples = zip(rows.tensors, problem.point, coded.split(sizes), strict=True)
    pickers = [_other_bins(t.flatten(1), x.flatten(1), c.to(x.device)) for t, x, c in triples]

    def draw(numbers: Tensor) -> Tensors:
        each = [torch.rand(sum(sizes), generator=problem.common_generator(int(n)), dtype=torch.float64) for n in numbers]
        parts = torch.stack(each)[:, None].split(sizes, -1)
        pairs = zip(pickers, parts, problem.point, strict=True)
        return tuple(pick(u.to(x.device)).reshape(len(numbers), *x.shape) for pick, u, x in pairs)

    return draw


def _other_bins(rows: Tensor, x: Tensor, coded: Tensor) -> Callable[[Tensor], Tensor]:
    """From numbers between 0 and 1, shape ``(k, 1, columns)``, to values of other bins than those of ``x``."""
    values = rows.double().sort(0).values  # of a column in order, so that those of one bin stand side by side
    own = x.double()
    edges = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=x.device), dim=0)
    bins, mine = ((v[:, None] > edges).sum(1) for v in (values, own))
    bins, mine = torch.where(coded, values, bins.double()), torch.where(coded, own, mine.double())
    columns = bins.T.contiguous()
    first, past = (torch.searchsorted(columns, mine.T.contiguous(), right=side).T for side in (False, True))
    size = past - first
    alone = size == len(rows)
    first, size = first.masked_fill(alone, len(rows)), size.masked_fill(alone, 0)

    def pick(share: Tensor) -> Tensor:
        drawn = (share * (len(rows) - size)).long()
        found = drawn + size * (drawn >= first)
        return torch.gather(values.expand(len(found), -1, -1), 1, found).to(rows.dtype)

    return pick


def _picked(rows: Tensor, numbers: Tensor) -> Tensor:
    """At each position the value of a row of its own, shape ``(k, 1 or batch, ...)``; ``numbers`` broadcasts to that."""
    shape = (*numbers.shape[:2], *rows.shape[1:])
    flat = numbers.expand(shape).reshape(-1, math.prod(rows.shape[1:]))
    return rows.flatten(1).gather(0, flat).reshape(shape)


def _rows(problem: Problem, given: Any, name: str, option: str) -> Rows:
    if given is None:
        raise UsageError(f"replacement {name!r} needs its option {option}, the rows to take values from")
    try:
        found = problem.game(background=given).replacing
    except UsageError as error:  # which says background, whatever the option is called here
        raise type(error)(f"{option}{str(error).removeprefix('background')}") from None
    assert isinstance(found, Rows)  # for the type checker
    return found
