"""Rules for normalisation by an example's own statistics."""

from torch import Tensor

from attrkit import rule
from attrkit.protocols import Step


@rule(
    "layer_norm_identity",
    operations={"norm"},
    takes="quotient",
    returns="quotient",
    conserves="without_bias",
    references=("arXiv:2202.07304", "arXiv:2402.05602"),
)
def layer_norm_identity(step: Step, carried: Tensor) -> Tensor:
    """Take the deviation for a constant: what is left of the normalisation is linear, and its bias absorbs its share."""
    return step.transpose(carried)
