"""transformers' models as they come: dictionaries in, ModelOutput out, blocks of tuples, against torch.autograd and Captum."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.autograd import grad

transformers = pytest.importorskip("transformers")
from transformers import BatchEncoding  # noqa: E402 - after the skip
from transformers.utils import ModelOutput  # noqa: E402 - the same

import attrkit  # noqa: E402 - the same
from attrkit.errors import UsageTypeError  # noqa: E402 - the same
from tests.plugins import hf  # noqa: E402 - the same
from tests.plugins.hf import IDS, MASK  # noqa: E402 - the same
from tests.plugins.models import built, draw  # noqa: E402 - the same

REFERENCE = torch.tensor([[2, 4, 4, 4, 3]])  # a sentence to compare with
TEXT = {"bert": hf.bert, "gpt2": hf.gpt2, "llama": hf.llama}
MODELS = {**TEXT, "vit": hf.vit, "resnet": hf.resnet}
EMBEDDINGS = {"bert": "bert.embeddings.word_embeddings", "gpt2": "transformer.wte", "llama": "model.embed_tokens"}
CUTS = {  # a block that everything goes through
    "bert": "bert.encoder.layer.0",
    "gpt2": "transformer.h.0",
    "llama": "model.layers.0",
    "vit": "vit.layers.0",
    "resnet": "resnet.encoder.stages.0",
}
OTHERS = [
    ("bert", "bert.encoder.layer.0.attention.self", tuple),
    ("bert", "bert.encoder", ModelOutput),
    ("bert", "bert", ModelOutput),  # two tensors
    ("gpt2", "transformer.h.0.attn", tuple),
    ("gpt2", "transformer", ModelOutput),  # a tensor and a cache
    ("llama", "model.layers.0.self_attn", tuple),
    ("llama", "model", ModelOutput),  # the same
    ("vit", "vit.layers.0.attention", tuple),
    ("vit", "vit", ModelOutput),
    ("resnet", "resnet.encoder", ModelOutput),
    ("resnet", "resnet", ModelOutput),  # two tensors
]
LAYERS = [*((name, path, torch.Tensor) for name, path in CUTS.items()), *OTHERS]
STEPS = 4
METHODS = {
    "saliency": {"abs": False},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": STEPS},
    "internal_influence": {"n_steps": STEPS},
}
at_inputs = pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])


@dataclass
class Case:
    """A model, floating-point inputs by name, a baseline for the one to explain, and what goes along."""

    model: torch.nn.Module
    name: str
    x: torch.Tensor
    baseline: torch.Tensor
    fixed: dict
    target: int | tuple[int, ...]

    def inputs(self, x=None):
        return {self.name: self.x if x is None else x, **self.fixed}

    def same(self, found, expected):
        """Up to rounding; the norms of Llama compute in float32, whatever they are given."""
        tolerance = 1e-6 if self.model.config.model_type == "llama" else 1e-9
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)

    def chosen(self, logits):
        """The number to explain, for each example."""
        return logits[:, *self.target] if isinstance(self.target, tuple) else logits[:, self.target]


_cases: dict[str, Case] = {}


def case_of(name):
    if name not in _cases:
        model = built(MODELS[name])
        if name in TEXT:
            embed = model.get_input_embeddings()
            x, b = embed(IDS).detach(), embed(REFERENCE).detach()
            _cases[name] = Case(model, "inputs_embeds", x, b, {"attention_mask": MASK}, 1 if name == "bert" else (3, 7))
        else:
            _cases[name] = Case(model, "pixel_values", draw(2, 3, 8, 8, seed=1), draw(1, 3, 8, 8, seed=2), {}, 1)
    return _cases[name]


@pytest.fixture(params=MODELS)
def case(request):
    return case_of(request.param)


@pytest.fixture(params=TEXT)
def text(request):
    return request.param, case_of(request.param)


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="captum is not installed: pip install 'attrkit[parity]'")


def only(explanation):
    (values,) = explanation.values.values()
    return values


def total(explanation):
    """How much there is of attributions of either sign, for each example."""
    return only(explanation).abs().flatten(1).sum(1)


# The definitions, written as loops over torch.autograd, with hooks of their own.


def parts_of(value):
    return [value] if isinstance(value, torch.Tensor) else list(value.values() if isinstance(value, dict) else value)


def put(value, tensors):
    """A layer's value with other tensors."""
    rest = iter(tensors)
    parts = [next(rest) if isinstance(p, torch.Tensor) else p for p in parts_of(value)]
    if isinstance(value, torch.Tensor):
        return parts[0]
    return type(value)(**dict(zip(value, parts, strict=True))) if isinstance(value, dict) else tuple(parts)


