"""What users get wrong, and what they are told: the argument, what came, what was expected, what to do.

What test_inputs, test_places, test_maps and tests/core look at is not repeated here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import AttrkitWarning, ModelError, UnknownName, UsageError, UsageIndexError, UsageTypeError
from tests.plugins.models import Tokens, TwoInputs, built, draw, smooth_mlp

x = draw(3, 5, seed=1)
a, b = draw(3, 4, seed=2), draw(3, 2, 3, seed=3)
IDS = torch.tensor([[1, 2, 3]])

METHODS = ["saliency", "input_x_gradient", "integrated_gradients", "conductance", "internal_influence"]
PLACES = {"inputs": {}, "layer": {"layer": "2"}, "neuron": {"layer": "2", "neuron": 1}}
AGAINST = ["integrated_gradients", "conductance"]  # a baseline
SOME = ["saliency", "integrated_gradients"]  # they share no more than the runner
at_inputs = pytest.mark.parametrize("method", SOME)
at_layers = pytest.mark.parametrize("method", ["saliency", "internal_influence"])


class Idle(nn.Module):
    """A layer that never runs, one that passes on no tensor, and one that passes on a single number."""

    class Mean(nn.Module):
        def forward(self, v):
            return v.mean()

    class Names(nn.Module):
        def forward(self, v):
            return {"count": len(v)}

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.mean, self.names = nn.Linear(5, 2), nn.Linear(5, 2), self.Mean(), self.Names()

    def forward(self, x):
        self.names(x)
        return self.used(x) * self.mean(x)


class Again(nn.Module):
    """Runs its layer once more for each example that is not empty."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(5, 5)

    def forward(self, x):
        for _ in range(1 + int((x != 0).any(1).sum())):
            x = self.mix(x)
        return x


class Picks(nn.Module):
    """Passes on as many numbers as are positive."""

    def __init__(self):
        super().__init__()
        self.pick = nn.Identity()

    def forward(self, x):
        return self.pick(x[x > 0]).sum()[None]


@pytest.fixture(scope="module")
def model():
    return built(smooth_mlp)


def only(explanation):
    (values,) = explanation.values.values()
    return values


def refused(call, error, message):
    """A call that must raise ``error``, which callers of the established API catch too."""
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AssertionError)


# Inputs.

MISFITS = {
    "width": (x[:, :3], r"cannot be multiplied(.|\n)*input of shape \(3, 3\), torch.float64, on cpu; check inputs against"),
    "dtype": (x.float(), r"same dtype(.|\n)*input of shape \(3, 5\), torch.float32, on cpu; check inputs against"),
    "device": (x.to("meta"), r"device(.|\n)*input of shape \(3, 5\), torch.float64, on meta; check inputs against"),
}


@at_inputs
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("misfit", MISFITS)
def test_inputs_that_do_not_fit_the_model_are_described(explain, model, method, place, misfit):
    given, message = MISFITS[misfit]
    refused(lambda: explain(model, given, method, target=0, **PLACES[place]), ModelError, message)


@at_inputs
def test_inputs_of_another_rank_are_described_by_their_output(explain, model, method):
    refused(lambda: explain(model, x[None, None], method, target=0), UsageError, r"target 0 .* 3 dimensions \(1, 3, 3\)")


@at_inputs
def test_inputs_with_batches_that_differ_are_all_described(explain, method):
    message = r"must match(.|\n)*a of shape \(3, 4\), torch.float64, on cpu, b of shape \(2, 2, 3\)"
    refused(lambda: explain(built(TwoInputs), (a, b[:2]), method, target=0), ModelError, message)
    refused(lambda: explain(built(TwoInputs), {"a": a, "b": b[:2]}, method, target=0), ModelError, message)


def product(a, b):
    return (a**2 * b**3).sum(1)


