"""Guided backpropagation and guided Grad-CAM: against a model whose ReLU has that backward pass, and against Captum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attrkit
from attrkit import rule
from attrkit.errors import AttrkitWarning, RulesetError, UsageError
from attrkit.registry import registry
from tests.plugins.models import Residual, Reused, Tokens, TwoInputs, built, cnn, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset

IMAGES = draw(3, 2, 8, 8, seed=1)
PHOTOS = draw(3, 3, 8, 8, seed=2)
TARGETS = [2, 0, 1]
GUIDED = "guided_backprop"


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def values(explanation):
    every = tuple(explanation.values.values())
    return every if len(every) > 1 else every[0]


class GuidedReLU(torch.autograd.Function):
    """ReLU, whose backward pass lets through what is positive, where it was active."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0)


@pytest.fixture
def guided():
    """The guided gradient of the outputs at targets, by replacing every function that is a ReLU while the model runs."""

    def gradient(model, inputs, targets):
        leaves = tuple(t.clone().requires_grad_() for t in inputs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(F, "relu", lambda x, inplace=False: GuidedReLU.apply(x))
            for place, name in ((torch, "relu"), (torch.Tensor, "relu"), (torch.Tensor, "relu_")):
                patch.setattr(place, name, lambda x: GuidedReLU.apply(x))
            output = model(*leaves)
        return torch.autograd.grad(output[range(len(output)), targets].sum(), leaves)

    return gradient


def plain(model, inputs, targets):
    """The gradient itself."""
    leaves = tuple(t.clone().requires_grad_() for t in inputs)
    with torch.enable_grad():
        return torch.autograd.grad(model(*leaves)[range(len(leaves[0])), targets].sum(), leaves)


def mapped(model, layer, inputs, targets, into=False):
    """Grad-CAM with its negative part left out, of a layer's output or input."""
    seen = []

    def keep(module, args, output):
        seen.append(args[0] if into else output)
        seen[-1].retain_grad()
        return None if into else output.clone()  # which an operation in place may overwrite

    with torch.enable_grad():
        handle = layer.register_forward_hook(keep)
        output = model(*(t.clone().requires_grad_() for t in inputs))
        handle.remove()
        output[range(len(output)), targets].sum().backward()
    value = seen[0]
    weight = value.grad.flatten(2).mean(2).reshape(*value.shape[:2], *[1] * (value.dim() - 2))
    model.zero_grad(set_to_none=True)
    return (weight * value).sum(1, keepdim=True).clamp(min=0).detach()


class Everyway(nn.Module):
    """A ReLU in each of the forms that people write."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(6, 6) for _ in range(7))
        self.module, self.inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.module(self.maps[0](x))
        x = self.inplace(self.maps[1](x))
        x = F.relu(self.maps[2](x))
        x = F.relu(self.maps[3](x), inplace=True)
        x = torch.relu(self.maps[4](x))
        x = self.maps[5](x).relu()
        x = self.maps[6](x).relu_()
        return self.head(x + self.module(x - x.mean(1, keepdim=True)))


class Smooth(nn.Module):
    """Activations of every kind beside one ReLU."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(6, 6) for _ in range(5))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.leaky_relu(self.maps[0](x), 0.2)
        x = torch.tanh(self.maps[1](x)) * x
        x = F.gelu(self.maps[2](x))
        x = F.relu(self.maps[3](x))
        return self.head(torch.softmax(self.maps[4](x), 1) + x**2)


NETS = {
    "mlp": (mlp, (draw(3, 6),)),
    "cnn": (cnn, (IMAGES,)),
    "batch norm": (lambda: cnn(batch_norm=True), (IMAGES,)),
    "residual": (Residual, (PHOTOS,)),
    "everyway": (Everyway, (draw(3, 6),)),
    "smooth": (Smooth, (draw(3, 6),)),
}


# The rule.


@pytest.mark.parametrize("net", NETS)
def test_the_ruleset_hands_on_guided_gradients(explain, guided, net):
    factory, inputs = NETS[net]
    model = built(factory)
    found = values(explain(model, inputs[0], "lrp", rules=GUIDED, target=TARGETS))
    same(found, guided(model, inputs, TARGETS)[0])
    assert (found != 0).any()


def test_a_relu_that_runs_twice_is_guided_twice(explain, guided):
    model, x = built(Reused), draw(3, 4)
    found = values(explain(model, x, "lrp", rules=GUIDED, target=1))
    same(found, guided(model, (x,), [1, 1, 1])[0])
    assert not torch.allclose(found, plain(model, (x,), [1, 1, 1])[0])


def test_what_comes_out_is_a_gradient_and_no_product_with_the_input(explain, guided):
    model = built(mlp)
    x = draw(3, 6)
    x[:, 2] = 0
    found = values(explain(model, x, "lrp", rules=GUIDED, target=0))
    same(found, guided(model, (x,), [0, 0, 0])[0])
    assert (found[:, 2] != 0).any()


@pytest.mark.parametrize("layer", ["1", "3", "6", "9"])
def test_at_a_layer_it_is_the_guided_gradient_of_what_is_above(explain, guided, layer):
    model = built(cnn)
    cut = int(layer) + 1
    with torch.no_grad():
        value = model[:cut](IMAGES)
    found = values(explain(model, IMAGES, "lrp", rules=GUIDED, layer=layer, target=TARGETS))
    same(found, guided(model[cut:], (value,), TARGETS)[0])


def test_at_several_layers_and_of_a_neuron(explain, guided):
    model = built(cnn)
    together = explain(model, IMAGES, "lrp", rules=GUIDED, layer=["1", "6"], target=1).values
    for layer in ("1", "6"):
        same(together[layer], values(explain(model, IMAGES, "lrp", rules=GUIDED, layer=layer, target=1)))
    found = values(explain(model, IMAGES, "lrp", rules=GUIDED, layer="10", neuron=4))
    same(found, guided(model[:11], (IMAGES,), [4, 4, 4])[0])


def test_a_model_without_relu_has_its_own_gradient(explain):
    model, (a, b) = built(TwoInputs), (draw(2, 4), draw(2, 2, 3))
    found = values(explain(model, (a, b), "lrp", rules=GUIDED, target=0))
    for one, other in zip(found, plain(model, (a, b), [0, 0]), strict=True):
        same(one, other)


def test_propagate_gives_the_objective_and_the_guided_gradient(explain, guided):
    seen = []

    @attrkit.method("watched_guided", backward_passes="1")
    def watched(problem):
        value, gradient = problem.propagate(GUIDED)
        seen.append(value)
        return gradient

    model = built(Residual)
    found = values(explain(model, PHOTOS, watched, target=2))
    same(found, guided(model, (PHOTOS,), [2, 2, 2])[0])
    assert torch.equal(seen[0], model(PHOTOS)[:, 2].detach())


def test_the_report_says_which_operations_are_guided(explain):
    report = explain(built(Residual), PHOTOS, "lrp", rules=GUIDED, target=0).rules
    relus = [r for r in report if r["operation"] == "relu"]
    assert [r["path"] for r in relus] == ["relu", "block1", "block1", "block2", "block2"]
    assert {r["rule"] for r in relus} == {"guided"}
    assert {r["rule"] for r in report if r["operation"] != "relu"} == {"own gradient"}


@pytest.mark.parametrize("operation", ["tanh", "leaky_relu"])
def test_other_activations_are_guided_where_a_ruleset_says_so(explain, operation):
    model = built(
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh() if operation == "tanh" else nn.LeakyReLU(0.2), nn.Linear(5, 2))
    )
    x = draw(3, 4)
    rules = ruleset(entry({"op": operation}, "guided"), fallback={"linear": "gradient", "nonlinear": "gradient"})
    found = values(explain(model, x, "lrp", rules=rules, target=1))
    z = model[0](x).detach()
    slope = 1 - torch.tanh(z) ** 2 if operation == "tanh" else torch.where(z > 0, 1.0, 0.2).double()
    expected = (model[2].weight[1].clamp(min=0) * slope) @ model[0].weight
    same(found, expected.detach())


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("epsilon", "guided", "rule 'guided' carries gradient, but 'epsilon' above carries relevance; have rules of one kind"),
        ("guided", "epsilon", "rule 'epsilon' carries relevance, but 'guided' above carries gradient; have rules of one kind"),
    ],
)
def test_a_ruleset_of_both_kinds_is_refused_with_file_and_line(explain, tmp_path, first, second, said):
    file = tmp_path / "mixed.yaml"
    op = {"epsilon": "linear_like", "guided": "relu"}
    file.write_text(
        "schema: attrkit/ruleset@1\n"
        "name: mixed\n"
        "rules:\n"
        f"  - {{id: a, match: {{op: {op[first]}}}, rule: {first}}}\n"
        f"  - {{id: b, match: {{op: {op[second]}}}, rule: {second}}}\n"
        "fallback: {linear: gradient, nonlinear: gradient, unknown: gradient}\n"
    )
    with pytest.raises(RulesetError, match=said) as caught:
        explain(built(mlp), draw(2, 6), "lrp", rules=str(file), target=0)
    assert f"{file}:5:" in str(caught.value)
    with pytest.raises(RulesetError, match=said):
        explain(built(mlp), draw(2, 6), "lrp", rules=str(file), target=0, layer="1")


