"""transformers' models as they are, explained by the rulesets for them: as written out by hand, to rounding."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")

from tests.plugins.hf import IDS, MASK
from tests.plugins.models import draw
from tests.plugins.propagation.explicit import modified
from tests.plugins.propagation.test_explicit import MODELS, made, same

RULESETS = {"attnlrp": False, "cp_lrp": True}
rulesets = pytest.mark.parametrize("rules", RULESETS)
ATTENTIONS = pytest.mark.parametrize("attention", ["eager", "sdpa"])
models = pytest.mark.parametrize("name", MODELS)


def logits(model, name, mask=None):
    """The model as a function of what is explained."""

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            more = {} if mask is None else {"attention_mask": mask[: len(x)]}
            return self.inner(**{"pixel_values" if name == "vit" else "inputs_embeds": x}, **more).logits

    return Wrapped().eval()


@models
@ATTENTIONS
@rulesets
def test_relevance_is_what_is_written_out_by_hand(explain, name, attention, rules):
    explicit, _, index, x = MODELS[name]
    model = made(name, attention)
    with modified.wide():
        found = explain(logits(model, name), x, "lrp", rules=rules, target=index)
        expected = explicit.relevance(model, x, index if len(index) > 1 else index[0], cp=RULESETS[rules])
    same(found.values["x"], expected.values, 1e-10)
    same(found.output, expected.output, 1e-12)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
@ATTENTIONS
@rulesets
def test_padding_has_no_relevance(explain, name, attention, rules):
    explicit, _, index, x = MODELS[name]
    index = (3, 7) if len(index) > 1 else index
    model = made(name, attention)
    with modified.wide():
        found = explain(logits(model, name, MASK), x, "lrp", rules=rules, target=index).values["x"]
        expected = explicit.relevance(model, x, index if len(index) > 1 else index[0], MASK, cp=RULESETS[rules])
    same(found, expected.values, 1e-10)
    assert (found[1, 4] == 0).all()


@models
@rulesets
def test_every_operation_of_the_model_is_governed_by_an_entry(explain, name, rules):
    _, _, index, x = MODELS[name]
    report = explain(logits(made(name, "sdpa"), name), x, "lrp", rules=rules, target=index).rules
    assert not [r for r in report if r["entry"].startswith("fallback")]
    assert {"linear", "sdpa"} <= {r["operation"] for r in report}
    assert {r["rule"] for r in report if r["operation"] == "sdpa"} == {"attention_cp" if RULESETS[rules] else "attention"}


@rulesets
def test_the_embedding_of_ids_is_a_layer_that_can_be_explained(explain, rules):
    model = made("bert", "sdpa")

    class Classified(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, ids):
            return self.inner(ids, attention_mask=MASK[: len(ids)]).logits

    layer = "inner.bert.embeddings.word_embeddings"
    found = explain(Classified().eval(), IDS, "lrp", rules=rules, target=1, layer=layer).values[layer]
    x = model.bert.embeddings.word_embeddings(IDS).detach()
    expected = MODELS["bert"][0].relevance(model, x, 1, MASK, cp=RULESETS[rules])
    same(found, expected.values, 1e-10)


@models
@rulesets
def test_every_example_is_explained_as_if_it_were_alone(explain, name, rules):
    _, _, index, x = MODELS[name]
    model = logits(made(name, "sdpa"), name)
    together = explain(model, x, "lrp", rules=rules, target=index).values["x"]
    alone = [explain(model, row[None], "lrp", rules=rules, target=index).values["x"] for row in x]
    same(together, torch.cat(alone), 1e-10)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "vit"])
@ATTENTIONS
def test_deeplift_is_complete(explain, name, attention):
    _, _, index, x = MODELS[name]
    model = logits(made(name, attention), name)
    with modified.wide():
        for baseline in (0.3 * draw(*x.shape, seed=5), x.roll(1, 0), 0):  # where the norms of a Llama multiply by a thousand
            found = explain(model, x, "deeplift", target=index, baselines=baseline)
            change = found.output - found.baseline_output
            assert change.abs().min() > 1e-3
            same(found.values["x"].flatten(1).sum(1), change, 1e-9)
