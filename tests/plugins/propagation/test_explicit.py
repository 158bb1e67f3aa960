"""Relevance through whole transformers, written out by hand: nothing is missing, and gradients that say the same agree."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")

from tests.plugins import hf
from tests.plugins.hf import IDS, MASK
from tests.plugins.models import built, draw
from tests.plugins.propagation.explicit import bert, gpt2, llama, modified, vit

#: The module that writes it out, what makes the model, what is explained, and an input.
MODELS = {
    "bert": (bert, hf.bert, (1,), draw(2, 5, 32)),
    "vit": (vit, hf.vit, (2,), draw(2, 3, 8, 8)),
    "gpt2": (gpt2, hf.gpt2, (4, 7), draw(2, 5, 32)),
    "llama": (llama, hf.llama, (4, 7), draw(2, 5, 32)),
}
models = pytest.mark.parametrize("name", MODELS)
kinds = pytest.mark.parametrize("cp", [False, True], ids=["attnlrp", "cp"])
ATTENTIONS = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def made(name, attention="eager"):
    """The model with biases and norms that are not where they start; attention as one call or in parts."""
    model = built(lambda: MODELS[name][1](attn_implementation=attention))
    for i, (path, parameter) in enumerate(model.named_parameters()):
        if parameter.dim() == 1:
            centre = 1 if "norm" in path.lower() or ".ln_" in path else 0
            parameter.data = (centre if path.endswith("weight") else 0) + 0.3 * draw(*parameter.shape, seed=i)
    return model


def explained(name, model, cp, **given):
    explicit, _, index, x = MODELS[name]
    return explicit.relevance(model, x, index if len(index) > 1 else index[0], cp=cp, **given)


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@models
@ATTENTIONS
def test_the_forward_pass_is_the_model_s(name, attention):
    _, _, index, x = MODELS[name]
    model = made(name, attention)
    with torch.no_grad(), modified.wide():
        logits = model(**{"pixel_values" if name == "vit" else "inputs_embeds": x}).logits
    same(explained(name, model, cp=False).output, logits[:, *index], 1e-12)


@models
@ATTENTIONS
@kinds
def test_modified_gradients_say_the_same(name, attention, cp):
    _, _, index, x = MODELS[name]
    model = made(name, attention)
    given = {"name": "pixel_values"} if name == "vit" else {}
    same(explained(name, model, cp).values, modified.relevance(model, x, index, cp=cp, **given))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
@ATTENTIONS
@kinds
def test_padding_is_neither_seen_nor_explained(name, attention, cp):
    _, _, index, x = MODELS[name]
    index = (3, 7) if len(index) > 1 else index
    model = made(name, attention)
    assert MASK[1, 4] == 0
    found = MODELS[name][0].relevance(model, x, index if len(index) > 1 else index[0], MASK, cp=cp)
    same(found.values, modified.relevance(model, x, index, cp=cp, attention_mask=MASK))
    assert (found.values[1, 4] == 0).all()
    assert found.missing.abs().max() < 1e-12 * found.output.abs().max()


@models
@kinds
def test_nothing_is_missing(name, cp):
    found = explained(name, made(name), cp)
    assert found.missing.abs().max() < 1e-12 * found.output.abs().max()
    constants = set() if name == "llama" else {"biases", "tables"}
    assert set(found.kept) == (constants if cp else constants | {"softmax"})
    assert all(kept.abs().min() > 1e-6 for kept in found.kept.values())


@models
def test_without_biases_and_tables_constant_attention_conserves(name):
    model = made(name)
    for path, parameter in model.named_parameters():
        if path.endswith(".bias") or any(part in path for part in ("position", "token_type", "cls_token", "wpe")):
            parameter.data.zero_()
    found = explained(name, model, cp=True)
    total = found.values.flatten(1).sum(1)
    assert found.output.abs().min() > 1e-3
    same(total, found.output)
    softmax = explained(name, model, cp=False)
    assert set(softmax.kept) - {"biases", "tables"} == {"softmax"}  # all that AttnLRP itself does not conserve
    same(softmax.values.flatten(1).sum(1) + softmax.kept["softmax"], softmax.output)


def test_the_embeddings_of_ids_are_the_input():
    model = made("bert")
    with torch.no_grad():
        x = model.bert.embeddings.word_embeddings(IDS)
        logits = model(IDS, attention_mask=MASK).logits
    same(bert.relevance(model, x, 0, MASK).output, logits[:, 0], 1e-12)
