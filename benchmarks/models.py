"""The models that are measured: common architectures, small, with random weights."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor, nn

CLASSES = 10
_EXAMPLES = {"mlp": 4, "cnn": 4, "resnet": 2, "bert": 2, "llama": 2}
_LENGTH, _WIDTH, _BLOCKS = 32, 128, 4  # of the language models
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
    neuron: tuple[int, ...]  # of the first layer
    extra: tuple[Tensor, ...] = ()
    maps: bool = False  # whether layers have channels and places
    compute_bound: bool = True

    @property
    def early(self) -> nn.Module:
        """The first block."""
        return self.model.get_submodule(self.layers[0])

    @property
    def late(self) -> nn.Module:
        """The last block."""
        return self.model.get_submodule(self.layers[-1])

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
    return Subject("mlp", model, torch.randn(_EXAMPLES["mlp"], 16), ("0", "1", "2", "3"), (3,), compute_bound=False)


def _cnn() -> Subject:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, CLASSES)),
    )
    return Subject("cnn", model, torch.randn(_EXAMPLES["cnn"], 3, 32, 32), ("0", "2", "3", "5"), (3, 5, 5), maps=True)


def _resnet() -> Subject:
    widths = (32, 32, 64, 128, 256)
    stem = nn.Sequential(
        *(nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])),
        *(nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
    )
    stages = [
        nn.Sequential(_Block(before, after, 1 if before == after else 2), _Block(after, after, 1))
        for before, after in pairwise(widths)
    ]
    model = nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))
    return Subject("resnet", model, torch.randn(_EXAMPLES["resnet"], 3, 64, 64), ("1", "2", "3", "4"), (3, 5, 5), maps=True)


def _bert() -> Subject:
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(BertConfig(**_SIZES, intermediate_size=512))
    return _language("bert", model, "model.bert.encoder.layer.{}.output")


def _llama() -> Subject:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    untyped: Callable[..., nn.Module] = LlamaForSequenceClassification
    config = LlamaConfig(**_SIZES, intermediate_size=352, num_key_value_heads=2, pad_token_id=0)
    return _language("llama", untyped(config), "model.model.layers.{}.mlp")


def _language(name: str, model: nn.Module, path: str) -> Subject:
    x, mask = torch.randn(_EXAMPLES[name], _LENGTH, _WIDTH), torch.ones(_EXAMPLES[name], _LENGTH, dtype=torch.long)
    return Subject(name, _Embedded(model), x, tuple(map(path.format, range(_BLOCKS))), (3, 5), extra=(mask,))


MODELS: dict[str, Callable[[], Subject]] = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "bert": _bert, "llama": _llama}


def build(name: str, device: torch.device) -> Subject:
    """The model of that name, always with the same weights and inputs."""
    torch.manual_seed(0)
    subject = MODELS[name]()
    subject.model.eval().to(device)
    return attrs.evolve(subject, x=subject.x.to(device), extra=tuple(t.to(device) for t in subject.extra))
