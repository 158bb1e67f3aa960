"""Finding, in the autograd graph of a governed forward pass, what no rule governed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import attrs
from torch import Tensor

#: Nodes whose own backward pass is LRP-0: homogeneous of degree one in what depends on the input.
_HOMOGENEOUS = re.compile(
    r"(Add|Sub|Rsub|Neg|View|UnsafeView|Reshape\w*|Permute|Transpose|T|Unsqueeze|Squeeze|Expand|Clone|Copy\w*|Slice|Select|"
    r"Index\w*|Gather|Cat|Stack|Split\w*|Unbind|Chunk|AsStrided|Alias|Mean|Sum|"
    r"AvgPool\w*|AdaptiveAvgPool\w*|MaxPool\w*|AdaptiveMaxPool\w*|MkldnnAdaptiveAvgPool2D|"
    r"CudnnBatchNorm\w*|NativeBatchNorm|Relu|LeakyRelu|Prelu\w*|Upsample\w*|ReflectionPad\w*|ReplicationPad\w*|"
    r"ConstantPad\w*|MaskedFill|Where|ToCopy|Max|Min|Amax|Amin|Roll|Flip|Cumsum|Tril|Triu|Repeat|Unfold|Col2Im|Im2Col|"
    r"Scatter|ScatterAdd|NativeDropout|PixelShuffle|PixelUnshuffle|Movedim|Swapaxes|Narrow|Diagonal|Abs|AccumulateGrad|"
    r"Governed|Gate|Scaled|Dropout|Repeat\w*|ChannelShuffle|NativeChannelShuffle|"
    r"EmbeddingBag|MaskedSelect|Take\w*|Diag\w*|Fold|Unsafe\w+|BroadcastTo|SumToSize|Nansum|NanToNum|Detach|"
    r"Fft\w+|ViewAsReal\w*|ViewAsComplex|Real|Imag|Complex|Conj\w*|Topk|Sort|Kthvalue|Cummax|Cummin|Median|Nanmedian|Mode)"
)
#: Where products have their factors, of which only one may depend on the input.
_FACTORS = {
    "Mul": (0, 1), "Mm": (0, 1), "Bmm": (0, 1), "Mv": (0, 1), "Dot": (0, 1), "Linear": (0, 1), "Convolution": (0, 1),
    "CudnnConvolution": (0, 1), "MkldnnConvolution": (0, 1), "Addmm": (1, 2), "Addmv": (1, 2), "Baddbmm": (1, 2),
    "GroupedMm": (0, 1), "Addbmm": (1, 2), "Ger": (0, 1),
}  # fmt: skip


#: What is linear as long as no operand from this one on depends on the input.
_FIXED = {"Div": 1, "Lerp": 2, "GridSampler2D": 1, "GridSampler3D": 1}

#: Linear maps, which a rule must govern, or the ruleset must say that none does.
LINEAR = frozenset(_FACTORS) - {"Mul"}


#: Homogeneous and not linear: their own backward pass hands relevance on, but no multiplier.
_BENT = re.compile(
    r"(MaxPool\w*|AdaptiveMaxPool\w*|Relu|LeakyRelu|Prelu\w*|Max|Min|Amax|Amin|Abs|Topk|Sort|Kthvalue|Cummax|"
    r"Cummin|Median|Nanmedian|Mode)"
)


@lru_cache(maxsize=1024)
def _told(name: str) -> tuple[str, bool, bool]:
    """What a node is called without what says that it is a backward pass; whether it is homogeneous, and whether bent."""
    bare = re.sub(r"Backward\d*$", "", name.rpartition("::")[2])
    return bare, _HOMOGENEOUS.fullmatch(bare) is not None, _BENT.fullmatch(bare) is not None


def _homogeneous(name: str, live: list[bool], *, always: bool) -> bool:
    """Whether a node's own backward pass is LRP-0, given which of its operands depend on the input."""
    if (fixed := _FIXED.get(name)) is not None:
        return not any(live[fixed:])
    if name == "Mul":
        return sum(live) < 2
    return always


def ungoverned_nodes(value: Tensor, treated: Collection[Any], carries: str) -> dict[str, int]:
    """How often each kind of node that is neither homogeneous nor treated stands between ``value`` and the inputs.

    Linear maps are among them: their own backward pass is a rule, LRP-0, but nobody chose it.
    """
    seen: set[Any] = set()
    waiting = [value.grad_fn]
    counts: dict[str, int] = {}
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        feeding = [f for f, _ in node.next_functions]
        waiting += feeding
        if node in treated:
            continue
        name, homogeneous, bent = _told(node.name())
        live = [f is not None for f in feeding]
        if (bent and carries == "multiplier") or not _homogeneous(name, live, always=homogeneous):
            product = sum(live[i] for i in _FACTORS.get(name, ()) if i < len(live)) > 1
            label = f"{name} of two factors that both depend on the input" if product else name
            counts[label] = counts.get(label, 0) + 1
    return counts


@attrs.define
class Audit:
    """Goes by the autograd graph, past the nodes of operations that were decided about."""

    _nodes: set[Any] = attrs.field(factory=set)

    def treated(self, run: Callable[[], Any], *inputs: Any) -> Any:
        """An output whose operation was decided about: the audit passes by all its nodes down to the inputs'."""
        stop = {t.grad_fn for t in inputs if isinstance(t, Tensor)}
        output = run()
        waiting = [t.grad_fn for t in (output if isinstance(output, tuple) else (output,)) if isinstance(t, Tensor)]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in self._nodes and node not in stop:
                self._nodes.add(node)
                waiting += [f for f, _ in node.next_functions] if inputs else []
        return output

    def ungoverned(self, value: Tensor, carries: str) -> dict[str, int]:
        """What was not decided about on the way from the inputs to ``value``, and how often."""
        return ungoverned_nodes(value, self._nodes, carries)