def through(model, inputs, path, given=None, kind=object, *, cut=True):
    """The logits, and the tensors that a layer passes on, at which gradients can be taken; ``given`` takes their place."""
    seen = []

    def hook(_module, _args, value):
        assert isinstance(value, kind)
        own = [p for p in parts_of(value) if isinstance(p, torch.Tensor)] if given is None else given
        seen[:] = [t.detach().clone().requires_grad_() for t in own] if cut else own
        return put(value, seen)

    handle = model.get_submodule(path).register_forward_hook(hook)
    try:
        return model(**inputs).logits, seen
    finally:
        handle.remove()


def gradients(numbers, at):
    return grad(numbers.sum(), at, allow_unused=True, materialize_grads=True)


def path_of(start, end):
    """The points of Gauss-Legendre quadrature between tensors, and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        yield weight, [b + node * (t - b) for b, t in zip(start, end, strict=True)]


def expected_at_the_inputs(method, case, pick):
    """``pick`` makes a number per example of the inputs."""
    b = case.baseline.expand_as(case.x)

    def gradient(x):
        x = x.detach().requires_grad_()
        return gradients(pick(x), [x])[0]

    if method == "integrated_gradients":
        return sum(w * gradient(point) for w, (point,) in path_of([b], [case.x])) * (case.x - b)
    return gradient(case.x) * (case.x if method == "input_x_gradient" else 1)


def expected_at_a_layer(method, case, path, kind=object, inputs=None, baselines=None):
    inputs = inputs or case.inputs()
    baselines = baselines or case.inputs(case.baseline.expand_as(case.x))
    logits, v = through(case.model, inputs, path, kind=kind)
    if method in ("saliency", "input_x_gradient"):
        found = gradients(case.chosen(logits), v)
        return [g * t.detach() for g, t in zip(found, v, strict=True)] if method == "input_x_gradient" else list(found)
    summed = [torch.zeros_like(t) for t in v]
    if method == "internal_influence":
        for weight, (x,) in path_of([case.baseline.expand_as(case.x)], [case.x]):
            logits, at = through(case.model, case.inputs(x), path)
            summed = [t + weight * g for t, g in zip(summed, gradients(case.chosen(logits), at), strict=True)]
        return summed
    u = [t.detach() for t in through(case.model, baselines, path)[1]]
    v = [t.detach() for t in v]
    for weight, point in path_of(u, v):
        logits, at = through(case.model, inputs, path, point)
        summed = [t + weight * g for t, g in zip(summed, gradients(case.chosen(logits), at), strict=True)]
    return [t * (end - start) for t, end, start in zip(summed, v, u, strict=True)]


def with_baseline(method, case):
    return {"baselines": case.baseline} if method not in ("saliency", "input_x_gradient") else {}


# Floating-point inputs: pixels, or embeddings of tokens.


@at_inputs
def test_attributions_to_inputs_are_what_autograd_gives(explain, case, method):
    given = METHODS[method] | with_baseline(method, case)
    found = explain(case.model, case.inputs(), method, target=case.target, **given)
    assert list(found.values) == [case.name]
    case.same(only(found), expected_at_the_inputs(method, case, lambda x: case.chosen(case.model(**case.inputs(x)).logits)))
    case.same(found.output, case.chosen(case.model(**case.inputs()).logits).detach())


@pytest.mark.filterwarnings("ignore::attrkit.errors.AttrkitWarning")  # of tensors that nothing reads: see test_precision
@pytest.mark.parametrize(("name", "path", "kind"), LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_attributions_to_a_block_are_what_autograd_gives(explain, name, path, kind, method):
    case = case_of(name)
    given = METHODS[method] | with_baseline(method, case)
    found = explain(case.model, case.inputs(), method, target=case.target, layer=path, **given)
    expected = expected_at_a_layer(method, case, path, kind)
    case.same(list(found.values.values()), expected)
    assert list(found.values) == ([path] if len(expected) == 1 else [f"{path}[{i}]" for i in range(len(expected))])
    assert any((t != 0).any() for t in expected)


@pytest.mark.filterwarnings("ignore::attrkit.errors.AttrkitWarning")  # the same
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_attention_weights_that_a_block_passes_on_have_attributions_of_their_own(explain, name):
    # Nothing reads them further on, so that theirs are zero.
    path = {"bert": "bert.encoder.layer.0.attention.self", "gpt2": "transformer.h.0.attn", "llama": "model.layers.0.self_attn"}
    case = replace(case_of(name), model=built(lambda: MODELS[name](attn_implementation="eager")))
    found = explain(case.model, case.inputs(), "saliency", target=case.target, layer=path[name], abs=False)
    values, weights = found.values.values()
    case.same([values, weights], expected_at_a_layer("saliency", case, path[name], tuple))
    assert weights.shape == (2, 4, 5, 5)
    assert (weights == 0).all()
    assert (values != 0).any()


@at_inputs
def test_attributions_of_a_neuron_in_a_block_are_what_autograd_gives(explain, case, method):
    path = next(path for name, path in CUTS.items() if case_of(name) is case)
    neuron = (1, 1, 1) if case.name == "pixel_values" and case.model.config.model_type == "resnet" else (2, 3)

    def pick(x):
        (value,) = through(case.model, case.inputs(x), path, cut=False)[1]
        return value[:, *neuron]

    given = METHODS[method] | with_baseline(method, case)
    found = explain(case.model, case.inputs(), method, layer=path, neuron=neuron, **given)
    case.same(only(found), expected_at_the_inputs(method, case, pick))
    assert (only(found) != 0).any()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_neuron_is_picked_from_a_block_that_passes_on_a_tuple(explain, name):
    case = case_of(name)
    path = {"gpt2": "transformer.h.0.attn", "llama": "model.layers.0.self_attn"}[name]
    found = explain(case.model, case.inputs(), "saliency", layer=path, neuron=(2, 3), abs=False)
    case.same(
        only(found),
        expected_at_the_inputs("saliency", case, lambda x: through(case.model, case.inputs(x), path, cut=False)[1][0][:, 2, 3]),
    )


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_what_goes_into_a_block_is_what_comes_out_of_the_one_before(explain, name):
    case, before = case_of(name), CUTS[name]
    given = {"target": case.target, "n_steps": STEPS, "baselines": case.baseline}
    into = explain(
        case.model, case.inputs(), "integrated_gradients", layer=before[:-1] + "1", attribute_to_layer_input=True, **given
    )
    case.same(only(into), only(explain(case.model, case.inputs(), "integrated_gradients", layer=before, **given)))


# Conductance: in the limit of many steps, and its sum.


def conductance_in_the_limit(case, path, steps=400):
    """Sums of gradients half way times changes of the layer's value, all points in one batch."""
    b = case.baseline.expand_as(case.x)

    def at(alphas):
        x = torch.cat([b + a * (case.x - b) for a in alphas])
        fixed = {k: v.repeat(len(alphas), 1) for k, v in case.fixed.items()}
        logits, (v,) = through(case.model, {case.name: x, **fixed}, path)
        return v.detach().unflatten(0, (len(alphas), 2)), lambda: gradients(case.chosen(logits), [v])[0]

    values, _ = at([i / steps for i in range(steps + 1)])
    middle, gradient = at([(i + 0.5) / steps for i in range(steps)])
    return ((values[1:] - values[:-1]) * gradient().view_as(middle)).sum(0)


