"""Occlusion: what the objective loses when a window slides over the input and covers a part of it."""

from typing import Any

from attrkit import Problem, method
from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit_perturbation.features.windows import Windows


def _usual(point: Tensors) -> tuple[Any, Any]:
    """Windows of a quarter of each dimension that tells places apart, and strides of half of that, for each tensor."""
    shapes, strides = [], []
    for x in point:
        sizes, places = tuple(x.shape[1:]), slice(1, None) if x.dim() > 3 else slice(1)
        window = [max(1, n) for n in sizes]
        window[places] = [max(1, -(-n // 4)) for n in sizes[places]]
        shapes.append(tuple(window))
        strides.append(tuple(max(1, n // 2) for n in window))
    return tuple(shapes), tuple(strides)


@method(
    "occlusion",
    gradient=False,
    baseline="optional",
    baseline_at="site",
    outputs="every",
    linear=True,
    forward_passes="1 + windows + layer",
    references=("arXiv:1311.2901",),
)
def occlusion(
    problem: Problem,
    *,
    sliding_window_shapes: Any = None,
    strides: Any = None,
    replacement: Any = None,
    background: Any = None,
) -> Tensors:
    """Mean drop of the objective over the windows that cover a position, each replaced in turn.

    Args:
        sliding_window_shapes: the shape of the window without the batch, () where there is but the batch; for several tensors a
            tuple with one for each. Without, a quarter of the height and width of images, with all channels, or of the columns
            or tokens of others, which moves by half of that.
        strides: how far the window moves, an integer or one for each dimension; for several tensors a tuple with one of these
            for each. Without, by 1. The last window of a dimension is cut off where the tensor ends.

    Raises:
        UsageError: a window is larger than its tensor, or a stride than its window where that would leave positions out; or
            there are strides without windows.
    """
    if sliding_window_shapes is None and strides is not None:
        raise UsageError("strides say how far a window moves whose shape sliding_window_shapes must give; it is missing")
    given = _usual(problem.point) if sliding_window_shapes is None else (sliding_window_shapes, strides)
    game = problem.game(Windows.of(problem.point, *given), replacement, background)
    whole, *without = game.streamed(game.all_but_one(), game.count + 1).split([1, game.count])
    return game.spread(whole - without[0])