@pytest.mark.parametrize(("method", "options"), [("saliency", {"abs": False}), ("integrated_gradients", {})])
def test_an_input_that_the_model_broadcasts_is_explained_as_if_it_were_expanded(explain, method, options):
    row = draw(1, 4, seed=4)
    of_all, of_row = explain(product, (a, row), method, **options).values.values()
    expected, of_rows = explain(product, (a, row.expand(3, 4)), method, **options).values.values()
    assert of_row.shape == (1, 4)
    torch.testing.assert_close(of_all, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(of_row, of_rows.sum(0, keepdim=True), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS[:4])
def test_no_gradient_at_booleans(explain, model, method):
    at = "at which no gradient can be taken; attribute to a layer"
    between = "and the model does not take the torch.float32 between it and the baseline; attribute to a layer"
    message = f"inputs: 'input' has dtype torch.bool, {between if method in AGAINST else at}"
    refused(lambda: explain(model, x > 0, method, target=0), UsageTypeError, message)


@pytest.mark.parametrize("method", ["integrated_gradients", "conductance"])
def test_booleans_on_a_path_are_floats(explain, model, method):
    def forward(x):
        return model(x.double())

    found, same = (only(explain(forward, given, method, target=0)) for given in (x > 0, (x > 0).float()))
    torch.testing.assert_close(found, same)


WRONG_INPUTS = [
    (TwoInputs, (a, torch.tensor(1.0)), UsageError, "inputs: 'b' is a single number; its first dimension must be the batch"),
    (
        TwoInputs,
        {},
        UsageTypeError,
        "inputs is a mapping without tensors beside masks; give the tensors to explain by argument name",
    ),
    (TwoInputs, {"a": 1, "b": None}, UsageTypeError, "inputs is a mapping without tensors beside masks"),
    (TwoInputs, (a, b.numpy()), UsageTypeError, r"inputs\[1\] must be a tensor, got ndarray; convert it with torch.as_tensor"),
    (TwoInputs, [a, b], UsageTypeError, "inputs must be a tensor, got list; give several tensors as a tuple"),
]  # fmt: skip


@at_inputs
@pytest.mark.parametrize(("factory", "inputs", "error", "message"), WRONG_INPUTS)
def test_inputs_of_the_wrong_kind(explain, method, factory, inputs, error, message):
    refused(lambda: explain(built(factory), inputs, method, target=0), error, message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": a, "bb": b}, "unexpected keyword argument 'bb'"),
        ({"a": a}, "missing 1 required positional argument: 'b'"),
        ((a, b, 1.0 * a, b), "takes from 3 to 4 positional arguments but 5 were given"),
    ],
    ids=["unknown", "missing", "too many"],
)
def test_arguments_that_the_model_does_not_have_are_named(explain, inputs, message):
    for method in METHODS[:4]:
        with pytest.raises(TypeError, match=message):
            explain(built(TwoInputs), inputs, method, target=0)


def test_a_class_of_attr_does_not_drop_what_a_mapping_holds():
    found = attrkit.attr.Saliency(built(TwoInputs)).attribute({"a": a, "b": b}, target=0)
    assert {name: tuple(t.shape) for name, t in found.items()} == {"a": (3, 4), "b": (3, 2, 3)}


# The model.


def test_a_class_in_place_of_a_model(explain):
    refused(lambda: explain(nn.Linear, x, "saliency", target=0), UsageTypeError, "model must be .*, got the class Linear; make")


@at_inputs
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda y: None, "the model returned NoneType with 0 tensors, of which attrkit cannot choose one; pass a function"),
        (lambda y: "cat", "the model returned str with 0 tensors"),
        (lambda y: [y, y], "the model returned list with 2 tensors, of which .* like: lambda x: model"),
        (lambda y: {"first": y, "second": y}, "the model returned dict with 2 tensors"),
    ],
    ids=["None", "string", "list", "dict"],
)
def test_what_a_model_may_not_return(explain, model, method, output, message):
    refused(lambda: explain(lambda x: output(model(x)), x, method, target=0), UsageTypeError, message)