def test_conductance_of_a_block_is_the_path_integral_and_complete(explain, case):
    path = next(path for name, path in CUTS.items() if case_of(name) is case)
    expected = conductance_in_the_limit(case, path)
    found = [
        explain(case.model, case.inputs(), "conductance", target=case.target, layer=path, baselines=case.baseline, n_steps=n)
        for n in (20, 40, 80)
    ]
    apart = [float((only(f) - expected).abs().max() / expected.abs().max()) for f in found]
    assert apart[2] < apart[0] / 2
    assert apart[2] < 2e-2
    change = found[2].output - found[2].baseline_output
    assert (found[2].delta.abs() < 1e-2 * total(found[2])).all()
    with torch.no_grad():
        b = case.baseline.expand_as(case.x)
        case.same(change, case.chosen(case.model(**case.inputs()).logits - case.model(**case.inputs(b)).logits))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # of torch's forward mode
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "vit"])
def test_conductance_by_forward_mode_is_the_same_integral_in_fewer_steps(explain, name):
    # torch has no forward mode for its fused attention.
    case = replace(case_of(name), model=built(lambda: MODELS[name](attn_implementation="eager")))
    expected = conductance_in_the_limit(case, CUTS[name])
    given = {"target": case.target, "layer": CUTS[name], "baselines": case.baseline, "n_steps": 40}
    found = explain(case.model, case.inputs(), "conductance", options={"method": "forward_gausslegendre"}, **given)
    assert (only(found) - expected).abs().max() < 5e-3 * expected.abs().max()


