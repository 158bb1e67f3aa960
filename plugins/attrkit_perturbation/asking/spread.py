"""How sure a mean of a few random repetitions is."""

from torch import Tensor


def moderated(variances: Tensor, degrees: float) -> tuple[Tensor, float]:
    """Variances of features, shape ``(features, ...)``, each averaged with that of all features, and their degrees of freedom.

    A feature whose few repetitions happen to agree is not sure for that. The mean over features counts as one more degree of
    freedom (moderated as in doi:10.2202/1544-6115.1027).
    """
    return (degrees * variances + variances.mean(0)) / (degrees + 1), degrees + 1


def errors_of_mean(each: Tensor) -> tuple[Tensor, float]:
    """Standard errors of the mean over two repetitions or more, shape ``(repetitions, features, ...)``, and their degrees."""
    variances, degrees = moderated(each.var(0) / len(each), len(each) - 1)
    return variances.sqrt(), degrees
