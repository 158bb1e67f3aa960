"""MambaLRP: a rule for the selective scan, and the ruleset mamba, in mamba.yaml beside this file."""

from torch import Tensor

from attrkit import RulesetSource, rule
from attrkit.protocols import Step

source = RulesetSource(__name__)


@rule(
    "selective_scan",
    operations={"module"},
    takes="quotient",
    returns="quotient",
    conserves="without_bias",
    references=("arXiv:2406.07592",),
)
def selective_scan(step: Step, quotient: Tensor) -> Tensor:
    """Hand all of it to the signal, a module's first tensor, in which the scan is linear; its parameters are constants."""
    return step.vjp(quotient)
