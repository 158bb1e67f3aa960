"""Saliency: the plain gradient."""

from attrkit import Problem, method
from attrkit.protocols import Tensors


@method("saliency", backward_passes="1", references=("arXiv:1312.6034",))
def saliency(problem: Problem, *, abs: bool = True) -> Tensors:  # noqa: A002 - the name people know
    """Gradient of the objective, in absolute value unless ``abs=False``.

    Args:
        abs: return absolute values, which say how much but not in which direction.
    """
    _, gradient = problem.value_and_grad()
    return tuple(g.abs() for g in gradient) if abs else gradient
