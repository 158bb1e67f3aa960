"""The operations that the rewriter knows, by family."""

from attrkit.propagation.families import (
    activations,
    arithmetic,
    attention,
    linear,
    norms,
    pooling,
    products,
    recurrent,
    sums,
)

FAMILIES = (linear, products, sums, pooling, activations, arithmetic, norms, attention, recurrent)

SHIPPED = tuple(operation for family in FAMILIES for operation in family.OPERATIONS)
