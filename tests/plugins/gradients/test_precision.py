"""Numbers and memory: low precision and autocast, strides, empty batches, and what the objective does not depend on."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import AttrkitWarning
from attrkit.registry import registry
from attrkit_gradients.quadrature import quadrature
from tests.plugins.models import Several, TwoInputs, built, cnn, draw, smooth_mlp

x = draw(4, 5, seed=1)
images = draw(3, 2, 8, 8, seed=2)

METHODS = ["saliency", "input_x_gradient", "integrated_gradients", "conductance", "internal_influence"]
AVERAGING = ["integrated_gradients", "conductance", "internal_influence"]
PLACES = {"inputs": {}, "layer": {"layer": "2"}, "neuron": {"layer": "2", "neuron": 1}}
MAPS = {"inputs": {}, "layer": {"layer": "3"}, "neuron": {"layer": "3", "neuron": (1, 1, 1)}}


def pairs(methods):
    """Each method at each place that it has."""
    return [(m, p) for m in methods for p in PLACES if m != "internal_influence" or p == "layer"]


everywhere = pytest.mark.parametrize(("method", "place"), pairs(METHODS))


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def error(found, truth):
    """The largest error, relative to the largest value."""
    return float((found.double() - truth).abs().max() / truth.abs().max())


def in_precision(model, dtype):
    """A copy of the model in another dtype, and the same numbers in float64."""
    low = copy.deepcopy(model).to(dtype)
    return low, copy.deepcopy(low).double()


# bfloat16 and float16.


@everywhere
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_kept_and_as_accurate_as_it_can_be(explain, method, place, dtype):
    low, exact = in_precision(built(smooth_mlp), dtype)
    given = x.to(dtype)
    found = explain(low, given, method, target=0, **PLACES[place])
    truth = explain(exact, given.double(), method, target=0, **PLACES[place])
    assert only(found).dtype is found.output.dtype is dtype
    assert error(only(found), only(truth)) < (0.02 if dtype is torch.bfloat16 else 0.003)
    same(found.output.double(), truth.output, 0.02)


@pytest.mark.parametrize(("method", "place"), pairs(AVERAGING))
@pytest.mark.parametrize("n_steps", [50, 400])
def test_averages_over_many_steps_are_as_accurate_as_a_single_pass(explain, method, place, n_steps):
    low, exact = in_precision(built(smooth_mlp), torch.bfloat16)
    given, options = x.bfloat16(), {"target": 0, **PLACES[place]}
    found, single = (explain(low, given, m, **options, **o) for m, o in ((method, {"n_steps": n_steps}), ("saliency", {})))
    truth, true_single = (
        explain(exact, given.double(), m, **options, **o) for m, o in ((method, {"n_steps": n_steps}), ("saliency", {}))
    )
    assert error(only(found), only(truth)) < max(0.01, error(only(single), only(true_single)))


@pytest.mark.parametrize("n_steps", [50, 400])
def test_sums_are_kept_in_float32_where_bfloat16_would_stop_growing(explain, n_steps):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 1, bias=False))).bfloat16()
    given = x.bfloat16()
    weight = model[1].weight.detach()
    naive = torch.zeros_like(weight)  # what adding up in bfloat16 would give
    for share in quadrature("gausslegendre", n_steps).weights:
        naive += share * weight
    influence = only(explain(model, given, "internal_influence", layer="0", n_steps=n_steps, options={}))
    assert torch.equal(influence, weight.expand(4, 4))
    assert n_steps == 50 or error(naive, weight.double()) > 0.05
    value = model[0](given).detach().double()
    for method in ("integrated_gradients", "conductance"):
        assert error(only(explain(model, given, method, layer="0", n_steps=n_steps)), value * weight.double()) < 2**-8


@pytest.mark.parametrize("method", ["integrated_gradients", "conductance"])
@pytest.mark.parametrize("place", ["inputs", "layer"])
def test_the_delta_in_bfloat16_is_no_larger_than_rounding(explain, method, place):
    low, _ = in_precision(built(smooth_mlp), torch.bfloat16)
    found = explain(low, x.bfloat16(), method, target=0, n_steps=400, **PLACES[place])
    scale = only(found).float().abs().sum(1).max() + found.output.float().abs().max()
    assert found.delta.shape == (4,)
    assert found.delta.float().abs().max() < scale * 2**-6


def test_each_input_keeps_its_own_dtype(explain):
    parts = (draw(3, 4, seed=1).float(), draw(3, 4, seed=2), draw(3, 4, seed=3).bfloat16())

    def model(a, b, c):
        return (a.double() ** 2 * b + c.double() ** 2).sum(1)

    for method in ("saliency", "input_x_gradient", "integrated_gradients", "conductance"):
        found = explain(model, parts, method)
        assert [v.dtype for v in found.values.values()] == [torch.float32, torch.float64, torch.bfloat16]
        assert found.output.dtype is torch.float64


INTERACTING = {
    "centred": lambda m: lambda x: m(x - 0.3 * x.mean(0)),
    "scaled": lambda m: lambda x: m(3 * x) * (1 + 0.2 * x.pow(2).mean()),
}


@pytest.mark.parametrize("rows", INTERACTING)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_points_do_not_share_a_pass_where_rows_interact_a_little(explain, rows, dtype):
    model, given = INTERACTING[rows](built(smooth_mlp).to(dtype)), draw(5, 5, seed=1).to(dtype)
    found, alone = (only(explain(model, given, "integrated_gradients", target=0, internal_batch_size=n)) for n in (None, 5))
    assert error(found, alone.double()) < torch.finfo(dtype).eps ** (1 if dtype is torch.bfloat16 else 0.5)


# autocast.


@everywhere
def test_autocast_around_the_call_reaches_the_model_and_the_inputs_keep_their_dtype(explain, method, place):
    model = built(smooth_mlp).float()
    truth = explain(model, x.float(), method, target=0, **PLACES[place])
    with torch.autocast("cpu", torch.bfloat16):
        found = explain(model, x.float(), method, target=0, **PLACES[place])
        assert torch.is_autocast_enabled("cpu")
    assert found.output.dtype is torch.bfloat16
    assert only(found).dtype is (torch.bfloat16 if place == "layer" else torch.float32)  # a layer's value is what it is
    assert error(only(found), only(truth).double()) < 0.04
    assert not torch.equal(only(found).float(), only(truth))


@pytest.mark.parametrize("n_steps", [50, 400])
@pytest.mark.parametrize("place", ["inputs", "layer"])
def test_sums_under_autocast_are_kept_in_float32(explain, n_steps, place):
    model = built(lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 1, bias=False))).float()
    layer = {"layer": "0"} if place == "layer" else {}
    for method in ("integrated_gradients", "conductance"):
        with torch.autocast("cpu", torch.bfloat16):
            found = only(explain(model, x.float(), method, n_steps=n_steps, **layer))
            single = only(explain(model, x.float(), "input_x_gradient", **layer))
        assert error(found, single.double()) < 2**-7


def test_autocast_inside_the_model_is_the_model_s(explain):
    model = built(smooth_mlp).float()

    def forward(x):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    truth = explain(model, x.float(), "integrated_gradients", target=0)
    found = explain(forward, x.float(), "integrated_gradients", target=0)
    assert only(found).dtype is torch.float32
    assert 0 < error(only(found), only(truth).double()) < 0.03


# float64.


@everywhere
def test_float64_is_kept_from_end_to_end(explain, method, place):
    model = built(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)))
    found = explain(model, x, method, target=0, **PLACES[place])
    tensors = [only(found), found.output, found.baseline_output, found.delta, *found.inputs.values()]
    assert all(t.dtype is torch.float64 for t in tensors if t is not None)


def test_no_step_on_the_way_is_rounded_to_float32(explain):
    # Four points integrate x^8 exactly, and a third has no short form in binary.
    point, base = torch.full((1, 3), 4 / 3, dtype=torch.float64), 1 / 3
    found = only(explain(lambda x: (x**8).sum(1), point, "integrated_gradients", baselines=base, n_steps=4))
    torch.testing.assert_close(found, point**8 - torch.full_like(point, base) ** 8, rtol=1e-14, atol=0)


# Strides.

LAID_OUT = {
    "channels last": lambda t: t.to(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "every other": lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
    "expanded": lambda t: t[:1].expand(3, -1, -1, -1),
    "expanded in channels": lambda t: t[:, :1].expand(-1, 2, -1, -1),
    "a part of a larger one": lambda t: torch.cat([t, t, t])[3:6, :, :8, :8],
}


@pytest.mark.parametrize("layout", LAID_OUT)
@everywhere
def test_strides_of_inputs_and_baselines_change_nothing(explain, method, place, layout):
    model, lay = built(cnn), LAID_OUT[layout]
    given, base = lay(images), lay(draw(3, 2, 8, 8, seed=3))
    more = {} if method in ("saliency", "input_x_gradient") else {"n_steps": 4}
    baselines = [{"baselines": b} if more else {} for b in (base, base.clone(memory_format=torch.contiguous_format))]
    found = explain(model, given, method, target=0, **MAPS[place], **more, **baselines[0])  # under ``untouched``
    plain = given.clone(memory_format=torch.contiguous_format)
    same(only(found), only(explain(model, plain, method, target=0, **MAPS[place], **more, **baselines[1])))


@everywhere
def test_a_model_in_channels_last(explain, method, place):
    plain, model = built(cnn), built(cnn).to(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous()
    more = {} if method in ("saliency", "input_x_gradient") else {"n_steps": 4}
    found = explain(model, images.to(memory_format=torch.channels_last), method, target=0, **MAPS[place], **more)
    same(only(found), only(explain(plain, images, method, target=0, **MAPS[place], **more)))


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_passes_on_a_view(explain, method):
    class Turn(nn.Module):
        def forward(self, v):
            return v.transpose(1, 2)

    model = built(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), Turn(), nn.Flatten(), nn.Linear(18, 2)))
    given = draw(2, 3, 4)
    before, after = (only(explain(model, given, method, target=0, layer=layer)) for layer in ("1", "2"))
    assert after.shape == (2, 6, 3)
    same(after, before.transpose(1, 2))


# Batches of none and of one.

#: Every method of the family, at every place that it has.
FAMILY = [
    (name, place)
    for name, spec in registry.all("methods").items()
    for place, where in zip(MAPS, ("input", "layer", "neuron"), strict=True)
    if spec.function.__module__.startswith("attrkit_gradients.") and where in spec.where
]


def needed(method, given):
    """A baseline, for a method that must have one."""
    return {"baselines": torch.zeros_like(given)} if registry.method(method).baseline == "required" else {}


@pytest.mark.parametrize("rows", [0, 1])
@everywhere
def test_a_batch_of_none_and_of_one(explain, method, place, rows):
    found = explain(built(cnn), images[:rows], method, target=0, **MAPS[place])
    assert only(found).shape == (rows, *((5, 4, 4) if place == "layer" else (2, 8, 8)))
    assert found.output.shape == (rows,)
    assert found.delta is None or found.delta.shape == (rows,)
    assert not found.warnings


@pytest.mark.parametrize(("method", "place"), FAMILY)
def test_no_examples_have_no_attributions_by_any_method_of_the_family(explain, method, place):
    found = explain(built(cnn), images[:0], method, target=0, **MAPS[place], **needed(method, images[:1]))
    assert len(only(found)) == 0
    assert only(found).dim() == 4


def test_no_examples_of_several_inputs_and_several_layers(explain):
    model, parts = built(TwoInputs), (draw(0, 4), draw(0, 2, 3))
    for method in ("saliency", "integrated_gradients", "conductance"):
        found = explain(model, parts, method, target=0)
        assert [v.shape for v in found.values.values()] == [(0, 4), (0, 2, 3)]
        found = explain(model, parts, method, target=0, layer=["left", "head"])
        assert [v.shape for v in found.values.values()] == [(0, 5), (0, 3)]


@pytest.mark.parametrize("target", [[], torch.zeros(0, dtype=torch.int64), "predicted"], ids=["list", "tensor", "predicted"])
def test_targets_for_each_of_no_examples(target):
    assert only(attrkit.explain(built(cnn), images[:0], "saliency", target=target)).shape == (0, 2, 8, 8)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "conductance"])
def test_examples_without_features(explain, method):
    found = explain(lambda x: (x**2).sum((1, 2)) + 1, draw(2, 0, 4), method)
    assert only(found).shape == (2, 0, 4)
    assert found.output.tolist() == [1, 1]


# What the objective does not depend on.


class Aside(nn.Module):
    """Of the two tensors that ``pack`` passes on one is read, and nothing of ``aside``."""

    def __init__(self):
        super().__init__()
        self.mix, self.pack, self.aside, self.head = nn.Linear(5, 4), Several.Pack("tuple"), nn.Linear(5, 2), nn.Linear(2, 2)

    def forward(self, x):
        self.aside(x)
        return self.head(self.pack(self.mix(x))[1])


with_inputs = pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "conductance"])


def warned(call):
    """What came of a call, and each of the warnings that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    assert all(issubclass(w.category, AttrkitWarning) for w in caught)
    return found, [str(w.message) for w in caught]