def test_conductance_through_all_neurons_of_a_block_is_the_change_of_the_output(explain, case):
    path = next(path for name, path in CUTS.items() if case_of(name) is case)
    every = (slice(None),) * (3 if path.startswith("resnet") else 2)
    given = {"target": case.target, "layer": path, "neuron": every, "baselines": case.baseline, "n_steps": 80}
    found = explain(case.model, case.inputs(), "conductance", **given)
    with torch.no_grad():
        b = case.baseline.expand_as(case.x)
        change = case.chosen(case.model(**case.inputs()).logits - case.model(**case.inputs(b)).logits)
    assert ((only(found).flatten(1).sum(1) - change).abs() < 1e-2 * total(found)).all()


# Completeness.


@pytest.mark.parametrize("place", ["inputs", "block"])
def test_integrated_gradients_sum_to_the_change_of_the_output(explain, case, place):
    path = next(path for name, path in CUTS.items() if case_of(name) is case)
    layer = {"layer": path} if place == "block" else {}
    given = {"baselines": case.baseline, "n_steps": 200}
    found = explain(case.model, case.inputs(), "integrated_gradients", target=case.target, **given, **layer)
    change = found.output - found.baseline_output
    case.same(found.delta, only(found).flatten(1).sum(1) - change)
    assert (found.delta.abs() < 2e-3 * total(found)).all()


# Batches.


@pytest.mark.parametrize("method", METHODS)
def test_an_example_is_explained_alone_as_in_a_batch(explain, case, method):
    path = next(path for name, path in CUTS.items() if case_of(name) is case)
    given = {"target": case.target, "layer": path} | METHODS[method] | with_baseline(method, case)
    together = only(explain(case.model, case.inputs(), method, **given))
    for i in range(2):
        one = {name: tensor[i : i + 1] for name, tensor in case.inputs().items()}
        case.same(only(explain(case.model, one, method, **given)), together[i : i + 1])


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_rows_of_a_pass_change_nothing(explain, case, rows):
    given = {"target": case.target, "n_steps": STEPS, "baselines": case.baseline}
    expected = only(explain(case.model, case.inputs(), "integrated_gradients", internal_batch_size=2, **given))
    case.same(only(explain(case.model, case.inputs(), "integrated_gradients", internal_batch_size=rows, **given)), expected)


@pytest.mark.filterwarnings("ignore::attrkit.errors.AttrkitWarning")  # as above
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path, _ in LAYERS])
def test_many_points_share_passes_as_if_each_were_alone(explain, name, path, rows):
    case = case_of(name)
    given = {"target": case.target, "layer": path, "n_steps": 24, "baselines": case.baseline}
    inputs = {name: tensor[:rows] for name, tensor in case.inputs().items()}
    alone = explain(case.model, inputs, "integrated_gradients", internal_batch_size=rows, **given)
    for _ in range(2):  # what was learnt holds for the next call too
        found = explain(case.model, inputs, "integrated_gradients", **given)
        case.same(list(found.values.values()), list(alone.values.values()))


@pytest.mark.parametrize("name", TEXT)
def test_how_points_share_a_pass_is_nothing_to_warn_about(name):
    case = case_of(name)
    case = replace(case, model=built(MODELS[name]))  # of which nothing is known yet
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attrkit.explain(case.model, case.inputs(), target=case.target, layer=CUTS[name], baselines=case.baseline)
    assert not [str(w.message) for w in caught]


# Token numbers: the site is the embedding.


def encoding():
    return BatchEncoding({"input_ids": IDS.clone(), "attention_mask": MASK.clone()})


@at_inputs
def test_the_embedding_is_a_site_for_the_tokens_of_a_batch_encoding(untouched, text, method):
    name, case = text
    given, before = encoding(), encoding()
    with untouched(case.model, *given.values()):
        found = attrkit.explain(case.model, given, method, target=case.target, layer=EMBEDDINGS[name], **METHODS[method])
    inputs, zeros = dict(given), {**given, "input_ids": torch.zeros_like(IDS)}
    (expected,) = expected_at_a_layer(method, case, EMBEDDINGS[name], inputs=inputs, baselines=zeros)
    case.same(only(found), expected)
    assert list(given) == list(before)
    case.same(found.output, case.chosen(case.model(**given).logits).detach())


