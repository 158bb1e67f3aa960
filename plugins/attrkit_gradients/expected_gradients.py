"""Expected gradients: gradient SHAP with places and baselines spread evenly instead of drawn one by one."""

from collections.abc import Iterator

import torch
from torch import Tensor

from attrkit import Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors


def _plan(problem: Problem, example: int, n: int) -> tuple[Tensor, Tensor]:
    """For one example, the position of each of ``n`` samples on its path, and the row of the background it starts from.

    Each of n equal parts of the path gets one position. Rows come in random order, none again before all have had their turn.
    Where there are samples enough for every row to have two, two share a row, at places that mirror each other.
    """
    generator = problem.generator(0, example)
    count = len(problem.background[0]) if problem.background else 1
    draw = torch.rand(n, generator=generator, dtype=torch.float64)
    turns = torch.cat([torch.randperm(count, generator=generator) for _ in range(-(-n // count))])
    position, paired = (torch.arange(n) + draw) / n, n // (2 * count) * count
    some = torch.randperm(n // 2, generator=generator)[:paired].sort().values  # of the pairs of parts that mirror each other
    position[n - 1 - some] = 1 - position[some]
    rows, single = torch.empty(n, dtype=torch.long), torch.ones(n, dtype=torch.bool)
    rows[some], rows[n - 1 - some] = turns[:paired], turns[:paired]
    single[some], single[n - 1 - some] = False, False
    rows[single] = turns[paired : paired + n - 2 * paired]
    return position, rows


@method(
    "expected_gradients",
    baseline="required",
    distribution=True,
    complete="approximate",
    stochastic=True,
    forward_passes="n_samples * (1 + layer * multiply_by_inputs) + layer",
    backward_passes="n_samples",
    references=("arXiv:1906.10670", "arXiv:1705.07874"),
)
def expected_gradients(problem: Problem, *, n_samples: int = 50, multiply_by_inputs: bool = True) -> Tensors:
    """Average gradient between the inputs and the rows of a background, times their difference: integrated over both.

    It estimates what gradient_shap estimates. Positions are stratified and rows drawn without replacement, so the error is
    lower at the same cost, from about twice as many samples as there are rows by a factor of two and more.

    Args:
        n_samples: places for each example.
        multiply_by_inputs: multiply by the difference from the baseline; without, the average gradient.

    Raises:
        UsageError: ``n_samples`` is less than 1.
    """
    if n_samples < 1:
        raise UsageError(f"n_samples must be at least 1, got {n_samples}")
    assert problem.background is not None  # for the type checker: the declaration says that it is a distribution
    background = problem.background
    plans = [_plan(problem, example, n_samples) for example in range(len(problem.arguments))]

    def starts(sample: int) -> Tensors:
        rows = [int(turns[sample]) for _, turns in plans]
        return tuple(b[rows] for b in background)

    def points() -> Iterator[Tensors]:
        for sample in range(n_samples):
            positions = torch.stack([position[sample] for position, _ in plans]) if plans else torch.zeros(0)
            pairs = zip(starts(sample), problem.inputs, strict=True)
            yield tuple(b + positions.to(x).reshape(-1, *[1] * (x.dim() - 1)) * (x - b) for b, x in pairs)

    def summands() -> Iterator[Tensors]:
        gradients = (gradient for _, gradient in problem.along(points(), n_samples))
        if not multiply_by_inputs:
            yield from gradients
            return
        for gradient, base in zip(gradients, problem.sites(map(starts, range(n_samples))), strict=True):
            yield tuple(g * (x - b) for g, x, b in zip(gradient, problem.point, base, strict=True))

    total = problem.zeros()
    for summand in summands():
        total = tuple(t + s / n_samples for t, s in zip(total, summand, strict=True))
    return total