@with_inputs
@pytest.mark.parametrize("rows", [None, 1, 4])
def test_an_input_that_is_not_used_has_zeros_and_one_warning_that_names_it(explain, method, rows):
    parts = (x, draw(4, 2, 3))
    found, messages = warned(lambda: explain(lambda a, b: (a**2).sum(1), parts, method, internal_batch_size=rows))
    assert torch.equal(found.values["b"], torch.zeros_like(parts[1]))
    assert (found.values["a"] != 0).all()
    assert len(messages) == 1
    assert "'b'" in messages[0]
    assert "'a'" not in messages[0]
    assert "attributions are 0" in messages[0]
    assert list(found.warnings) == messages


@with_inputs
def test_an_input_that_a_neuron_does_not_see_has_zeros_and_a_warning(explain, method):
    parts = (draw(4, 4), draw(4, 2, 3))
    with pytest.warns(AttrkitWarning, match="does not depend on input 'b'"):
        found = explain(built(TwoInputs), parts, method, target=0, layer="left", neuron=1)
    assert torch.equal(found.values["b"], torch.zeros_like(parts[1]))
    assert (found.values["a"] != 0).any()


@with_inputs
def test_an_input_of_no_weight_is_used_and_has_zeros_without_a_warning(explain, method):
    parts = (draw(4, 4), draw(4, 2, 3))
    found = explain(built(TwoInputs), parts, method, target=0, additional_forward_args=0.0)
    assert (found.values["b"] == 0).all()
    assert not found.warnings


