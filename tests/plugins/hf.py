"""transformers' models from tiny configurations, as they are; ``models.built`` gives them weights, float64 and eval mode."""

from __future__ import annotations

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

LARGE = 0.3  # a spread of the initial weights at which attention and activations are far from linear

#: Two sentences, the second one padded.
IDS = torch.tensor([[2, 5, 9, 11, 3], [2, 7, 8, 3, 0]])
MASK = (IDS != 0).long()


def bert(**more):
    """Two layers of BERT that classify a sentence into three."""
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
    config = BertConfig(**sizes, max_position_embeddings=16, num_labels=3, initializer_range=LARGE, **more)
    return BertForSequenceClassification(config)


def gpt2(**more):
    """Two layers of GPT-2 over 60 tokens."""
    sizes = {"vocab_size": 60, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=LARGE, **more))


def llama(**more):
    """Two layers of Llama over 60 tokens, where two heads share each key and value."""
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=37, initializer_range=LARGE, **more))


def vit(**more):
    """Two layers of a vision transformer over four patches of 3 x 8 x 8 pixels."""
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return ViTForImageClassification(ViTConfig(**sizes, intermediate_size=37, num_labels=3, initializer_range=LARGE, **more))


def resnet(**more):
    """Two stages of one basic block each over 3 x 8 x 8 pixels."""
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic", "num_labels": 3}
    return ResNetForImageClassification(ResNetConfig(**sizes, **more))