NOT_DIFFERENTIABLE = {
    "argmax": (lambda y: y.argmax(1), None),
    "boolean": (lambda y: y > 0, 0),
    "detached": (lambda y: y.detach(), 0),
    "a number of Python": (lambda y: float(y.detach().sum()), None),
}


def under_no_grad(model):
    @torch.no_grad()
    def forward(x):
        return model(x)

    return forward


@at_inputs
@pytest.mark.parametrize("output", NOT_DIFFERENTIABLE)
def test_an_output_that_cannot_be_differentiated_is_refused_with_a_way_out(explain, model, method, output):
    change, target = NOT_DIFFERENTIABLE[output]
    message = "output does not depend on the inputs in a way that torch can differentiate .* like feature_ablation"
    refused(lambda: explain(lambda x: change(model(x)), x, method, target=target), UsageError, message)
    refused(lambda: explain(under_no_grad(model), x, method, target=0), UsageError, message)


@pytest.mark.parametrize("output", ["argmax", "detached"])
@pytest.mark.parametrize("method", METHODS)
def test_an_output_that_cannot_be_differentiated_gives_zeros_at_a_layer_and_a_warning(model, method, output):
    change, target = NOT_DIFFERENTIABLE[output]
    with pytest.warns(AttrkitWarning) as caught:
        found = attrkit.explain(lambda x: change(model(x)), x, method, target=target, layer=model[2])
    message = "the objective does not depend on layer 'Linear' in a way that torch can differentiate: its attributions are 0"
    assert [str(w.message) for w in caught] == [message]
    assert found.warnings == (message,)
    assert torch.equal(only(found), torch.zeros(3, 6, dtype=torch.float64))


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "conductance"])
def test_a_neuron_that_cannot_be_differentiated(explain, model, method):
    of_output = "neuron: what is explained does not depend on the inputs in a way that torch can differentiate .detached"
    of_layer = "neuron: what the function returns does not depend on the layer's value, or is detached from it"
    refused(
        lambda: explain(model, x, method, target=0, layer="2", neuron=lambda v: v[:, 0].detach()),
        UsageError,
        of_layer if method == "conductance" else of_output,
    )


# Targets.


def matrix(x):
    """An output of shape (batch, 2, 5)."""
    return torch.stack([x, x**2], 1)


@at_inputs
@pytest.mark.parametrize(
    ("output", "target", "error", "message"),
    [
        (matrix, (1, 5), UsageError, r"target \(1, 5\) is out of range: the model returns \(2, 5\) numbers per example"),
        (matrix, (-3, 0), UsageError, r"target \(-3, 0\) is out of range"),
        (matrix, [(0, 0), (1, 4), (2, 0)], UsageError, r"target \[\[0, 0\], \[1, 4\], \[2, 0\]\] is out of range"),
        (matrix, 1, UsageError, r"target 1 has 1 indices, but after the batch the model's output has 2 dimensions \(2, 5\)"),
        (matrix, [0, 1, 0], UsageError, r"target \[0, 1, 0\] has 1 indices, .* has 2 dimensions \(2, 5\)"),
        (matrix, None, UsageError, r"target is missing: the model returns \(2, 5\) numbers per example; choose one by target="),
        (matrix, [(0, 0), (1, 1)], UsageError, "target has 2 entries for a batch of 3 examples; give one per example, or"),
        (matrix, "predicted", UsageError, r"'predicted' needs an output of shape \(batch, classes\), .* is \(3, 2, 5\)"),
        (lambda x: x.sum(1), "predicted", UsageError, r"'predicted' needs an output of shape \(batch, classes\), .* is \(3,\)"),
        (matrix, "logits", UsageTypeError, "target must be an int, .* 1-d integer tensor, got 'logits'"),
        (matrix, torch.zeros(3, 2, dtype=torch.int64), UsageTypeError, r"got a tensor of shape \(3, 2\) and torch.int64"),
        (matrix, [(0, 0), (1,), (0, 1)], UsageTypeError, "target must be an int, a tuple of ints, a list of ints or of tuples"),
        (matrix, lambda y: y[:, 0, 0], UsageTypeError, "target must be an int, .* got <function"),
        (matrix, {"class": 1}, UsageTypeError, "target must be an int, .* got {'class': 1}"),
        (lambda x: x.sum(), 0, UsageError, r"target 0 has 1 indices, .* has 0 dimensions \(\); leave target out"),
        (lambda x: x.sum(1), 0, UsageError, "; leave target out"),
    ],
)
def test_targets_that_do_not_fit(explain, method, output, target, error, message):
    refused(lambda: explain(output, x, method, target=target), error, message)


