"""What every declaration promises, one function for each promise, by what it is about."""

from attrkit.testing.checks import (
    axioms,
    batches,
    cost,
    declaration,
    layers,
    lifetimes,
    messages,
    precision,
    purity,
    randomness,
    results,
    targets,
)
from attrkit.testing.checks.registered import CHECKS, Check, applying, check

__all__ = [
    "CHECKS",
    "Check",
    "applying",
    "axioms",
    "batches",
    "check",
    "cost",
    "declaration",
    "layers",
    "lifetimes",
    "messages",
    "precision",
    "purity",
    "randomness",
    "results",
    "targets",
]
