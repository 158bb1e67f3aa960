"""The models that are measured: common architectures, small, with random weights."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor, nn

CLASSES = 10
#: Of each model: how many examples methods of a single pass explain, and how many of them methods of many passes.
EXAMPLES = {"mlp": (4, 4), "cnn": (64, 16), "resnet": (4, 3), "bert": (8, 2), "llama": (8, 2)}
_LENGTH, _WIDTH, _BLOCKS, _LOOKED_AT = 32, 256, 6, (0, 2, 3, 5)  # of the language models
_SIZES: dict[str, Any] = {
    "hidden_size": _WIDTH,
    "num_hidden_layers": _BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "vocab_size": 200,
    "num_labels": CLASSES,
}


@attrs.frozen
class Subject:
    """A model with what it is called with, and the places in it that are looked at, first to last."""

    name: str
    model: nn.Module
    x: Tensor
    layers: tuple[str, ...]
    early: str  # the place whose neuron is explained
    neuron: tuple[int, ...]  # of this place
    extra: tuple[Tensor, ...] = ()
    maps: bool = False  # whether layers have channels and places
    compute_bound: bool = True

    def at(self, place: str) -> nn.Module:
        """The module at an early place, or the first or the last block."""
        path = {"early": self.early, "first": self.layers[0], "last": self.layers[-1]}[place]
        return self.model.get_submodule(path)

    def first(self, examples: int) -> "Subject":
        """The same with the first examples of its batch."""
        return attrs.evolve(self, x=self.x[:examples], extra=tuple(t[:examples] for t in self.extra))

    @property
    def few(self) -> "Subject":
        """What methods of many passes explain."""
        return self.first(EXAMPLES[self.name][1])

    @property
    def every(self) -> list[nn.Module]:
        """All blocks."""
        return [self.model.get_submodule(path) for path in self.layers]


class _Block(nn.Module):
    """Two convolutions and a shortcut; its one ReLU runs twice, in place, as residual nets have it."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = shortcut if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        y += self.shortcut(x)
        result: Tensor = self.relu(y)
        return result


class _Embedded(nn.Module):
    """A language model fed with embeddings, because token ids have no gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeddings, attention_mask=mask).logits
        return logits


def _mlp() -> Subject:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    return Subject("mlp", model, torch.randn(EXAMPLES["mlp"][0], 16), ("0", "1", "2", "3"), "0", (3,), compute_bound=False)


def _cnn() -> Subject:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, CLASSES)),
    )
    x = torch.randn(EXAMPLES["cnn"][0], 3, 32, 32)
    return Subject("cnn", model, x, ("0", "4", "5", "9"), "0", (3, 5, 5), maps=True)


def _resnet() -> Subject:
    widths = (64, 64, 128, 256, 512)  # of ResNet-18
    stem = nn.Sequential(
        *(nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])),
        *(nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
    )
    stages = [
        nn.Sequential(_Block(before, after, 1 if before == after else 2), _Block(after, after, 1))
        for before, after in pairwise(widths)
    ]
    model = nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))
    x = torch.randn(EXAMPLES["resnet"][0], 3, 64, 64)
    return Subject("resnet", model, x, ("1", "2", "3", "4"), "0", (3, 5, 5), maps=True)


def _bert() -> Subject:
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(BertConfig(**_SIZES, intermediate_size=4 * _WIDTH))
    return _language("bert", model, "model.bert.encoder.layer.{}.output")


def _llama() -> Subject:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    untyped: Callable[..., nn.Module] = LlamaForSequenceClassification
    config = LlamaConfig(**_SIZES, intermediate_size=11 * _WIDTH // 4, num_key_value_heads=2, pad_token_id=0)
    return _language("llama", untyped(config), "model.model.layers.{}.mlp")


def _language(name: str, model: nn.Module, path: str) -> Subject:
    n = EXAMPLES[name][0]
    x, mask = torch.randn(n, _LENGTH, _WIDTH), torch.ones(n, _LENGTH, dtype=torch.long)
    blocks = tuple(map(path.format, _LOOKED_AT))
    return Subject(name, _Embedded(model), x, blocks, blocks[0], (3, 5), extra=(mask,))


MODELS: dict[str, Callable[[], Subject]] = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "bert": _bert, "llama": _llama}


def build(name: str, device: torch.device) -> Subject:
    """The model of that name, always with the same weights and inputs."""
    torch.manual_seed(0)
    subject = MODELS[name]()
    subject.model.eval().to(device)
    return attrs.evolve(subject, x=subject.x.to(device), extra=tuple(t.to(device) for t in subject.extra))