@pytest.mark.parametrize("target", [[np.int64(0), np.int64(2), np.int64(1)], np.array([0, 2, 1])], ids=["list", "array"])
def test_numpy_s_integers_are_targets(explain, model, target):
    same = attrkit.explain(model, x, "saliency", target=[0, 2, 1])
    assert torch.equal(only(explain(model, x, "saliency", target=target)), only(same))


# Layers.


@at_layers
@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("idle", UsageError, "layer 'idle' never ran in the model's forward pass; choose one that does"),
        (["used", "idle"], UsageError, "layer 'idle' never ran in the model's forward pass"),
        ("use", UnknownName, "the model has no layer 'use'. Did you mean 'used'.* Layers: used, idle, mean, names"),
        (["used", "idel"], UnknownName, "the model has no layer 'idel'. Did you mean 'idle'"),
        (["used", 3], UsageTypeError, "layer must be a module or the path of one, like 'encoder.3', got int"),
        (nn.Sequential(), UnknownName, "layer Sequential is not a module of the model Idle; pass one of its submodules"),
    ],
)
def test_layers_that_are_not_there(explain, method, layer, error, message):
    refused(lambda: explain(built(Idle), x, method, target=0, layer=layer), error, message)


@pytest.mark.parametrize("method", ["saliency", "conductance"])
def test_a_neuron_of_a_layer_that_never_runs(explain, method):
    message = "layer 'idle' never ran in the model's forward pass; choose one that does"
    refused(lambda: explain(built(Idle), x, method, target=0, layer="idle", neuron=0), UsageError, message)


@at_layers
def test_a_module_of_another_model_never_runs_in_a_function(explain, model, method):
    other = nn.Linear(5, 3)
    refused(
        lambda: explain(lambda x: model(x), x, method, target=0, layer=other),
        UsageError,
        "layer 'Linear' never ran in the model's forward pass; choose one that does",
    )


@pytest.mark.parametrize("neuron", [{}, {"neuron": 0}], ids=["inputs", "neuron"])
def test_internal_influence_is_of_layers(explain, model, neuron):
    where = "neuron" if neuron else "input"
    refused(
        lambda: explain(model, x, "internal_influence", target=0, **({"layer": "2", **neuron} if neuron else {})),
        UsageError,
        f"method 'internal_influence' attributes to layer, not to {where}; choose another method or place",
    )


def test_an_empty_list_of_layers(model):
    message = "layer: an empty list names no layer; give at least one, or leave it out"
    refused(lambda: attrkit.explain(model, x, "saliency", target=0, layer=[]), UsageError, message)
    refused(lambda: attrkit.explain(model, x, "saliency", target=0, layer=[], neuron=0), UsageError, message)
    message = "layer: LayerSaliency was given an empty list; give at least one"
    refused(lambda: attrkit.attr.LayerSaliency(model, []).attribute(x, target=0), UsageError, message)


def test_a_layer_that_is_named_twice(explain, model):
    message = "layer: one of the layers is named twice; name each once"
    refused(lambda: explain(model, x, "conductance", target=0, layer=["2", "2"]), UsageError, message)


