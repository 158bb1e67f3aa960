"""What may be given: inputs, targets, baselines and further arguments in all their forms, and the errors about the others."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from attrkit.errors import AttrkitWarning, UnknownName, UsageError, UsageTypeError
from tests.plugins.models import Residual, Tokens, TwoInputs, built, draw, mlp, smooth_mlp

x = draw(3, 5, seed=1)

#: Each method with few steps; the class, and what every call is given.
METHODS = {
    "Saliency": {},
    "InputXGradient": {},
    "IntegratedGradients": {"n_steps": 3},
    "Conductance": {"n_steps": 3},
}
methods = pytest.mark.parametrize("name", METHODS)
comparing = pytest.mark.parametrize("name", ["IntegratedGradients", "Conductance"])


@pytest.fixture(scope="module")
def model():
    return built(smooth_mlp)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# Inputs.


@methods
def test_a_tensor_for_a_tensor_and_a_tuple_for_a_tuple(attribute, model, name):
    found, in_tuple = (attribute(name, model)(given, target=0, **METHODS[name]) for given in (x, (x,)))
    assert isinstance(found, torch.Tensor)
    assert isinstance(in_tuple, tuple)
    same(in_tuple, (found,))


@methods
def test_two_tensors_are_explained_as_the_parts_of_one(attribute, name):
    a, b = draw(3, 4, seed=1), draw(3, 2, 3, seed=2)
    model = built(TwoInputs)
    joined = attribute(name, lambda both: model(both[:, :4], both[:, 4:].unflatten(1, (2, 3))))
    expected = joined(torch.cat([a, b.flatten(1)], dim=1), target=1, **METHODS[name])
    found = attribute(name, model)((a, b), target=1, **METHODS[name])
    same(found, (expected[:, :4], expected[:, 4:].unflatten(1, (2, 3))))


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "conductance"])
def test_a_mapping_names_the_arguments_and_its_other_entries_go_along(explain, method):
    a, b, model = draw(3, 4, seed=1), draw(3, 2, 3, seed=2), built(TwoInputs)
    scale = torch.tensor([[1], [2], [3]])
    positional = explain(lambda a, b: model(a, b, scale[: len(a)].repeat(len(a) // 3, 1)), (a, b), method, target=0)
    by_name = explain(model, {"b": b, "scale": scale, "a": a}, method, target=0)
    assert list(by_name.values) == ["b", "a"]
    same(by_name.values["a"], positional.values["a"])
    same(by_name.values["b"], positional.values["b"])


@methods
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(attribute, name, dtype):
    found = attribute(name, built(smooth_mlp).to(dtype))(x.to(dtype), target=0, **METHODS[name])
    assert found.dtype is dtype


@methods
@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda f: f.__name__)
def test_the_caller_s_gradient_mode_and_tensors_do_not_matter(attribute, model, name, surroundings):
    expected = attribute(name, model)(x, target=0, **METHODS[name])
    with surroundings():
        given = x.clone()
        if not given.is_inference():
            given.requires_grad_()
        found = attribute(name, model)(given, target=0, **METHODS[name])
    same(found, expected)
    assert not found.requires_grad
    assert not found.is_inference()
    assert given.grad is None


@methods
def test_frozen_parameters_do_not_matter(attribute, model, name):
    expected = attribute(name, model)(x, target=0, **METHODS[name])
    same(attribute(name, built(smooth_mlp).requires_grad_(requires_grad=False))(x, target=0, **METHODS[name]), expected)


@methods
def test_an_input_that_the_model_does_not_use_gets_zeros(attribute, name):
    with pytest.warns(AttrkitWarning, match="does not depend on input 'b': its attributions are 0"):
        found = attribute(name, lambda a, b: (a**3).sum(1))((x, draw(3, 2, 2)), **METHODS[name])
    assert (found[0] != 0).all()
    assert torch.equal(found[1], torch.zeros(3, 2, 2, dtype=torch.float64))


@methods
def test_the_model_may_write_into_what_it_is_given(attribute, name):
    def in_place(x):
        return x.mul_(2).pow_(2).sum(1)

    same(attribute(name, in_place)(x, **METHODS[name]), attribute(name, lambda x: (2 * x).pow(2).sum(1))(x, **METHODS[name]))


@methods
@pytest.mark.parametrize(
    "wrap",
    [lambda m: m.forward, lambda m: lambda x: m(x), lambda m: functools.partial(m)],
    ids=["method", "function", "partial"],
)
def test_the_model_may_be_any_callable(attribute, name, wrap):
    model = built(Residual)
    images = draw(2, 3, 8, 8)
    expected = attribute(name, model)(images, target=1, **METHODS[name])
    same(attribute(name, wrap(model))(images, target=1, **METHODS[name]), expected)


# Further arguments.


@comparing
@pytest.mark.parametrize("rows", [None, 1, 2, 12])
def test_further_arguments_go_along_with_their_examples(attribute, name, rows):
    per_example, table, flags = torch.tensor([1.0, 2.0, 3.0]).double(), draw(2, 5, seed=4), ["a", "b"]
    seen = []

    def forward(x, scale, table, flags, number, nothing, zero_d):
        seen.append((len(x), len(scale), tuple(table.shape), flags, number, nothing, zero_d.dim()))
        return scale * (number * x**2 * table[0]).sum(1)

    given = {"additional_forward_args": (per_example, table, flags, 2.5, None, torch.tensor(7)), "internal_batch_size": rows}
    found = attribute(name, forward)(x, **METHODS[name], **given)
    same(found, per_example[:, None] * 2.5 * x**2 * table[0])
    assert {(a == b, *rest) for a, b, *rest in ((*s[:3], str(s[3]), *s[4:]) for s in seen)} == {
        (True, (2, 5), "['a', 'b']", 2.5, None, 0)
    }


@methods
def test_one_further_argument_needs_no_tuple(attribute, name):
    found = attribute(name, lambda x, scale: (scale[:, None] * x).sum(1))(x, additional_forward_args=x[:, 0], **METHODS[name])
    one = attribute(name, lambda x, scale: (scale[:, None] * x).sum(1))(x, additional_forward_args=(x[:, 0],), **METHODS[name])
    assert torch.equal(found, one)


# Targets.

TARGETS = {
    "int": (2, [2, 2, 2]),
    "negative": (-1, [2, 2, 2]),
    "tuple of one": ((1,), [1, 1, 1]),
    "tensor of one": (torch.tensor([1]), [1, 1, 1]),
    "tensor without dimensions": (torch.tensor(1), [1, 1, 1]),
    "tensor": (torch.tensor([2, 0, 1]), [2, 0, 1]),
    "int32 tensor": (torch.tensor([2, 0, 1], dtype=torch.int32), [2, 0, 1]),
    "list": ([0, 2, 2], [0, 2, 2]),
    "list of tuples": ([(0,), (2,), (1,)], [0, 2, 1]),
}


@pytest.mark.parametrize("target", TARGETS)
@methods
def test_targets_of_a_vector(attribute, model, name, target):
    given, chosen = TARGETS[target]
    expected = [attribute(name, model)(x[i : i + 1], target=t, **METHODS[name]) for i, t in enumerate(chosen)]
    same(attribute(name, model)(x, target=given, **METHODS[name]), torch.cat(expected))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [((1, 2), [(1, 2)] * 3), ([(0, 1), (1, 2), (0, 0)], [(0, 1), (1, 2), (0, 0)])],
    ids=["tuple", "list of tuples"],
)
@methods
def test_targets_of_a_matrix(attribute, name, given, chosen):
    model = built(lambda: nn.Sequential(smooth_mlp(outputs=6), nn.Unflatten(1, (2, 3))))
    expected = [attribute(name, model)(x[i : i + 1], target=t, **METHODS[name]) for i, t in enumerate(chosen)]
    same(attribute(name, model)(x, target=given, **METHODS[name]), torch.cat(expected))


@methods
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_no_target_where_the_model_returns_one_number_per_example(attribute, name, shape):
    found = attribute(name, lambda x: (x**2).sum(1).reshape(-1, *shape[1:]))(x, **METHODS[name])
    same(found[:, :1], attribute(name, lambda x: x**2)(x[:, :1], target=0, **METHODS[name]))


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "IntegratedGradients"])
def test_one_number_for_the_whole_batch_is_explained_as_their_sum(attribute, name, shape):
    found = attribute(name, lambda x: (x**2).sum().reshape(shape))(x, **METHODS[name])
    same(found, attribute(name, lambda x: (x**2).sum(1))(x, **METHODS[name]))


def test_the_predicted_class_may_be_the_target(explain, model):
    found = explain(model, x, "saliency", target="predicted")
    assert found.target == model(x).argmax(1).tolist()
    same(found.values["input"], explain(model, x, "saliency", target=found.target).values["input"])


def test_the_output_may_be_a_structure_with_one_tensor_or_logits(attribute, model):
    expected = attribute("Saliency", model)(x, 0)
    for wrap in (lambda y: (y,), lambda y: {"logits": y, "hidden": 2 * y}, lambda y: [y, None]):
        same(attribute("Saliency", lambda x, wrap=wrap: wrap(model(x)))(x, 0), expected)


# Baselines.

BASELINES = {
    "nothing": (None, torch.zeros(3, 5)),
    "int": (2, torch.full((3, 5), 2)),
    "float": (0.5, torch.full((3, 5), 0.5)),
    "tensor": (draw(3, 5, seed=8), draw(3, 5, seed=8)),
    "one row": (draw(1, 5, seed=8), draw(1, 5, seed=8).expand(3, 5)),
    "tuple": ((0.5,), torch.full((3, 5), 0.5)),
    "integers": (torch.ones(3, 5, dtype=torch.int64), torch.ones(3, 5)),
}


@comparing
@pytest.mark.parametrize("form", BASELINES)
def test_baselines(attribute, model, name, form):
    given, full = BASELINES[form]
    found, delta = attribute(name, model)(x, given, 0, return_convergence_delta=True, **METHODS[name])
    same(found, attribute(name, model)(x, full.double(), 0, **METHODS[name]))
    with torch.no_grad():
        same(delta, found.sum(1) - (model(x) - model(full.double()))[:, 0])


@comparing
def test_each_tensor_has_its_own_form_of_baseline(attribute, name):
    model, (a, b) = built(TwoInputs), (draw(3, 4, seed=1), draw(3, 2, 3, seed=2))
    found = attribute(name, model)((a, b), (0.5, b[:1]), 0, **METHODS[name])
    same(found, attribute(name, model)((a, b), (torch.full_like(a, 0.5), b[:1].expand_as(b)), 0, **METHODS[name]))


# Errors.


@pytest.mark.parametrize(
    ("inputs", "given", "error", "message"),
    [
        ([x], {}, UsageTypeError, "inputs must be a tensor, got list"),
        (x.numpy(), {}, UsageTypeError, "inputs must be a tensor, got ndarray; convert it with torch.as_tensor"),
        ((x, None), {}, UsageTypeError, r"inputs\[1\] must be a tensor, got NoneType"),
        ((), {}, UsageTypeError, "inputs is an empty tuple; give at least one tensor"),
        (torch.tensor(1.0), {}, UsageError, "'input' is a single number; its first dimension must be the batch"),
        (x, {}, UsageError, r"target is missing: the model returns \(3,\) numbers per example"),
        (x, {"target": 3}, UsageError, r"target 3 is out of range: the model returns \(3,\) numbers per example"),
        (x, {"target": -4}, UsageError, "target -4 is out of range"),
        (x, {"target": [0, 1, 3]}, UsageError, r"target \[0, 1, 3\] is out of range"),
        (x, {"target": (0, 1)}, UsageError, r"target \(0, 1\) has 2 indices, but .* 1 dimensions"),
        (x, {"target": [0, 1]}, UsageError, "target has 2 entries for a batch of 3 examples"),
        (x, {"target": torch.tensor([0, 1])}, UsageError, "target has 2 entries for a batch of 3 examples"),
        (x, {"target": "predicted"}, UsageTypeError, "target must be an int, a tuple of ints, .* got 'predicted'"),
        (x, {"target": 1.0}, UsageTypeError, "target must be an int, .* got 1.0"),
        (x, {"target": torch.tensor([0.0])}, UsageTypeError, r"got a tensor of shape \(1,\) and torch.float32"),
        (x, {"target": True}, UsageTypeError, "target must be an int, .* got True"),
        (x, {"target": 0, "baselines": draw(2, 5)}, UsageError, r"baselines has shape \(2, 5\), .* input has shape \(3, 5\)"),
        (x, {"target": 0, "baselines": draw(5)}, UsageError, r"baselines has shape \(5,\), but the input has shape \(3, 5\)"),
        (x, {"target": 0, "baselines": (0, 0)}, UsageError, "baselines has 2 entries, but the input has 1 tensors"),
        (x, {"target": 0, "baselines": "zero"}, UsageTypeError, "must be a number or a tensor, got str"),
        (x, {"target": 0, "internal_batch_size": 0}, UsageError, "internal_batch_size must be an integer .* 1.* got 0"),
        (x, {"target": 0, "n_step": 3}, UsageTypeError, "attribute has no parameter 'n_step'. Did you mean 'n_steps'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(attribute, model, inputs, given, error, message):
    with pytest.raises(error, match=message) as caught:
        attribute("IntegratedGradients", model)(inputs, **given)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize(
    ("method", "given", "error", "message"),
    [
        ("saliency", {"baselines": 0}, UsageError, "method 'saliency' takes no baselines"),
        ("saliency", {"n_steps": 3}, UnknownName, "saliency has no option 'n_steps'. Its options: abs=True"),
        ("conductance", {"n_stps": 3}, UnknownName, "conductance has no option 'n_stps'. Did you mean 'n_steps'"),
        ("salience", {}, UnknownName, "no method 'salience'. Did you mean 'saliency'"),
        ("saliency", {"neuron": 0}, UsageError, "neuron needs layer=, the one layer that it is in; got 0 layers"),
    ],
)
def test_what_is_wrong_is_said_by_explain(explain, model, method, given, error, message):
    with pytest.raises(error, match=message):
        explain(model, x, method, target=0, **given)


@methods
def test_an_output_that_cannot_be_differentiated_is_an_error(attribute, model, name):
    with pytest.raises(UsageError, match="output does not depend on the inputs in a way that torch can differentiate"):
        attribute(name, lambda x: model(x).detach())(x, target=0, **METHODS[name])


def test_an_output_of_several_tensors_is_an_error(attribute, model):
    with pytest.raises(
        UsageTypeError, match="the model returned tuple with 2 tensors, of which attrkit cannot choose one; pass a"
    ):
        attribute("Saliency", lambda x: (model(x), model(x)))(x, 0)


@methods
def test_an_exception_of_the_model_is_the_caller_s_and_leaves_nothing(attribute, name):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(5)

        def forward(self, x):
            self.net(x)
            message = "out of cheese"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="out of cheese"):
        attribute(name, built(Fails))(x, target=0, **METHODS[name])


@pytest.mark.parametrize("name", ["Saliency", "InputXGradient"])
def test_no_gradient_at_integers(attribute, name):
    with pytest.raises(UsageTypeError, match="'x' has dtype torch.int64, at which no gradient can be taken; .* layer"):
        attribute(name, lambda x: x.double().sum(1))(torch.tensor([[1, 2, 3]]))


@comparing
def test_integers_on_a_path_are_taken_as_floats(attribute, name):
    explained = attribute(name, lambda x: (x**2).sum(1))
    torch.testing.assert_close(explained(torch.tensor([[1, 2, 3]]), n_steps=4), torch.tensor([[1.0, 4.0, 9.0]]))
    found = explained(torch.tensor([[1, 2, 3]]), torch.tensor([[3, 0, 1]]), n_steps=4)
    torch.testing.assert_close(found, torch.tensor([[-8.0, 4.0, 8.0]]))


@comparing
def test_token_numbers_on_a_path_are_an_error_that_says_what_to_do(attribute, name):
    with pytest.raises(UsageTypeError, match="'ids' has dtype torch.int64.* layer"):
        attribute(name, built(Tokens))(torch.tensor([[1, 2, 3]]), target=0)


@methods
def test_answers_that_do_not_fit_the_batch_are_an_error(attribute, name):
    with pytest.raises(UsageError, match=r"\b2\b.*\b3\b"):
        attribute(name, lambda x: x[:2].sum(1))(x, **METHODS[name])


@methods
def test_a_batch_of_no_examples(attribute, model, name):
    assert attribute(name, model)(x[:0], target=0, **METHODS[name]).shape == (0, 5)
