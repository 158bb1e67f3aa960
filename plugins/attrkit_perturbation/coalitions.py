"""The coalition engine: the model's value for any set of present features, the others replaced by the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from torch import Tensor

from attrkit import Problem
from attrkit_perturbation.features import Features


@attrs.frozen
class Game:
    """Values of coalitions of features, for all examples of a batch at once."""

    problem: Problem
    features: Features

    def values(self, coalitions: Iterable[Tensor], total: int) -> Iterator[Tensor]:
        """The objective for each of ``total`` coalitions, shape ``(batch,)``, in order.

        A coalition is a boolean tensor of shape ``(count,)``, true where a feature is present.
        """
        point, baseline = self.problem.point, self.problem.baseline
        return self.problem.values((self.features.masked(present, point, baseline) for present in coalitions), total)