def test_a_rule_of_a_third_party_may_carry_gradients(explain):
    @rule("deconvolution", operations={"activation"}, carries="gradient")
    def deconvolution(step, gradient):
        return gradient.clamp(min=0)

    registry.register(deconvolution)
    try:
        model, x = built(lambda: mlp(bias=False)), draw(3, 6)
        rules = ruleset(entry({"op": "relu"}, "deconvolution"), fallback={"linear": "gradient", "unknown": "gradient"})
        found = values(explain(model, x, "lrp", rules=rules, target=1))
        upper = model[4].weight[1].clamp(min=0) @ model[2].weight
        same(found, (upper.clamp(min=0) @ model[0].weight).detach().expand(3, 6))
    finally:
        registry._forget("deconvolution")


class Attending(nn.Module):
    """A layer of a transformer, whose feed-forward part has a ReLU."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


def test_inside_a_transformer(explain, guided):
    model, x = built(Attending), draw(3, 5, 4)
    found = values(explain(model, x, "lrp", rules=GUIDED, target=TARGETS))
    same(found, guided(model, (x,), TARGETS)[0])
    assert not torch.allclose(found, plain(model, (x,), TARGETS)[0])


def test_no_delta_is_given_for_gradients_that_add_up_to_nothing(explain):
    assert explain(built(mlp), draw(3, 6), "lrp", rules=GUIDED, target=0).delta is None


# Guided Grad-CAM.


@pytest.mark.parametrize("layer", ["0", "1", "3", "6"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_guided_grad_cam_is_the_map_times_the_guided_gradient(explain, guided, layer, batch_norm):
    model = built(lambda: cnn(batch_norm=batch_norm))
    found = values(explain(model, IMAGES, "guided_grad_cam", layer=layer, target=TARGETS))
    seen = mapped(model, model.get_submodule(layer), (IMAGES,), TARGETS)
    expected = guided(model, (IMAGES,), TARGETS)[0] * F.interpolate(seen, (8, 8))
    same(found, expected)
    assert (found != 0).any()


@pytest.mark.parametrize("layer", ["bn", "block1", "block1.conv2", "block2.bn2"])
def test_guided_grad_cam_where_relu_is_functional_and_in_place(attribute, guided, layer):
    model = built(Residual)
    place = model.get_submodule(layer)
    found = attribute("GuidedGradCam", model, place)(PHOTOS, TARGETS)
    same(found, guided(model, (PHOTOS,), TARGETS)[0] * F.interpolate(mapped(model, place, (PHOTOS,), TARGETS), (8, 8)))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_the_map_is_resized_as_torch_does(attribute, guided, mode):
    model = built(cnn)
    found = attribute("GuidedGradCam", model, model[7])(IMAGES, 1, interpolate_mode=mode)
    seen = F.interpolate(mapped(model, model[7], (IMAGES,), [1, 1, 1]), (8, 8), mode=mode)
    same(found, guided(model, (IMAGES,), [1, 1, 1])[0] * seen)


def test_a_signal_has_a_map_of_one_dimension(attribute):
    model = built(lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)))
    x = draw(2, 2, 10)
    for mode in ("nearest", "linear"):
        assert attribute("GuidedGradCam", model, model[1])(x, 0, interpolate_mode=mode).shape == x.shape
    with pytest.raises(UsageError, match="interpolate_mode 'bilinear' is not for maps of 1 dimensions; use 'nearest'"):
        attribute("GuidedGradCam", model, model[1])(x, 0, interpolate_mode="bilinear")


@pytest.mark.parametrize("mode", ["cubic", "", "Nearest"])
def test_a_mode_that_does_not_exist(attribute, mode):
    model = built(cnn)
    with pytest.raises(UsageError, match="interpolate_mode must be one of nearest, nearest-exact, linear, bilinear, bicubic"):
        attribute("GuidedGradCam", model, model[3])(IMAGES, 1, interpolate_mode=mode)


@pytest.mark.parametrize("mode", ["linear", "trilinear"])
def test_a_mode_for_another_number_of_dimensions(attribute, mode):
    model = built(cnn)
    with pytest.raises(UsageError, match=f"interpolate_mode '{mode}' is not for maps of 2 dimensions; use 'nearest'"):
        attribute("GuidedGradCam", model, model[3])(IMAGES, 1, interpolate_mode=mode)


def test_a_layer_without_places(attribute):
    model = built(cnn)
    with pytest.raises(UsageError, match=r"needs one tensor of shape \(batch, channels, places ...\), got \[\(3, 6\)\]"):
        attribute("GuidedGradCam", model, model[10])(IMAGES, 1)


class Captioned(nn.Module):
    """An image, and a vector that joins it after the convolution; the one with other places than the layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.words = nn.Linear(5, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, image, words):
        return self.head(self.relu(self.conv(image)).mean((2, 3)) + F.relu(self.words(words)))


