"""Quadrature on [0, 1]: where a path is evaluated, and how much each place counts. Weights sum to one."""

from numpy.polynomial.legendre import leggauss

from attrkit.errors import UnknownName, UsageError, did_you_mean

Rule = tuple[list[float], list[float]]


def _riemann(shift: float, n: int) -> Rule:
    return [(i + shift) / n for i in range(n)], [1 / n] * n


def _trapezoid(n: int) -> Rule:
    ends = [0.5, *[1.0] * (n - 2), 0.5]
    return [i / (n - 1) for i in range(n)], [w / (n - 1) for w in ends]


def _gauss_legendre(n: int) -> Rule:
    nodes, weights = leggauss(n)
    return [float(a) for a in (nodes + 1) / 2], [float(w) for w in weights / 2]


#: Each rule, and the fewest points it is made of.
RULES = {
    "gausslegendre": (_gauss_legendre, 1),
    "riemann_left": (lambda n: _riemann(0.0, n), 1),
    "riemann_right": (lambda n: _riemann(1.0, n), 1),
    "riemann_middle": (lambda n: _riemann(0.5, n), 1),
    "riemann_trapezoid": (_trapezoid, 2),
}


def nodes_and_weights(method: str, n_steps: int) -> Rule:
    """The nodes and weights of ``n_steps`` points.

    Raises:
        UnknownName: there is no such rule.
        UsageError: the rule needs more points.
    """
    if method not in RULES:
        raise UnknownName(f"method={method!r} is no quadrature rule.{did_you_mean(method, RULES)} Rules: {', '.join(RULES)}")
    rule, fewest = RULES[method]
    if not isinstance(n_steps, int) or n_steps < fewest:
        raise UsageError(f"n_steps must be an integer of at least {fewest} for {method}, got {n_steps!r}")
    return rule(n_steps)