@at_inputs
def test_a_mapping_a_batch_encoding_and_a_function_are_the_same(explain, text, method):
    name, case = text
    given = {"target": case.target, **METHODS[method]}
    expected = only(attrkit.explain(case.model, encoding(), method, layer=EMBEDDINGS[name], **given))
    case.same(only(explain(case.model, dict(encoding()), method, layer=EMBEDDINGS[name], **given)), expected)
    embedding = case.model.get_submodule(EMBEDDINGS[name])

    def forward(ids, mask):
        return case.model(input_ids=ids, attention_mask=mask).logits

    case.same(only(explain(forward, IDS, method, layer=embedding, additional_forward_args=MASK, **given)), expected)


@at_inputs
def test_embeddings_given_as_inputs_are_explained_as_those_of_tokens(explain, text, method):
    name, case = text
    given = dict(METHODS[method])
    if method == "integrated_gradients":
        given["baselines"] = case.model.get_submodule(EMBEDDINGS[name])(torch.zeros_like(IDS)).detach()
    by_values = explain(case.model, case.inputs(), method, target=case.target, **given)
    by_tokens = explain(case.model, dict(encoding()), method, target=case.target, layer=EMBEDDINGS[name], **METHODS[method])
    case.same(only(by_values), only(by_tokens))


def test_a_sentence_as_the_baseline(explain, text):
    name, case = text
    embedding = case.model.get_submodule(EMBEDDINGS[name])

    def forward(ids, mask):
        return case.model(input_ids=ids, attention_mask=mask)

    given = {"target": case.target, "additional_forward_args": MASK, "baselines": REFERENCE, "n_steps": 200}
    found = explain(forward, IDS, "integrated_gradients", layer=embedding, **given)
    values = only(found)
    assert (values[:, 0] == 0).all()  # the same token as in the baseline
    with torch.no_grad():
        logits = [case.model(input_ids=ids, attention_mask=MASK).logits for ids in (IDS, REFERENCE.expand_as(IDS))]
        change = case.chosen(logits[0] - logits[1])
    assert ((values.sum((1, 2)) - change).abs() < 1e-3 * change.abs()).all()
    case.same(found.delta, values.sum((1, 2)) - change)


@at_inputs
def test_padded_tokens_have_no_attributions_and_shorter_sentences_are_explained_alone_as_in_a_batch(explain, text, method):
    name, case = text
    target = 1 if name == "bert" else (2, 7)  # within the shorter sentence
    given = {"target": target, "layer": EMBEDDINGS[name], **METHODS[method]}
    together = only(attrkit.explain(case.model, encoding(), method, **given))
    assert (together[1, 4] == 0).all()
    case.same(
        only(explain(case.model, {"input_ids": IDS[1:, :4], "attention_mask": MASK[1:, :4]}, method, **given)), together[1:, :4]
    )
    case.same(only(explain(case.model, {"input_ids": IDS[:1]}, method, **given)), together[:1])


@pytest.mark.parametrize("method", ["conductance", "internal_influence"])
def test_there_is_no_path_of_token_numbers_and_the_message_says_so(explain, text, method):
    name, case = text
    with pytest.raises(UsageTypeError, match="'input_ids' has dtype torch.int64, .* use a method that moves the layer itself"):
        explain(case.model, dict(encoding()), method, target=case.target, layer=EMBEDDINGS[name])


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "conductance"])
def test_a_neuron_cannot_be_traced_to_token_numbers_and_the_message_says_so(explain, text, method):
    name, case = text
    with pytest.raises(UsageTypeError, match="'input_ids' has dtype torch.int64"):
        explain(case.model, dict(encoding()), method, target=case.target, layer=CUTS[name], neuron=(2, 3))


def test_embeddings_of_words_and_positions_together(explain):
    case = case_of("bert")
    word, position = "bert.embeddings.word_embeddings", "bert.embeddings.position_embeddings"
    found = explain(case.model, dict(encoding()), "saliency", target=1, layer=[word, position], abs=False)
    assert found.values[position].shape == (1, 5, 32)  # the model adds one row to those of all sentences
    case.same(found.values[position], found.values[word].sum(0, keepdim=True))


