"""Small nets of every kind that people explain, as they are written, with inputs: for tests over all of them.

``NETS[name].built()`` is one with fixed weights, in float64 and evaluation mode, with at least two outputs;
``NETS[name].inputs()`` its inputs, a tuple, of two examples. ``FAMILIES`` names those of one kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.plugins.models import Residual, Reused, Tokens, TwoInputs, built, cnn, draw, mlp, smooth_mlp
from tests.plugins.propagation import nets_of_images as images
from tests.plugins.propagation import nets_of_sequences as sequences


@dataclass(frozen=True)
class Net:
    """What makes a net, and its inputs."""

    factory: Callable[[], nn.Module]
    inputs: Callable[[], tuple[torch.Tensor, ...]]

    def built(self, seed=0):
        return built(self.factory, seed)


class Activations(nn.Module):
    """Every activation of torch, each of a map of its own."""

    def __init__(self):
        super().__init__()
        self.acts = nn.ModuleList([
            nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(), nn.ELU(), nn.CELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"),
            nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Softplus(), nn.Softsign(), nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(),
            nn.Hardtanh(), nn.Hardsigmoid(), nn.Tanhshrink(), nn.Softshrink(0.1), nn.Hardshrink(0.1), nn.Threshold(0.1, 0),
        ])  # fmt: skip
        self.maps = nn.ModuleList(nn.Linear(6, 2) for _ in self.acts)
        self.glu, self.head = nn.Linear(6, 4), nn.Linear(2 * len(self.acts) + 2, 3)

    def forward(self, x):
        every = [act(linear(x)) for act, linear in zip(self.acts, self.maps, strict=True)]
        return self.head(torch.cat([*every, F.glu(self.glu(x))], 1))


class Checkpointed(nn.Module):
    """Blocks that forget what they computed and compute it again."""

    def __init__(self):
        super().__init__()
        self.lower = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))
        self.upper = nn.Sequential(nn.Linear(6, 7), nn.GELU())
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        y = x + checkpoint(self.lower, x, use_reentrant=False)
        return self.head(checkpoint(self.upper, y, use_reentrant=False))


class Shared(nn.Module):
    """One block run three times, one weight in two layers, one ReLU throughout."""

    def __init__(self):
        super().__init__()
        self.block, self.relu = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), nn.ReLU(inplace=True)
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.one.weight
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        for _ in range(3):
            x = x + self.relu(self.block(x))
        return self.head(self.relu(self.other(self.relu(self.one(x)))))


def of(*shapes):
    """What makes inputs of two examples, of shapes."""
    return lambda: tuple(draw(2, *shape, seed=i + 1) for i, shape in enumerate(shapes))


IMAGE, ROW, SEQUENCE = of((3, 8, 8)), of((6,)), of((5, 6))

FAMILIES: dict[str, dict[str, Net]] = {
    "dense": {
        "mlp": Net(mlp, ROW),
        "smooth mlp": Net(smooth_mlp, of((5,))),
        "all activations": Net(Activations, ROW),
        "reused": Net(Reused, of((4,))),
        "shared": Net(Shared, ROW),
        "two inputs": Net(TwoInputs, of((4,), (2, 3))),
        "checkpointed": Net(Checkpointed, ROW),
        "gated gelu": Net(lambda: sequences.Gated(nn.GELU, nn.LayerNorm), SEQUENCE),
        "gated silu": Net(lambda: sequences.Gated(nn.SiLU), SEQUENCE),
    },
    "convolutional": {
        "cnn": Net(cnn, of((2, 8, 8))),
        "cnn with batch norm": Net(lambda: cnn(batch_norm=True), of((2, 8, 8))),
        "residual": Net(Residual, IMAGE),
        "separable": Net(images.Separable, IMAGE),
        "squeeze and excite": Net(images.SqueezeExcite, IMAGE),
        "squeeze and excite, hard": Net(lambda: images.SqueezeExcite(nn.Hardsigmoid), IMAGE),
        "dense block": Net(images.Dense, IMAGE),
        "inception": Net(images.Inception, IMAGE),
        "functional": Net(images.Functional, IMAGE),
        "adjacent": Net(images.Adjacent, IMAGE),
        "pools": Net(images.Pools, IMAGE),
        "upsampling": Net(images.Upsampling, IMAGE),
        "conv1d": Net(images.conv1d, of((3, 8))),
        "conv3d": Net(images.conv3d, of((2, 4, 4, 4))),
        "transposed": Net(images.transposed, IMAGE),
        "weight norm": Net(images.weight_normed, IMAGE),
        "padded": Net(images.padded, IMAGE),
        "group norm": Net(lambda: images.Normed(lambda: nn.GroupNorm(2, 4)), IMAGE),
        "instance norm": Net(lambda: images.Normed(lambda: nn.InstanceNorm2d(4, affine=True)), IMAGE),
        "local response norm": Net(lambda: images.Normed(lambda: nn.LocalResponseNorm(3)), IMAGE),
    },
    "attention": {
        "multihead": Net(sequences.Multihead, SEQUENCE),
        "multihead, time first": Net(lambda: sequences.Multihead(batch_first=False), SEQUENCE),
        "cross attention": Net(sequences.CrossAttention, of((3, 4), (4, 5))),
        "attention": Net(lambda: sequences.Attention("fused"), SEQUENCE),
        "attention, causal": Net(lambda: sequences.Attention("fused", causal=True), SEQUENCE),
        "attention in parts": Net(lambda: sequences.Attention("parts"), SEQUENCE),
        "attention in parts, causal": Net(lambda: sequences.Attention("parts", causal=True), SEQUENCE),
        "attention by einsum": Net(lambda: sequences.Attention("einsum"), SEQUENCE),
        "encoder": Net(sequences.Encoder, of((5, 8))),
        "encoder, norm first": Net(lambda: sequences.Encoder(norm_first=True, activation="gelu"), of((5, 8))),
    },
    "recurrent": {
        f"{kind.__name__.lower()}{label}": Net(partial(sequences.Recurrent, kind, **given), of((5, 4)))
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
        for label, given in {
            "": {},
            ", time first": {"batch_first": False},
            ", both ways": {"bidirectional": True},
            ", two layers": {"num_layers": 2},
            ", two layers both ways, time first": {"num_layers": 2, "bidirectional": True, "batch_first": False},
        }.items()
    }
    | {
        f"final state of {kind.__name__.lower()}": Net(partial(sequences.Final, kind), of((5, 4)))
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
    }
    | {
        "rnn of relu": Net(lambda: sequences.Recurrent(nn.RNN, nonlinearity="relu"), of((5, 4))),
        "gru without bias": Net(lambda: sequences.Recurrent(nn.GRU, bias=False), of((5, 4))),
        "lstm with projection": Net(lambda: nn.Sequential(sequences.Projected(), nn.Linear(2, 3)), of((5, 4))),
    },
    "tokens": {"tokens": Net(Tokens, lambda: (torch.tensor([[1, 2, 3, 4], [9, 9, 0, 10]]),))},
}

#: All of them by name.
NETS: dict[str, Net] = {name: net for family in FAMILIES.values() for name, net in family.items()}
