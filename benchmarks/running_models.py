"""The models that the runner is measured on: five small ones, and two of the size that people explain on a GPU."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from benchmarks.models import _Block, _Embedded

CLASSES = 10
_POSITIONS, _WIDTH, _ACROSS = 32, 128, 8  # of the language models; a feature is so many numbers of one position


@attrs.frozen
class Net:
    """A model with what it is called with, the features of what moves, and the layer that is looked at."""

    name: str
    model: nn.Module
    x: Tensor
    mask: Tensor | None = None
    layer: str = ""
    extra: tuple[Tensor, ...] = ()

    @property
    def count(self) -> int:
        """How many features there are."""
        return self.x[0].numel() if self.mask is None else int(self.mask.max()) + 1

    def first(self, examples: int) -> "Net":
        """The same with the first examples of its batch."""
        return attrs.evolve(self, x=self.x[:examples], extra=tuple(t[:examples] for t in self.extra))


def _grid(size: int, down: int, across: int) -> Tensor:
    """The feature of each pixel, of a grid of so many."""
    rows, columns = torch.arange(size) * down // size, torch.arange(size) * across // size
    return (across * rows[:, None] + columns)[None, None]


def _mlp() -> Net:
    widths = (512, 128, 128)
    layers = [m for into, out in pairwise(widths) for m in (nn.Linear(into, out), nn.ReLU())]
    return Net("mlp", nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES)), torch.randn(2, widths[0]))


def _cnn() -> Net:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 64, CLASSES)),
    )
    return Net("cnn", model, torch.randn(2, 3, 32, 32), _grid(32, 16, 32))


def _residual() -> Net:
    stem = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    blocks = [_Block(32, 32, 1), _Block(32, 64, 2), _Block(64, 128, 2)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))
    return Net("residual", model, torch.randn(2, 3, 32, 32), _grid(32, 16, 32))


def _bert() -> Net:
    from transformers import BertConfig, BertForSequenceClassification

    sizes: dict[str, Any] = {"hidden_size": _WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 200}
    sizes |= {"intermediate_size": 4 * _WIDTH, "max_position_embeddings": 64, "num_labels": CLASSES}
    config = BertConfig(**sizes)
    return _language("bert", BertForSequenceClassification(config))


def _gpt() -> Net:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    sizes: dict[str, Any] = {
        "n_embd": _WIDTH,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "vocab_size": 200,
        "num_labels": CLASSES,
    }
    untyped: Callable[..., nn.Module] = GPT2ForSequenceClassification
    return _language("gpt", _LastPosition(untyped(GPT2Config(**sizes))))


class _LastPosition(nn.Module):
    """What a GPT says at the last position: it looks for that by token, and embeddings have none."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.body, self.score = model.transformer, model.score

    def forward(self, *, inputs_embeds: Tensor, attention_mask: Tensor) -> Any:
        hidden = self.body(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state
        return _Said(self.score(hidden[:, -1]))


@attrs.frozen
class _Said:
    logits: Tensor


def _language(name: str, model: nn.Module) -> Net:
    x, ones = torch.randn(2, _POSITIONS, _WIDTH), torch.ones(2, _POSITIONS, dtype=torch.long)
    groups = _WIDTH // _ACROSS
    mask = groups * torch.arange(_POSITIONS)[:, None] + torch.arange(_WIDTH) // _ACROSS
    return Net(name, _Embedded(model), x, mask[None], extra=(ones,))


SMALL: dict[str, Callable[[], Net]] = {"mlp": _mlp, "cnn": _cnn, "residual": _residual, "bert": _bert, "gpt": _gpt}


def small(name: str) -> Net:
    """The small model of that name, always with the same weights and inputs."""
    torch.manual_seed(0)
    net = SMALL[name]()
    net.model.eval()
    return net


class _Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, and a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.reduce, self.reduce_norm = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.middle, self.middle_norm = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.expand, self.expand_norm = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = shortcut if stride > 1 or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.reduce_norm(self.reduce(x)))
        y = self.relu(self.middle_norm(self.middle(y)))
        result: Tensor = self.relu(self.expand_norm(self.expand(y)) + self.shortcut(x))
        return result


def resnet50(batch: int, *, tiny: bool) -> Net:
    """ResNet-50; a tiny one has a tenth of its width and small images."""
    torch.manual_seed(0)
    base, size = (6, 32) if tiny else (64, 224)
    stem = nn.Sequential(
        *(nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    )
    stages, before = list[nn.Module](), base
    for number, blocks in enumerate((3, 4, 6, 3)):
        width = base * 2**number
        made = [_Bottleneck(before if i == 0 else 4 * width, width, 2 if i == 0 and number else 1) for i in range(blocks)]
        stages.append(nn.Sequential(*made))
        before = 4 * width
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000))
    model = nn.Sequential(stem, *stages, head).eval()
    return Net("ResNet-50", model, torch.randn(batch, 3, size, size), _grid(size, 14, 14), layer="3")


class _Logits(nn.Module):
    """A model of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


def vit(batch: int, *, tiny: bool) -> Net:
    """ViT-B/16; a tiny one has three narrow blocks and small images."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    size, blocks = (32, 4) if tiny else (224, 12)
    sizes: dict[str, Any] = {"image_size": size, "num_hidden_layers": blocks, "num_labels": 1000}  # the rest is ViT-B/16's
    if tiny:
        sizes |= {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 8}
    model = _Logits(ViTForImageClassification(ViTConfig(**sizes))).eval()
    layer = next(path for path, _ in model.named_modules() if re.search(rf"\.layers?\.{blocks // 2}$", path))
    return Net("ViT-B/16", model, torch.randn(batch, 3, size, size), _grid(size, 14, 14), layer=layer)


LARGE: dict[str, Callable[..., Net]] = {"resnet50": resnet50, "vit": vit}