def test_the_predicted_class_of_a_batch_encoding(explain):
    case = case_of("bert")
    found = attrkit.explain(case.model, encoding(), "saliency", target="predicted", layer=EMBEDDINGS["bert"])
    assert found.target == case.model(**encoding()).logits.argmax(1).tolist()


def test_the_attention_mask_of_a_batch_encoding_is_no_part_of_the_baseline(text):
    name, case = text
    found = attrkit.explain(case.model, encoding(), target=case.target, layer=EMBEDDINGS[name], n_steps=100)
    with torch.no_grad():
        at_zero = case.chosen(case.model(input_ids=torch.zeros_like(IDS), attention_mask=MASK).logits)
    case.same(found.baseline_output, at_zero)
    assert (found.delta.abs() < 1e-2 * (found.output - at_zero).abs()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bool])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_a_mask_of_any_type_goes_along_and_is_not_explained(explain, text, method, dtype):
    _, case = text
    given = {"target": case.target, **METHODS[method]} | with_baseline(method, case)
    inputs = {"attention_mask": MASK.to(dtype), case.name: case.x}
    found = explain(case.model, inputs, method, **given)
    assert list(found.values) == [case.name]
    case.same(only(found), only(explain(case.model, case.inputs(), method, **given)))


def test_a_block_under_a_batch_encoding_is_explained_as_under_a_function_that_holds_the_mask(text):
    name, case = text
    block = case.model.get_submodule(CUTS[name])
    given = {"target": case.target, "layer": block, "n_steps": STEPS}
    expected = attrkit.explain(lambda ids: case.model(input_ids=ids, attention_mask=MASK[:1]), IDS[:1], **given)
    one = BatchEncoding({"input_ids": IDS[:1], "attention_mask": MASK[:1]})
    case.same(only(attrkit.explain(case.model, one, **given)), only(expected))
    padded = attrkit.explain(case.model, encoding(), **given)
    forward = attrkit.explain(
        lambda ids, mask: case.model(input_ids=ids, attention_mask=mask), IDS, additional_forward_args=MASK, **given
    )
    case.same(only(padded), only(forward))


def test_baselines_by_name(text):
    name, case = text
    given = {"target": case.target, "layer": EMBEDDINGS[name], "n_steps": STEPS}
    embedding = case.model.get_submodule(EMBEDDINGS[name])
    expected = attrkit.explain(
        lambda ids, mask: case.model(input_ids=ids, attention_mask=mask),
        IDS,
        additional_forward_args=MASK,
        baselines=REFERENCE,
        **(given | {"layer": embedding}),
    )
    case.same(only(attrkit.explain(case.model, encoding(), baselines={"input_ids": REFERENCE}, **given)), only(expected))


# Targets of an output of rank 3.


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@at_inputs
def test_each_example_has_its_own_position_and_token(explain, name, method):
    case, targets = case_of(name), [(3, 7), (2, 5)]
    given = {"layer": EMBEDDINGS[name], **METHODS[method]}
    found = only(explain(case.model, dict(encoding()), method, target=targets, **given))
    for i, target in enumerate(targets):
        case.same(found[i], only(explain(case.model, dict(encoding()), method, target=target, **given))[i])
        assert (found[i, target[0] + 1 :] == 0).all()  # what comes later has no influence
        assert (found[i, target[0]] != 0).all()