def test_an_input_of_other_places_gets_zeros_and_a_warning(attribute, guided):
    model, inputs = built(Captioned), (IMAGES, draw(3, 5))
    with pytest.warns(AttrkitWarning, match=r"inputs\[1\] of shape \(3, 5\) has other places than the layer: its attr"):
        of_image, of_words = attribute("GuidedGradCam", model, model.relu)(inputs, 1)
    seen = mapped(model, model.relu, inputs, [1, 1, 1])
    same(of_image, guided(model, inputs, [1, 1, 1])[0] * F.interpolate(seen, (8, 8)))
    assert torch.equal(of_words, torch.zeros(3, 5, dtype=torch.float64))


def test_two_images_of_different_sizes_get_a_map_of_their_own_size(attribute, guided):
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Linear(3, 2)

        def forward(self, a, b):
            a, b = F.relu(self.conv(a)), F.relu(self.conv(b))
            return self.head(self.relu(a + F.interpolate(b, a.shape[2:])).mean((2, 3)))

    model, inputs = built(Twins), (IMAGES, draw(3, 2, 4, 4, seed=5))
    found = attribute("GuidedGradCam", model, model.relu)(inputs, 0)
    seen, gradients = mapped(model, model.relu, inputs, [0, 0, 0]), guided(model, inputs, [0, 0, 0])
    for one, gradient in zip(found, gradients, strict=True):
        same(one, gradient * F.interpolate(seen, one.shape[2:]))