@at_layers
@pytest.mark.parametrize("neuron", [{}, {"neuron": 0}], ids=["layer", "neuron"])
def test_a_layer_that_passes_on_no_tensor(explain, method, neuron):
    method = "conductance" if neuron and method == "internal_influence" else method
    message = "layer 'names' passes on no tensor; choose one that does"
    refused(lambda: explain(built(Idle), x, method, target=0, layer="names", **neuron), UsageError, message)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "conductance", "internal_influence"])
def test_a_layer_that_passes_on_one_number(explain, method):
    try:
        found = explain(built(Idle), x, method, target=0, layer="mean")
    except UsageError:
        return  # to refuse it would be fine too
    assert only(found).shape == ()


def test_the_input_of_no_layer(explain, model):
    refused(
        lambda: explain(model, x, "saliency", target=0, attribute_to_layer_input=True),
        UsageError,
        "attribute_to_layer_input needs layer=, the layer whose input it is",
    )


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("saliency", "layer embedding: its value has dtype torch.int64, at which no gradient can be taken; attribute to what"),
        ("integrated_gradients", "torch.int64"),
        ("conductance", "'ids' has dtype torch.int64, and the model does not take the torch.float32 between it and"),
    ],
)
def test_integers_that_go_into_a_layer(explain, method, message):
    refused(
        lambda: explain(built(Tokens), IDS, method, target=0, layer="embedding", attribute_to_layer_input=True),
        UsageTypeError,
        message,
    )


CHANGING = "for the baseline, which cannot be compared; choose another layer, one call of it"


@pytest.mark.parametrize("method", ["integrated_gradients", "conductance"])
def test_a_layer_that_runs_more_often_for_the_inputs_than_for_the_baseline(explain, method):
    shapes = ", ".join([r"\(3, 5\)"] * 4)
    message = rf"layer: its value has shapes \[{shapes}\] for the inputs and \[\(3, 5\)\] {CHANGING}"
    refused(lambda: explain(built(Again), x, method, target=0, layer="mix", internal_batch_size=3), UsageError, message)


@pytest.mark.parametrize("method", ["integrated_gradients", "conductance", "internal_influence"])
def test_a_layer_whose_shape_changes_with_the_values(explain, method):
    point = torch.tensor([[1.0, 1, -1], [1, -1, -1]], dtype=torch.float64)
    message = rf"layer: its value has shapes \[\(3,\)\] for the inputs and \[\(6,\)\] {CHANGING}"
    if method == "internal_influence":
        message = "layer"  # it compares none with the baseline
    refused(lambda: explain(built(Picks), point, method, layer="pick", baselines=1, internal_batch_size=2), UsageError, message)


# Neurons.


@at_inputs
@pytest.mark.parametrize(
    ("neuron", "error", "message"),
    [
        ((), UsageError, r"neuron \(\) must index each of the dimensions \(6,\) of layer '2'"),
        ((0, 0), UsageError, r"neuron \(0, 0\) must index each of the dimensions \(6,\) of layer '2'"),
        ([1], UsageTypeError, r"neuron must be an integer, a tuple of integers or slices, or a function, got \[1\]"),
        ((...,), UsageTypeError, r"neuron must be an integer, .* got \(Ellipsis,\)"),
        (torch.tensor(1), UsageTypeError, r"neuron must be an integer, .* got tensor\(1\)"),
        (lambda v: v[:2, 0], UsageError, r"neuron: the function must return one number per example, shape \(3,\), got \(2,\)"),
        (lambda v: None, UsageError, "neuron: the function must return one number per example, .* got NoneType"),
        ((slice(6, 9),), UsageError, r"neuron .* picks nothing of layer '2', of shape \(6,\) per example"),
        ((slice(3, 3),), UsageError, r"neuron \(slice\(3, 3, None\),\) .*shape \(6,\) per example"),
    ],
)
def test_what_picks_no_neuron_of_a_vector(explain, model, method, neuron, error, message):
    refused(lambda: explain(model, x, method, target=0, layer="2", neuron=neuron), error, message)