# Caches of keys and values.


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@at_inputs
def test_a_cache_that_the_model_makes_changes_nothing(explain, name, method):
    case = case_of(name)
    assert case.model.config.use_cache
    given = {"target": case.target, "layer": EMBEDDINGS[name], **METHODS[method]}
    inputs = dict(encoding())
    found = explain(case.model, inputs, method, **given)
    assert torch.equal(only(found), only(explain(case.model, inputs, method, **given)))
    case.same(only(found), only(explain(case.model, {**inputs, "use_cache": False}, method, **given)))
    case.same(only(found), only(explain(case.model, {**inputs, "return_dict": False}, method, **given)))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_keys_are_fewer_than_queries_in_llama_only(name):
    config = case_of(name).model.config
    assert getattr(config, "num_key_value_heads", config.num_attention_heads) == (2 if name == "llama" else 4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_a_cache_that_the_caller_gives_is_read_and_left_alone(name, method):
    case, token = case_of(name), torch.tensor([[4], [6]])
    with torch.no_grad():
        cache = case.model(input_ids=IDS).past_key_values
        logits = case.model(input_ids=token, past_key_values=copy.deepcopy(cache)).logits
    given = {"target": (0, 7), "layer": EMBEDDINGS[name], **METHODS[method]}
    found = attrkit.explain(case.model, {"input_ids": token, "past_key_values": cache}, method, **given)
    assert cache.get_seq_length() == 5
    case.same(found.output, logits[:, 0, 7])
    whole = torch.cat([IDS, token], dim=1)
    if method != "integrated_gradients":
        expected = attrkit.explain(case.model, {"input_ids": whole}, method, **(given | {"target": (5, 7)}))
        case.same(only(found), only(expected)[:, 5:])


# Where a norm divides by the length of a vector that is zero in the baseline.


@pytest.mark.parametrize("layer", [None, "model.layers.0"])
def test_conductance_of_llama_from_empty_embeddings_is_of_the_size_of_the_output(explain, layer):
    case = case_of("llama")
    found = explain(case.model, case.inputs(), "conductance", target=case.target, layer=layer)
    change = found.output - found.baseline_output
    assert (found.delta.abs() < 10 * change.abs().max()).all()


# Captum.


@pytest.mark.filterwarnings("ignore")  # of Captum's
@pytest.mark.parametrize("name", MODELS)
def test_at_the_inputs_as_captum(captum, name):
    case = case_of(name)
    fixed = tuple(case.fixed.values())

    def forward(x, *mask):
        return case.model(**{case.name: x}, **dict(zip(case.fixed, mask, strict=True))).logits

    given = {"target": case.target, "additional_forward_args": fixed or None}
    steps = {"n_steps": 16, "method": "riemann_middle", "baselines": case.baseline}
    for method, theirs, more in (
        ("saliency", captum.Saliency, {}),
        ("input_x_gradient", captum.InputXGradient, {}),
        ("integrated_gradients", captum.IntegratedGradients, steps),
    ):
        options = {"method": steps["method"]} if more else {}
        ours = {k: v for k, v in more.items() if k != "method"}
        found = only(attrkit.explain(case.model, case.inputs(), method, target=case.target, options=options, **ours))
        case.same(found, theirs(forward).attribute(case.x, **given, **more))


@pytest.mark.filterwarnings("ignore")  # of Captum's
@pytest.mark.parametrize("name", MODELS)
def test_at_a_block_and_of_a_neuron_as_captum(captum, attribute, name):
    case = case_of(name)
    block, fixed = case.model.get_submodule(CUTS[name]), tuple(case.fixed.values())

    def forward(x, *mask):
        return case.model(**{case.name: x}, **dict(zip(case.fixed, mask, strict=True))).logits

    given = {"target": case.target, "additional_forward_args": fixed or None}
    steps = {"n_steps": 16, "method": "riemann_middle", "baselines": case.baseline}
    for of_layer, more in (("LayerGradientXActivation", {}), ("LayerIntegratedGradients", steps), ("InternalInfluence", steps)):
        found = attribute(of_layer, forward, block)(case.x, **given, **more)
        case.same(found, getattr(captum, of_layer)(forward, block).attribute(case.x, **given, **more))
    neuron = (1, 1, 1) if name == "resnet" else (2, 3)
    del given["target"]
    for of_neuron, more in (("NeuronGradient", {}), ("NeuronIntegratedGradients", steps)):
        found = attribute(of_neuron, forward, block)(case.x, neuron, **given, **more)
        case.same(found, getattr(captum, of_neuron)(forward, block).attribute(case.x, neuron, **given, **more))


@pytest.mark.filterwarnings("ignore")  # of Captum's
def test_at_the_embedding_as_captum(captum, attribute, text):
    name, case = text
    embedding = case.model.get_submodule(EMBEDDINGS[name])

    def forward(ids, mask):
        return case.model(input_ids=ids, attention_mask=mask).logits

    given = {"target": case.target, "additional_forward_args": (MASK,)}
    steps = {"n_steps": 16, "method": "riemann_middle", "baselines": REFERENCE.expand_as(IDS), "return_convergence_delta": True}
    for of_layer, more in (("LayerGradientXActivation", {}), ("LayerIntegratedGradients", steps)):
        found = attribute(of_layer, forward, embedding)(IDS, **given, **more)
        case.same(found, getattr(captum, of_layer)(forward, embedding).attribute(IDS, **given, **more))