@pytest.mark.parametrize("into", [False, True], ids=["output", "input"])
def test_the_map_may_be_of_what_goes_into_the_layer(attribute, guided, into):
    model = built(cnn)
    found = attribute("GuidedGradCam", model, model[4])(IMAGES, 1, attribute_to_layer_input=into)
    seen = mapped(model, model[4], (IMAGES,), [1, 1, 1], into)
    same(found, guided(model, (IMAGES,), [1, 1, 1])[0] * F.interpolate(seen, (8, 8)))


def test_of_a_layer_that_runs_twice_one_call_is_chosen(explain, guided):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3), nn.ReLU()
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))

    model = built(Twice)
    with pytest.raises(UsageError, match=r"needs one tensor .*, got \[\(3, 3, 8, 8\), \(3, 3, 6, 6\)\]"):
        explain(model, IMAGES, "guided_grad_cam", layer="relu", target=0)
    gradient = guided(model, (IMAGES,), [0, 0, 0])[0]
    value = F.relu(model.first(IMAGES)).detach().requires_grad_()
    upper = model.head(F.relu(model.second(value)).mean((2, 3)))[:, 0].sum()
    weight = torch.autograd.grad(upper, value)[0].mean((2, 3), keepdim=True)
    found = values(explain(model, IMAGES, "guided_grad_cam", layer="relu@0", target=0))
    same(found, (gradient * (weight * value).sum(1, keepdim=True).clamp(min=0)).detach())
    found = values(explain(model, IMAGES, "guided_grad_cam", layer=attrkit.Call(model.relu, 1), target=0))
    value = F.relu(model.second(F.relu(model.first(IMAGES)))).detach()
    seen = (model.head.weight[0].reshape(1, 3, 1, 1) / 36 * value).sum(1, keepdim=True).clamp(min=0)
    same(found, (gradient * F.interpolate(seen, (8, 8))).detach())