def test_a_neuron_is_in_one_layer(explain, model):
    message = "neuron needs layer=, the one layer that it is in; got 2 layers"
    refused(lambda: explain(model, x, "saliency", target=0, layer=["2", "1"], neuron=0), UsageError, message)


@pytest.mark.parametrize("name", ["NeuronGradient", "NeuronIntegratedGradients", "NeuronConductance"])
def test_no_neuron_for_a_class_that_needs_one(attribute, model, name):
    more = {"target": 0} if name == "NeuronConductance" else {}
    message = "neuron_selector must be an integer, .* got None"
    refused(lambda: attribute(name, model, model[2])(x, None, **more), UsageTypeError, message)


def test_numpy_s_integers_pick_neurons(explain, model):
    found = explain(model, x, "saliency", layer="2", neuron=np.int64(1))
    assert torch.equal(only(found), only(explain(model, x, "saliency", layer="2", neuron=1)))


# Baselines.


@pytest.mark.parametrize("method", AGAINST)
@pytest.mark.parametrize(
    ("baselines", "error", "message"),
    [
        (a, UsageIndexError, "baselines has 1 entries, but the input has 2 tensors; give one baseline for each"),
        ((0, 0, 0), UsageIndexError, "baselines has 3 entries, but the input has 2 tensors; give one baseline for each"),
        (
            (0, b[:, :1]),
            UsageError,
            r"baselines\[1\] has shape \(3, 1, 3\), .* shape \(3, 2, 3\); give that shape, one example",
        ),
        ((0, b[:2]), UsageError, r"baselines\[1\] has shape \(2, 2, 3\), .* give .* \(\(1, 2, 3\)\), or a number"),
        ((a.numpy(), 0), UsageTypeError, r"baselines\[0\] must be a number or a tensor, got ndarray"),
        ((0, (1, 2)), UsageTypeError, r"baselines\[1\] must be a number or a tensor, got tuple"),
        ((0, None), UsageTypeError, r"baselines\[1\] must be a number or a tensor, got NoneType"),
        ({"bb": 0}, UsageError, "baselines has an entry 'bb', which is no input that is explained; those are: a, b"),
        ({"b": b[:2]}, UsageError, r"baselines\[(1|'b')\] has shape \(2, 2, 3\)"),
    ],
)
def test_baselines_of_two_inputs(explain, method, baselines, error, message):
    refused(lambda: explain(built(TwoInputs), (a, b), method, target=0, baselines=baselines), error, message)


@pytest.mark.parametrize("method", [*AGAINST, "internal_influence"])
def test_the_baseline_of_a_layer_is_one_of_the_inputs(explain, model, method):
    message = r"baselines has shape \(3, 6\), but the input has shape \(3, 5\); give that shape, one example of it"
    refused(lambda: explain(model, x, method, target=0, layer="2", baselines=draw(3, 6)), UsageError, message)