@pytest.mark.parametrize("method", METHODS)
def test_the_layer_that_is_not_used_is_named_among_others(explain, method):
    found, messages = warned(lambda: explain(built(Aside), x, method, target=0, layer=["mix", "aside"]))
    assert torch.equal(found.values["aside"], torch.zeros(4, 2, dtype=torch.float64))
    assert (found.values["mix"] != 0).any()
    assert messages
    assert all("'aside'" in m and "'mix'" not in m and "attributions are 0" in m for m in messages)
    assert found.warnings == (messages[0],)


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_is_not_used_is_warned_about_once(method):
    found, messages = warned(lambda: attrkit.explain(built(Aside), x, method, target=0, layer="aside"))
    assert torch.equal(found.values["aside"], torch.zeros(4, 2, dtype=torch.float64))
    assert len(messages) == 1
    assert found.warnings == tuple(messages)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_a_layer_that_is_not_used_has_zeros_and_a_warning(explain, method):
    with pytest.warns(AttrkitWarning, match=r"does not depend on .*'pack.*attributions are 0"):
        found = explain(built(Aside), x, method, target=0, layer="pack")
    assert (found.values["pack[0]"] == 0).all()
    assert (found.values["pack[1]"] != 0).any()


def test_a_tensor_of_a_layer_that_is_not_used_is_named_as_its_values_are():
    with pytest.warns(AttrkitWarning) as caught:
        attrkit.explain(built(Aside), x, "saliency", target=0, layer="pack")
    assert "layer 'pack[0]'" in str(caught[0].message)


def test_a_layer_that_the_model_runs_with_constants_only_has_zeros_and_a_warning(explain):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(x) + 0 * self.inner(torch.ones(1, 3, dtype=torch.float64)).detach()

    with pytest.warns(AttrkitWarning, match="does not depend on layer 'inner'"):
        found = explain(built(Constant), x, "saliency", target=0, layer="inner")
    assert torch.equal(found.values["inner"], torch.zeros(1, 2, dtype=torch.float64))
