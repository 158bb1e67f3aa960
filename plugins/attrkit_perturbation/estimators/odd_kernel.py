"""A prior over games that are odd: what a coalition gains, its complement loses.

Only the odd part of a game has Shapley values, and pairs of a coalition and its complement tell it alone. Its covariance, with
z and z' telling by +1 and -1 which features are there, is that of a linear game plus ``tau`` times the odd part of
``prod_j (1 + rho_j z_j z'_j)``, both scaled to variance 1. Shapley values are linear in the game, so that those of a mean of
games, and what is uncertain about them, have closed forms.
"""

import attrs
import numpy as np
import torch
from torch import Tensor

_NODES, _WEIGHTS = (torch.from_numpy(numbers) for numbers in np.polynomial.legendre.leggauss(24))


@attrs.frozen(eq=False)
class OddKernel:
    """The covariance of the values of coalitions.

    ``rho``, shape ``(features,)``, are between 0 and 1, and add up to at most 300, beyond which numbers overflow.
    """

    rho: Tensor
    tau: float

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Between the values of coalitions of +1 and -1, shapes ``(k, features)`` and ``(n, features)``."""
        return odd_part(self.rho, a, b).mul_(self.tau).add_(linear_part(a, b))

    def shapley(self, a: Tensor) -> Tensor:
        """The covariance of the values of coalitions with the Shapley values, shape ``(k, features)``."""
        there, absent = torch.log1p(self.rho * _NODES[:, None]), torch.log1p(-self.rho * _NODES[:, None])  # (nodes, features)
        logs = a @ ((there - absent) / 2).T + (there + absent).sum(1) / 2
        product = torch.exp(logs - self._log_scale()) * (self.tau * _WEIGHTS)
        up, down = self.rho * torch.exp(-there), self.rho * torch.exp(-absent)
        return 2 * a / a.shape[1] + a * (product @ ((up + down) / 2)) + product @ ((up - down) / 2)

    def variance(self) -> Tensor:
        """The variance of the Shapley values, shape ``(features,)``."""
        node = _NODES[:, None] * _NODES
        same, other = (torch.log1p(sign * self.rho[:, None, None] * node) for sign in (1, -1))
        even = torch.exp(same.sum(0) - same - self._log_scale()) + torch.exp(other.sum(0) - other - self._log_scale())
        inner = (even / 2 * _WEIGHTS[:, None] * _WEIGHTS).sum((1, 2))
        return 4 / len(self.rho) + self.tau * self.rho * inner

    def _log_scale(self) -> Tensor:
        """The logarithm of the odd part's variance before it is scaled."""
        most = torch.atanh(self.rho).sum()
        return torch.log1p(-(self.rho**2)).sum() / 2 + most + torch.log(-torch.expm1(-2 * most) / 2)


def linear_part(a: Tensor, b: Tensor) -> Tensor:
    """The covariance of linear games."""
    return (a @ b.T).div_(a.shape[1])


def odd_part(rho: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The covariance of odd games, scaled to variance 1."""
    angle = torch.atanh(rho)
    return torch.sinh((a * angle) @ b.T).div_(torch.sinh(angle.sum()))
