"""The names that rulesets may use for operations. Needs no torch: the rewriter says which functions they are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: Operations by group. Every group's name may stand for its members.
GROUPS: dict[str, frozenset[str]] = {
    "convolution": frozenset({"conv", "conv_transpose"}),
    "linear_like": frozenset({"linear", "matmul_const", "conv", "conv_transpose"}),
    "pooling": frozenset({"avg_pool", "max_pool"}),
    "sums": frozenset({"add", "cat", "sum", "mean", "avg_pool", "interpolate", "pixel_shuffle"}),
    "homogeneous": frozenset({
        "add", "cat", "sum", "mean", "avg_pool", "interpolate", "pixel_shuffle", "max_pool", "max", "maximum", "abs",
        "batch_norm",
    }),
    "bilinear": frozenset({"matmul", "mul", "einsum"}),
    "norm": frozenset({"layer_norm", "rms_norm", "group_norm", "instance_norm"}),
    "deviation": frozenset({"var", "std", "vector_norm"}),
    "attention": frozenset({"sdpa", "mha"}),
    "recurrent": frozenset({"lstm", "gru", "rnn"}),
    "gate": frozenset({"sigmoid", "hardsigmoid", "softmax"}),
    "normaliser": frozenset({"rsqrt", "reciprocal"}),
    "arithmetic": frozenset({
        "pow", "sqrt", "rsqrt", "reciprocal", "div", "exp", "log", "clamp", "sin", "cos", "tan", "sign", "sinh", "cosh",
        "asinh", "atan", "erfc", "logsumexp",
    }),
    "activation": frozenset({
        "relu", "leaky_relu", "prelu", "rrelu", "erf", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
        "softsign", "sigmoid", "tanh", "hardtanh", "relu6", "hardsigmoid", "hardswish", "logsigmoid", "tanhshrink",
        "softshrink", "hardshrink", "threshold",
    }),
}  # fmt: skip

#: In the declaration of a rule that is defined for every operation.
ANY = "any"

#: Stands for whole modules, which a rule may govern as if each were one operation.
MODULE = "module"

OPERATIONS: frozenset[str] = frozenset().union(*GROUPS.values()) | {"softmax", "log_softmax", "glu", MODULE}


def members(names: Iterable[str]) -> frozenset[str]:
    """Operation names, with every group replaced by its members."""
    return _members(names if isinstance(names, frozenset) else tuple(names))


@lru_cache(maxsize=1024)
def _members(names: frozenset[str] | tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(GROUPS.get(name, {name}) for name in names))
