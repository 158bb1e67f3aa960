"""Important direction gradient integration: each step of a path is shared out along the gradient alone."""

from itertools import pairwise

import torch

from attrkit import Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors


@method(
    "idgi",
    baseline="optional",
    complete="approximate",
    forward_passes="n_steps + 1 + 2 * layer",
    backward_passes="n_steps + 1",
    references=("arXiv:2303.14242",),
)
def idgi(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Share the objective's change on each step of a straight path by the squares of the gradient's entries.

    Integrated gradients counts all of a step; this counts the part of it along the gradient, which alone changes the
    objective. Attributions add up to the whole change of the objective, but for steps that start where the gradient is zero.

    Args:
        n_steps: how many steps there are between the baseline and the point.

    Raises:
        UsageError: ``n_steps`` is less than 1.
    """
    if n_steps < 1:
        raise UsageError(f"n_steps must be at least 1, got {n_steps!r}")
    total = problem.zeros()
    points = (problem.lerp(i / n_steps) for i in range(n_steps + 1))
    for (value, gradient), (after, _) in pairwise(problem.values_and_grads(points, n_steps + 1)):
        squares = [g.to(t.dtype) ** 2 for g, t in zip(gradient, total, strict=True)]
        examples = max(len(value), 1)  # a model that returns one number for a batch makes one example of it
        norm = torch.stack([s.reshape(len(value), s.numel() // examples).sum(1) for s in squares]).sum(0)
        scale = ((after - value) / norm).where(norm > 0, 0)
        total = tuple(t + s * scale.reshape(-1, *[1] * (s.dim() - 1)) for t, s in zip(total, squares, strict=True))
    return total
