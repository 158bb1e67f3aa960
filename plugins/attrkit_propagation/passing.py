"""The rule for functions of each entry: relevance goes through as it is."""

from torch import Tensor

from attrkit import rule
from attrkit.protocols import Step


@rule(
    "pass",
    operations={"activation", "arithmetic", "norm", "batch_norm", "module"},
    identity=True,
    conserves="yes",
    references=("doi:10.1371/journal.pone.0130140",),
)
def passing(step: Step, relevance: Tensor) -> Tensor:  # noqa: ARG001 - a rule takes the step
    """Hand relevance through unchanged: for functions of each entry."""
    return relevance
