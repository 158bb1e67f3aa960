"""What can be computed by hand: a linear form, a quadratic form and a product, seen from the inputs, a layer and a neuron."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.models import Polynomials, built, draw, smooth_mlp

FORMS = {"linear": 0, "quadratic": 1, "product": 2}
x, b = draw(5, 4, seed=1), draw(5, 4, seed=2)
TARGET = 1


@pytest.fixture(scope="module")
def model():
    return built(Polynomials)


@pytest.fixture(scope="module")
def known(model):
    """Gradients of the forms at x, and their averages on the straight path from b to x, each of shape (form, example, v)."""
    B = model.lower.weight.detach().T
    A, w = model.forms.A.detach(), model.forms.w.detach()
    v, u = x @ B, b @ B
    d = v - u
    others = [[1, 2], [0, 2], [0, 1]]

    def gradients(v):
        return torch.stack([w.expand_as(v), v @ (A + A.T), torch.stack([v[:, i] * v[:, j] for i, j in others], dim=1)])

    products = [u[:, i] * u[:, j] + (u[:, i] * d[:, j] + u[:, j] * d[:, i]) / 2 + d[:, i] * d[:, j] / 3 for i, j in others]
    average = torch.stack([w.expand_as(v), (u + v) / 2 @ (A + A.T), torch.stack(products, dim=1)])
    head = model.head.weight.detach()[TARGET]
    return {"B": B, "v": v, "u": u, "head": head, "gradient": gradients(v), "average": average}


def weighted(known, per_form):
    """Of the output: the forms' gradients, weighted by the head."""
    return torch.einsum("f,fbv->bv", known["head"], per_form)


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def only(explanation):
    (values,) = explanation.values.values()
    return values


@pytest.mark.parametrize("absolute", [True, False])
def test_saliency_of_inputs(explain, model, known, absolute):
    gradient = weighted(known, known["gradient"]) @ known["B"].T
    found = only(explain(model, x, "saliency", target=TARGET, abs=absolute))
    same(found, gradient.abs() if absolute else gradient)


def test_saliency_of_a_layer(explain, model, known):
    same(only(explain(model, x, "saliency", target=TARGET, layer="lower", abs=False)), weighted(known, known["gradient"]))


@pytest.mark.parametrize("form", FORMS)
def test_saliency_of_a_neuron(attribute, model, known, form):
    same(attribute("NeuronGradient", model, model.forms)(x, FORMS[form]), known["gradient"][FORMS[form]] @ known["B"].T)


def test_input_x_gradient(attribute, model, known):
    gradient = weighted(known, known["gradient"])
    same(attribute("InputXGradient", model)(x, TARGET), x * (gradient @ known["B"].T))
    same(attribute("LayerGradientXActivation", model, model.lower)(x, TARGET), known["v"] * gradient)
    same(attribute("LayerGradientXActivation", model, model.lower, multiply_by_inputs=False)(x, TARGET), gradient)


def test_integrated_gradients(attribute, model, known):
    average, change = weighted(known, known["average"]), known["v"] - known["u"]
    given = {"baselines": b, "target": TARGET, "n_steps": 2}  # two Gauss-Legendre points are exact up to degree three
    same(attribute("IntegratedGradients", model)(x, **given), (x - b) * (average @ known["B"].T))
    same(attribute("IntegratedGradients", model, multiply_by_inputs=False)(x, **given), average @ known["B"].T)
    same(attribute("LayerIntegratedGradients", model, model.lower)(x, **given), change * average)
    same(attribute("LayerIntegratedGradients", model, model.lower, multiply_by_inputs=False)(x, **given), average)


@pytest.mark.parametrize("form", FORMS)
def test_integrated_gradients_of_a_neuron(attribute, model, known, form):
    average = known["average"][FORMS[form]] @ known["B"].T
    given = {"baselines": b, "n_steps": 2}
    same(attribute("NeuronIntegratedGradients", model, model.forms)(x, FORMS[form], **given), (x - b) * average)
    plain = attribute("NeuronIntegratedGradients", model, model.forms, multiply_by_inputs=False)
    same(plain(x, FORMS[form], **given), average)


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_conductance_of_a_layer_under_a_linear_head_is_exact_at_any_number_of_steps(attribute, model, known, n_steps):
    with torch.no_grad():
        change = model.forms(known["v"]) - model.forms(known["u"])
    found = attribute("LayerConductance", model, model.forms)(x, b, TARGET, n_steps=n_steps)
    same(found, known["head"] * change)


def test_conductance_of_a_layer_converges_to_the_closed_form(attribute, model, known):
    exact = weighted(known, known["average"]) * (known["v"] - known["u"])
    errors = [
        (attribute("LayerConductance", model, model.lower)(x, b, TARGET, n_steps=n) - exact).abs().max() for n in (20, 40, 80)
    ]
    assert errors[1] < errors[0] / 3 < errors[0]
    assert errors[2] < errors[1] / 3
    assert errors[2] < 2e-3 * exact.abs().max()


@pytest.mark.parametrize(
    ("form", "n_steps", "tolerance"), [("linear", 2, 1e-12), ("quadratic", 2, 1e-12), ("product", 300, 1e-4)]
)
def test_conductance_of_a_neuron(attribute, model, known, form, n_steps, tolerance):
    average = known["head"][FORMS[form]] * known["average"][FORMS[form]] @ known["B"].T
    given = {"baselines": b, "target": TARGET, "n_steps": n_steps}
    same(attribute("NeuronConductance", model, model.forms)(x, FORMS[form], **given), (x - b) * average, tolerance)
    plain = attribute("NeuronConductance", model, model.forms, multiply_by_inputs=False)
    same(plain(x, FORMS[form], **given), average, tolerance)


def test_conductance_of_inputs_is_integrated_gradients_in_the_limit(explain, model, known):
    exact = (x - b) * (weighted(known, known["average"]) @ known["B"].T)
    same(only(explain(model, x, "conductance", baselines=b, target=TARGET, n_steps=400)), exact, 1e-4)


def test_the_gradient_is_that_of_finite_differences(attribute):
    model, step = built(lambda: smooth_mlp(4)), 1e-5
    shifted = torch.eye(4, dtype=torch.float64)[None] * step + x[:, None]
    with torch.no_grad():
        difference = (model(shifted) - model(2 * x[:, None] - shifted))[..., 2] / (2 * step)
    same(attribute("Saliency", model)(x, 2, abs=False), difference, 1e-8)
