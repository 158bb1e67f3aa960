"""The models that propagation is measured on, larger than those of ``benchmarks.models``: a step of a rule is to be seen."""

from itertools import pairwise
from types import ModuleType
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from benchmarks.models import _Block, _Embedded


@attrs.frozen
class Net:
    """A model, its inputs, and one of the same weights with a module for every operation, for the peers that need that."""

    name: str
    model: nn.Module
    x: Tensor
    modular: nn.Module | None = None
    extra: tuple[Tensor, ...] = ()


def _vgg(*, batch_norm: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for width in (64, 128, 256, 512):
        for _ in range(2):
            norm = [nn.BatchNorm2d(width)] if batch_norm else []
            layers += [nn.Conv2d(before, width, 3, padding=1), *norm, nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 25, 512), nn.ReLU(inplace=True), nn.Linear(512, 10))


def _resnet(block: Any) -> nn.Module:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    blocks = [b for into, out in pairwise(widths) for b in (block(into, out, 1 if into == out else 2), block(out, out, 1))]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _modular_block(zennit: ModuleType) -> type[_Block]:
    """The block with modules for its sum and for each ReLU."""

    class Block(_Block):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__(before, after, stride)
            self.between, self.sum = nn.ReLU(inplace=True), zennit.layer.Sum()

        def forward(self, x: Tensor) -> Tensor:
            y = self.second_norm(self.second(self.between(self.first_norm(self.first(x)))))
            result: Tensor = self.relu(self.sum(torch.stack([y, self.shortcut(x)], dim=-1)))
            return result

    return Block


def vgg(_: ModuleType | None) -> Net:
    """Convolutions and poolings, as in VGG."""
    torch.manual_seed(0)
    model = _vgg().eval()
    return Net("vgg", model, torch.randn(2, 3, 80, 80), model)


def cnn(_: ModuleType | None) -> Net:
    """The same without in-place modules, which Captum's DeepLIFT refuses, on smaller images."""
    torch.manual_seed(0)
    model = _vgg().eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return Net("cnn", model, torch.randn(4, 3, 80, 80), model)


def resnet(zennit: ModuleType | None) -> Net:
    """As ResNet-18, for ten classes."""
    torch.manual_seed(0)
    model, modular = _resnet(_Block).eval(), None
    if zennit is not None:
        modular = _resnet(_modular_block(zennit)).eval()
        modular.load_state_dict(model.state_dict())
    return Net("resnet", model, torch.randn(4, 3, 160, 160), modular)


def llama(_: ModuleType | None) -> Net:
    """A small Llama, fed with embeddings."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6, "num_attention_heads": 8}
    config = LlamaConfig(**sizes, num_key_value_heads=4, vocab_size=200, num_labels=10, pad_token_id=0)
    made: Any = LlamaForSequenceClassification
    return Net("llama", _Embedded(made(config)).eval(), torch.randn(1, 128, 512), extra=(torch.ones(1, 128, dtype=torch.long),))