@pytest.mark.parametrize("method", AGAINST)
def test_a_number_of_numpy_is_a_baseline(explain, model, method):
    found, same = (explain(model, x, method, target=0, baselines=value) for value in (np.float32(0.5), 0.5))
    torch.testing.assert_close(only(found), only(same), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", AGAINST)
@pytest.mark.parametrize("inputs", [(a, b), {"b": b, "a": a}], ids=["tuple", "mapping"])
def test_baselines_by_name_leave_the_other_inputs_at_their_own_values(explain, method, inputs):
    found = explain(built(TwoInputs), inputs, method, target=0, baselines={"a": 0.5})
    expected = explain(built(TwoInputs), (a, b), method, target=0, baselines=(0.5, b))
    torch.testing.assert_close(found.values["a"], expected.values["a"], rtol=1e-12, atol=1e-12)
    assert (found.values["b"] == 0).all()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("method", METHODS[:2])
def test_baselines_of_a_method_that_has_none(explain, model, method, place):
    message = f"method '{method}' takes no baselines"
    refused(lambda: explain(model, x, method, target=0, baselines=0, **place), UsageError, message)


def test_a_convergence_delta_of_parts_that_do_not_fit(model):
    delta = attrkit.attr.IntegratedGradients(model).compute_convergence_delta
    refused(
        lambda: delta(x[:2], x, x, target=0), UsageError, r"attributions and end_point must have one batch, got \[3, 2\] rows"
    )


def test_the_start_of_a_convergence_delta_is_called_as_it_is(model):
    delta = attrkit.attr.IntegratedGradients(model).compute_convergence_delta
    refused(
        lambda: delta(x, x[:2], x, target=0), UsageError, r"start_point has shape \(2, 5\), but end_point has shape \(3, 5\)"
    )


# Options, and the other arguments.


@pytest.mark.parametrize(
    ("method", "given", "error", "message"),
    [
        ("saliency", {"abs": "yes"}, UsageTypeError, "abs must be bool, got 'yes'"),
        ("input_x_gradient", {"multiply_by_inputs": 1}, UsageTypeError, "multiply_by_inputs must be bool, got 1"),
        ("integrated_gradients", {"n_steps": None}, UsageError, "n_steps must be .*, got None"),
        ("conductance", {"n_steps": True}, UsageError, "n_steps must be .*, got True"),
        ("conductance", {"n_steps": 0}, UsageError, "n_steps must be an integer of at least 1 for gausslegendre, got 0"),
        (
            "integrated_gradients",
            {"options": {"method": "gauss"}},
            UnknownName,
            "'gauss' is no quadrature rule. Did you mean 'gausslegendre'",
        ),
        ("integrated_gradients", {"options": {"method": 3}}, UsageTypeError, "method must be str, got 3"),
        ("integrated_gradients", {"internal_batch_size": 2.5}, UsageError, "internal_batch_size must be an integer .* got 2.5"),
        ("integrated_gradients", {"internal_batch_size": -1}, UsageError, "internal_batch_size must be .* at least 1.* got -1"),
        ("integrated_gradients", {"internal_batch_size": "2"}, UsageError, "internal_batch_size must be .* got '2'"),
        ("saliency", {"seed": "a"}, UsageTypeError, "seed must be an integer, got 'a'"),
        ("saliency", {"tagret": 0}, UnknownName, "saliency has no option 'tagret'.*Its options: abs=True"),
        (None, {}, UsageTypeError, "method must be the name of a method or its declaration, got NoneType"),
        ("Saliency", {}, UnknownName, "no method 'Saliency'. Did you mean 'saliency'"),
        ("saliency", {"options": [3]}, UsageTypeError, "options must be a mapping of option names, got list"),
        ("integrated_gradients", {"internal_batch_size": True}, UsageError, "internal_batch_size must be an .* got True"),
    ],
)
def test_options_that_are_wrong(explain, model, method, given, error, message):
    refused(lambda: explain(model, x, method, target=0, **given), error, message)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "message"),
    [
        ("Saliency", (), {}, "Saliency.attribute: missing a required argument: 'inputs'; its parameters: inputs, target=None"),
        (
            "Saliency",
            (x, 0, True, None, 1, 2, 3, 4, 5),
            {},
            "Saliency.attribute: too many positional arguments; its parameters",
        ),
        ("Saliency", (x,), {"tagret": 0}, "Saliency.attribute has no parameter 'tagret'. Did you mean 'target'"),
        (
            "Saliency",
            (x, 0),
            {"return_convergence_delta": True},
            "Saliency.attribute has no parameter 'return_convergence_delta'",
        ),
        ("InputXGradient", (x, 0), {"baselines": 0}, "InputXGradient.attribute has no parameter 'baselines'"),
        ("IntegratedGradients", (x,), {"n_step": 3}, "IntegratedGradients.attribute has no parameter 'n_step'. Did you mean"),
        (
            "NeuronGradient",
            (x,),
            {},
            "NeuronGradient.attribute: missing a required argument: 'neuron_selector'; its parameters",
        ),
        ("NeuronGradient", (x, 1), {"neuron": 1}, "NeuronGradient.attribute has no parameter 'neuron'. Did you mean 'neuron_"),
        ("LayerConductance", (x,), {"layer": 1}, "LayerConductance.attribute has no parameter 'layer'"),
        ("InternalInfluence", (), {"input": x}, "InternalInfluence.attribute has no parameter 'input'. Did you mean 'inputs'"),
    ],
)
def test_calls_that_do_not_fit_a_class_s_signature(model, name, args, kwargs, message):
    place = (model[2],) if name.startswith(("Neuron", "Layer", "Internal")) else ()
    attribute = getattr(attrkit.attr, name)(model, *place).attribute
    refused(lambda: attribute(*args, **kwargs), UsageTypeError, message)


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda m: attrkit.attr.LayerSaliency(m), UsageTypeError, "LayerSaliency: missing a required argument: 'layer'"),
        (lambda m: attrkit.attr.LayerSaliency(m, None), UsageError, "LayerSaliency needs layer, a module of the model or its"),
        (lambda m: attrkit.attr.IntegratedGradients(), UsageTypeError, "missing a required argument: 'forward_func'"),
        (
            lambda m: attrkit.attr.IntegratedGradients(m, multiply_by_input=True),
            UsageTypeError,
            "no parameter 'multiply_by_input'. Did you mean 'multiply_by_inputs'",
        ),
        (
            lambda m: attrkit.attr.Saliency(3).attribute(x),
            UsageTypeError,
            "model must be a torch module or a function that returns its output, got int",
        ),
    ],
    ids=["layer", "no layer", "model", "misspelt", "no model"],
)
def test_constructions_that_are_wrong(model, construct, error, message):
    refused(lambda: construct(model), error, message)