def test_it_costs_two_passes_and_keeps_the_input_s_names_and_shapes(explain):
    found = explain(built(cnn), {"input": IMAGES}, "guided_grad_cam", layer="3", target=0)
    assert list(found.values) == ["input"]
    assert found.values["input"].shape == IMAGES.shape
    assert found.passes == {"forward": 2, "backward": 2}


def test_an_example_is_explained_alone_as_in_a_batch(explain):
    model = built(Residual)
    together = values(explain(model, PHOTOS, "guided_grad_cam", layer="block1", target=TARGETS))
    for i, target in enumerate(TARGETS):
        same(values(explain(model, PHOTOS[i : i + 1], "guided_grad_cam", layer="block1", target=target)), together[i : i + 1])
    for rows in (1, 2):
        same(
            values(explain(model, PHOTOS, "guided_grad_cam", layer="block1", target=TARGETS, internal_batch_size=rows)),
            together,
        )


def test_nothing_is_left_behind_where_it_is_refused(explain):
    with pytest.raises(UsageError, match="no gradient can be taken"):
        explain(built(Tokens), torch.tensor([[1, 2, 3, 4]]), "guided_grad_cam", layer="relu", target=0)


# Captum.


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="captum is not installed: pip install 'attrkit[parity]'")


@pytest.mark.filterwarnings("ignore")  # of Captum's
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(("batch_norm", "layer"), [(False, 3), (False, 6), (True, 1), (True, 4)])
def test_guided_grad_cam_is_captum_s(attribute, captum, batch_norm, layer, mode):
    model = built(lambda: cnn(batch_norm=batch_norm))
    theirs = captum.GuidedGradCam(model, model[layer]).attribute(IMAGES.clone(), TARGETS, None, mode)
    same(attribute("GuidedGradCam", model, model[layer])(IMAGES, TARGETS, None, mode), theirs.detach(), 1e-9)


@pytest.mark.filterwarnings("ignore")
def test_guided_backprop_is_captum_s(explain, captum):
    for factory, x in ((cnn, IMAGES), (mlp, draw(3, 6))):
        model = built(factory)
        expected = captum.GuidedBackprop(model).attribute(x.clone(), TARGETS)
        same(values(explain(model, x, "lrp", rules=GUIDED, target=TARGETS)), expected.detach(), 1e-9)


@pytest.mark.filterwarnings("ignore")
def test_with_several_inputs_it_is_captum_s(attribute, captum):
    model, inputs = built(Captioned), (IMAGES, draw(3, 5))
    theirs = captum.GuidedGradCam(model, model.relu).attribute(tuple(t.clone() for t in inputs), 1)
    ours = attribute("GuidedGradCam", model, model.relu)(inputs, 1)
    same(ours[0], theirs[0].detach(), 1e-9)
