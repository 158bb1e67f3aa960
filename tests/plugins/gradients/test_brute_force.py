"""Against the definitions written as loops: one example, one step, one gradient at a time."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
import torch
from torch.autograd import grad

from attrkit_gradients.quadrature import RULES, quadrature
from tests.plugins.models import Tokens, built, cnn, draw, smooth_mlp

MODELS = {"mlp": (smooth_mlp, (5,)), "cnn": (cnn, (2, 8, 8)), "batch_norm": (lambda: cnn(batch_norm=True), (2, 8, 8))}
SPLIT = 3  # the layer is the module before this position
TARGET = 2


@pytest.fixture(params=MODELS)
def case(request):
    factory, shape = MODELS[request.param]
    return built(factory), draw(3, *shape, seed=1), draw(3, *shape, seed=2)


def along(x, b, nodes):
    """Each point of the path for each example, as a batch of one, with the example's number."""
    for i in range(len(x)):
        yield i, [(b[i] + a * (x[i] - b[i]))[None].requires_grad_() for a in nodes]


@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients(attribute, case, rule):
    model, x, b = case
    nodes, weights = attrs.astuple(quadrature(rule, 5))
    expected = torch.zeros_like(x)
    for i, points in along(x, b, nodes):
        for point, w in zip(points, weights, strict=True):
            expected[i] += w * grad(model(point)[0, TARGET], point)[0][0] * (x[i] - b[i])
    found = attribute("IntegratedGradients", model)(x, b, TARGET, n_steps=5, method=rule)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["gausslegendre", "riemann_middle"])
def test_integrated_gradients_of_a_layer(attribute, case, rule):
    model, x, b = case
    lower, upper = model[:SPLIT], model[SPLIT:]
    nodes, weights = attrs.astuple(quadrature(rule, 4))
    v, u = lower(x).detach(), lower(b).detach()
    expected = torch.zeros_like(v)
    for i, points in along(v, u, nodes):
        for point, w in zip(points, weights, strict=True):
            expected[i] += w * grad(upper(point)[0, TARGET], point)[0][0] * (v[i] - u[i])
    found = attribute("LayerIntegratedGradients", model, model[SPLIT - 1])(x, b, TARGET, n_steps=4, method=rule)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["gausslegendre", "riemann_trapezoid"])
def test_conductance_of_a_layer(attribute, case, rule):
    model, x, b = case
    lower, upper = model[:SPLIT], model[SPLIT:]
    nodes = attrs.astuple(quadrature(rule, 4))[0]
    path = sorted({0.0, *nodes, 1.0})
    expected = torch.zeros_like(lower(x)).detach()
    for i, points in along(x, b, path):
        values = [lower(point).detach().requires_grad_() for point in points]
        gradients = [grad(upper(v)[0, TARGET], v)[0] for v in values]
        inner = [g for a, g in zip(path, gradients, strict=True) if a in nodes]  # gradients are taken at the nodes alone
        slopes = [*([inner[0]] * (path[0] not in nodes)), *inner, *([inner[-1]] * (path[-1] not in nodes))]
        for (v, w), (g, h) in zip(pairwise(values), pairwise(slopes), strict=True):
            expected[i] += ((g + h) / 2 * (w - v))[0].detach()
    found = attribute("LayerConductance", model, model[SPLIT - 1])(x, b, TARGET, n_steps=4, method=rule)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_conductance_of_a_neuron(attribute, case):
    model, x, b = case
    lower, upper = model[:SPLIT], model[SPLIT:]
    neuron = (0,) * (lower(x).dim() - 2) + (1,)
    path = sorted({0.0, *attrs.astuple(quadrature("riemann_trapezoid", 4))[0], 1.0})
    expected = torch.zeros_like(x)
    for i, points in along(x, b, path):
        gradients = []
        for point in points:
            v = lower(point)
            above = grad(upper(v)[0, TARGET], v, retain_graph=True)[0][(0, *neuron)]
            gradients.append(above * grad(v[(0, *neuron)], point)[0][0])
        for (low, high), (g, h) in zip(pairwise(path), pairwise(gradients), strict=True):
            expected[i] += (high - low) * (g + h) / 2 * (x[i] - b[i])
    found = attribute("NeuronConductance", model, model[SPLIT - 1])(x, neuron, b, TARGET, n_steps=4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_integrated_gradients_of_an_embedding_under_integer_inputs(attribute):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 10]])
    reference = torch.zeros_like(ids)
    nodes, weights = attrs.astuple(quadrature("gausslegendre", 6))
    v, u = (model.embedding(t).detach() for t in (ids, reference))

    def upper(v):
        return model.head(model.relu(model.conv(v.transpose(1, 2))).mean(2))

    expected = torch.zeros_like(v)
    for a, w in zip(nodes, weights, strict=True):
        point = (u + a * (v - u)).requires_grad_()
        expected += w * grad(upper(point)[:, TARGET].sum(), point)[0] * (v - u)
    found = attribute("LayerIntegratedGradients", model, model.embedding)(ids, reference, TARGET, n_steps=6)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