def test_a_class_that_is_not_there_is_named_with_the_one_that_was_meant():
    with pytest.raises(AttributeError, match="no class 'IntegratedGradient'. Did you mean 'IntegratedGradients'"):
        _ = attrkit.attr.IntegratedGradient


@pytest.mark.parametrize("given", [{"foo": 1}, 3], ids=["unknown", "no mapping"])
def test_grad_kwargs_that_are_wrong(attribute, model, given):
    call = attribute("LayerGradientXActivation", model, model[2])
    message = "grad_kwargs must be a mapping of allow_unused, .* as of torch.autograd.grad, got"
    refused(lambda: call(x, 0, grad_kwargs=given), UsageTypeError, message)


# Results that are not finite.


@pytest.mark.parametrize(
    ("method", "place"), [(m, p) for m in METHODS for p in PLACES if m != "internal_influence" or p == "layer"]
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_attributions_that_are_not_finite_are_counted(model, method, place, value):
    point = x.clone()
    point[1] = value
    size = 6 if place == "layer" else 5
    with pytest.warns(AttrkitWarning, match=rf"{method}: \d+ of {3 * size} attributions are not finite") as caught:
        found = attrkit.explain(model, point, method, target=0, **PLACES[place])
    bad = int((~only(found).isfinite()).sum())
    assert found.warnings == (f"{method}: {bad} of {3 * size} attributions are not finite",)
    assert len(caught) == 1
    assert only(found)[[0, 2]].isfinite().all()


@pytest.mark.parametrize("method", AGAINST)
def test_a_baseline_that_is_not_finite_shows_in_the_warning(model, method):
    with pytest.warns(AttrkitWarning, match=f"{method}: 15 of 15 attributions are not finite"):
        attrkit.explain(model, x, method, target=0, baselines=float("nan"))


def test_a_division_by_zero_in_the_model_shows_in_the_warning():
    with pytest.warns(AttrkitWarning, match="saliency: 5 of 15 attributions are not finite"):
        attrkit.explain(lambda x: x.sum(1) / torch.tensor([1.0, 0.0, 2.0]), x, "saliency")
