"""Quadrature on [0, 1]: where a path is evaluated, and how much each place counts. Weights sum to one."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import attrs
import numpy as np

from attrkit.errors import UnknownName, UsageError, did_you_mean


@attrs.frozen
class Rule:
    """Nodes in ascending order and their weights."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Each node and its weight."""
        return zip(self.nodes, self.weights, strict=True)


def _riemann(n: int, *, shift: float) -> Rule:
    return Rule(tuple((i + shift) / n for i in range(n)), (1 / n,) * n)


def _trapezoid(n: int) -> Rule:
    return Rule(tuple(i / (n - 1) for i in range(n)), tuple(w / (n - 1) for w in (0.5, *[1.0] * (n - 2), 0.5)))


def _gauss_legendre(n: int) -> Rule:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return Rule(tuple(map(float, (nodes + 1) / 2)), tuple(map(float, weights / 2)))


def clenshaw_curtis(n: int) -> Rule:
    """Nodes at the extrema of a Chebyshev polynomial; those of n points are among those of 2 n - 1 (doi:10.1007/BF01386223)."""
    intervals, angles = n - 1, np.arange(n) * np.pi / (n - 1)
    k = np.arange(1, intervals // 2 + 1)
    shares = np.where(2 * k == intervals, 1.0, 2.0) / (4 * k**2 - 1)
    weights = (1 - np.cos(2 * np.outer(angles, k)) @ shares) / intervals
    weights[[0, -1]] /= 2
    return Rule(tuple(map(float, (1 - np.cos(angles)) / 2)), tuple(map(float, weights)))


#: How each rule is made, and the fewest points it is made of.
RULES: dict[str, tuple[Callable[[int], Rule], int]] = {
    "gausslegendre": (_gauss_legendre, 1),
    "clenshaw_curtis": (clenshaw_curtis, 2),
    "riemann_left": (partial(_riemann, shift=0.0), 1),
    "riemann_right": (partial(_riemann, shift=1.0), 1),
    "riemann_middle": (partial(_riemann, shift=0.5), 1),
    "riemann_trapezoid": (_trapezoid, 2),
}


def quadrature(method: str, n_steps: int) -> Rule:
    """The rule of ``n_steps`` points.

    Raises:
        UnknownName: there is no such rule.
        UsageError: the rule needs more points.
    """
    if method not in RULES:
        raise UnknownName(f"method={method!r} is no quadrature rule.{did_you_mean(method, RULES)} Rules: {', '.join(RULES)}")
    if not isinstance(n_steps, int) or n_steps < RULES[method][1]:
        raise UsageError(f"n_steps must be an integer of at least {RULES[method][1]} for {method}, got {n_steps!r}")
    return _made(method, n_steps)


@lru_cache(maxsize=64)
def _made(method: str, n_steps: int) -> Rule:
    return RULES[method][0](n_steps)
