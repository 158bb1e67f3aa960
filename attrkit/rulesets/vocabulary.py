"""The names that rulesets may use for operations. Needs no torch: the rewriter says which functions they are."""

from __future__ import annotations

from collections.abc import Iterable

#: Operations by group. Every group's name may stand for its members.
GROUPS: dict[str, frozenset[str]] = {
    "convolution": frozenset({"conv", "conv_transpose"}),
    "linear_like": frozenset({"linear", "matmul_const", "conv", "conv_transpose"}),
    "pooling": frozenset({"avg_pool", "max_pool"}),
    "homogeneous": frozenset({"add", "avg_pool", "max_pool", "batch_norm"}),
    "activation": frozenset({
        "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid", "tanh",
        "hardtanh", "relu6", "hardsigmoid", "hardswish", "logsigmoid", "tanhshrink", "softshrink", "hardshrink", "threshold",
    }),
}  # fmt: skip

OPERATIONS: frozenset[str] = frozenset().union(*GROUPS.values())


def members(names: Iterable[str]) -> frozenset[str]:
    """Operation names, with every group replaced by its members."""
    return frozenset().union(*(GROUPS.get(name, {name}) for name in names))
