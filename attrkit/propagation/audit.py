"""Finding, in the autograd graph of a governed forward pass, what no rule governed."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import Tensor

#: Nodes whose own backward pass is LRP-0: homogeneous of degree one in what depends on the input.
_HOMOGENEOUS = re.compile(
    r"(Add|Sub|Rsub|Neg|View|UnsafeView|Reshape\w*|Permute|Transpose|T|Unsqueeze|Squeeze|Expand|Clone|Copy\w*|Slice|Select|"
    r"Index\w*|Gather|Cat|Stack|Split\w*|Unbind|Chunk|AsStrided|Alias|Mean|Sum|Convolution|Addmm|Mm|Mv|Linear|"
    r"AvgPool\w*|AdaptiveAvgPool\w*|MaxPool\w*|AdaptiveMaxPool\w*|MkldnnAdaptiveAvgPool2D|MkldnnConvolution|"
    r"Cudnn(Convolution|BatchNorm)\w*|NativeBatchNorm|Relu|LeakyRelu|Prelu\w*|Upsample\w*|ReflectionPad\w*|ReplicationPad\w*|"
    r"ConstantPad\w*|MaskedFill|Where|ToCopy|Max|Min|Amax|Amin|Roll|Flip|Cumsum|Tril|Triu|Repeat|Unfold|Col2Im|Im2Col|"
    r"Scatter\w*|NativeDropout|PixelShuffle|PixelUnshuffle|Movedim|Swapaxes|Narrow|Diagonal|Abs|AccumulateGrad|"
    r"Governed|Gate)"
)
#: Nodes that are homogeneous while only one of their operands depends on the input.
_PRODUCTS = frozenset({"Mul", "Bmm", "Div", "Baddbmm", "Dot"})


def ungoverned_nodes(value: Tensor, treated: Collection[Any]) -> dict[str, int]:
    """How often each kind of node that is neither homogeneous nor treated stands between ``value`` and the inputs."""
    seen: set[Any] = set()
    waiting = [value.grad_fn]
    counts: dict[str, int] = {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        feeding = [f for f, _ in node.next_functions if f is not None]
        waiting += feeding
        name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
        if node in treated or _HOMOGENEOUS.fullmatch(name) or (name in _PRODUCTS and len(feeding) < 2):
            continue
        counts[name] = counts.get(name, 0) + 1
    return counts
