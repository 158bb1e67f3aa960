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
        "asinh", "atan", "erfc",
    }),
    "activation": frozenset({
        "relu", "leaky_relu", "prelu", "rrelu", "erf", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
        "softsign", "sigmoid", "tanh", "hardtanh", "relu6", "hardsigmoid", "hardswish", "logsigmoid", "tanhshrink",
        "softshrink", "hardshrink", "threshold",
    }),
}  # fmt: skip

#: What the members of each group have in common.
MEANINGS: dict[str, str] = {
    "convolution": "convolutions of one, two or three dimensions",
    "linear_like": "a weight times the input, and a bias; what most rules are for",
    "pooling": "an average or the largest of neighbours",
    "sums": "weighted sums without a weight of the model's own",
    "homogeneous": "the output grows in proportion to the input, so that its own gradient shares relevance by contribution",
    "bilinear": "products of two tensors that may both depend on the input",
    "norm": "normalisation by what the example itself is like",
    "deviation": "sizes of what is normalised",
    "attention": "attention, fused or as a module",
    "recurrent": "recurrent layers and cells; taken apart, unless they are left as they are or stopped",
    "gate": "outputs between 0 and 1 that other things are multiplied by",
    "normaliser": "reciprocals, which a norm that is written out multiplies by",
    "arithmetic": "functions of each entry that are no activation, such as powers, roots and quotients",
    "activation": "functions of each entry that networks have between their layers",
}

#: In the declaration of a rule that is defined for every operation.
ANY = "any"

#: Stands for whole modules, which a rule may govern as if each were one operation.
MODULE = "module"

OPERATIONS: frozenset[str] = frozenset().union(*GROUPS.values()) | {
    "softmax", "log_softmax", "glu", "logsumexp", MODULE,
}  # fmt: skip

#: Operations that are taken apart into others, unless a rule leaves them as they are, or stops them: they are never shared by.
COMPOSITE: frozenset[str] = GROUPS["recurrent"] | {"glu", "logsumexp", "mha"}


def members(names: Iterable[str]) -> frozenset[str]:
    """Operation names, with every group replaced by its members."""
    return _members(names if isinstance(names, frozenset) else tuple(names))


@lru_cache(maxsize=1024)
def _members(names: frozenset[str] | tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(GROUPS.get(name, {name}) for name in names))
