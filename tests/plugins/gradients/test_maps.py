"""Class activation maps, internal influence and activation, each against its definition written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrkit
from attrkit.errors import UsageError
from attrkit.registry import registry

X = torch.randn(3, 2, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Softplus(), nn.Flatten(), nn.Linear(30, 3)
        return nn.Sequential(*layers).double().eval()


def value_and_gradient(net, layer, x=X):
    value = net[: layer + 1](x).detach().requires_grad_()
    return value.detach(), torch.autograd.grad(net[layer + 1 :](value)[:, 1].sum(), value)[0]


def explained(net, method, layer=2, **options):
    (values,) = attrkit.explain(net, X, method, target=1, layer=str(layer), **options).values.values()
    return values


def each_channel(weights, value):
    return sum(weights[:, c, None, None] * value[:, c] for c in range(value.shape[1]))[:, None]


def test_grad_cam(net):
    value, gradient = value_and_gradient(net, 2)
    expected = each_channel(gradient.mean((2, 3)), value)
    torch.testing.assert_close(explained(net, "grad_cam"), expected)
    torch.testing.assert_close(explained(net, "grad_cam", relu_attributions=True), expected.relu())
    whole = explained(net, "grad_cam", attr_dim_summation=False)
    assert whole.shape == value.shape
    torch.testing.assert_close(whole.sum(1, keepdim=True), expected)


def test_hires_cam_sums_to_the_output_above_a_linear_head(net):
    head = nn.Sequential(*net[:4], nn.Flatten(), nn.Linear(30, 3, bias=False).double())
    maps = attrkit.explain(head, X, "hires_cam", target=1, layer="3").values["3"]
    torch.testing.assert_close(maps.flatten(1).sum(1), head(X)[:, 1].detach())


def test_layer_cam(net):
    value, gradient = value_and_gradient(net, 2)
    torch.testing.assert_close(explained(net, "layer_cam"), (gradient.relu() * value).sum(1, keepdim=True).relu())


def test_x_grad_cam(net):
    value, gradient = value_and_gradient(net, 3)
    weights = (gradient * value).sum((2, 3)) / value.sum((2, 3))
    torch.testing.assert_close(explained(net, "x_grad_cam", 3), each_channel(weights, value).relu())


def test_grad_cam_plus_plus(net):
    value, gradient = value_and_gradient(net, 2)
    alpha = gradient**2 / (2 * gradient**2 + value.sum((2, 3), keepdim=True) * gradient**3)
    weights = (alpha * gradient.relu()).sum((2, 3))
    torch.testing.assert_close(explained(net, "grad_cam_plus_plus"), each_channel(weights, value).relu())


def test_eigen_cam_is_the_first_principal_component(net):
    value, _ = value_and_gradient(net, 2)
    found = explained(net, "eigen_cam", relu_attributions=False)
    for example, image in zip(value, found, strict=True):
        places = example.reshape(5, -1).T
        centred = places - places.mean(0)
        _, directions = torch.linalg.eigh(centred.T @ centred)
        component = centred @ directions[:, -1]
        torch.testing.assert_close(image.flatten().abs(), component.abs())
        assert image.flatten()[image.abs().argmax()] > 0


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "x_grad_cam", "grad_cam_plus_plus"])
def test_maps_of_a_layer_without_places(net, method):
    value, gradient = value_and_gradient(net, 4)
    found = explained(net, method, 4)
    assert found.shape == (3, 1)
    if method == "grad_cam":
        torch.testing.assert_close(found[:, 0], (value * gradient).sum(1))


def test_a_layer_without_channels_is_refused(net):
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(x.flatten(1).sum(1))

    with pytest.raises(UsageError, match=r"its value has shape \(3,\); a map needs \(batch, channels, ...\)"):
        attrkit.explain(Sums(), X, "grad_cam", layer="inner")
    with pytest.raises(UsageError, match=r"eigen_cam needs \(batch, channels, places ...\)"):
        explained(net, "eigen_cam", 4)


def test_maps_are_only_for_layers(net):
    with pytest.raises(UsageError, match="method 'grad_cam' attributes to layer, not to input"):
        attrkit.explain(net, X, "grad_cam", target=1)


def test_activation_is_the_value(net):
    assert torch.equal(explained(net, "activation", 3), net[:4](X).detach())


@pytest.mark.parametrize("name", ["activation", "eigen_cam"])
def test_what_looks_at_no_gradient_records_none_and_needs_no_objective(name):
    class Unrecorded(nn.Module):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            return 2 * x

    spec = registry.method(name)
    assert (spec.gradient, spec.objective) == (False, False)
    attrkit.explain(nn.Sequential(Unrecorded(), nn.Flatten(), nn.Linear(84, 3).double()), X, name, layer="0")


def test_internal_influence_is_the_mean_gradient_on_the_path(net):
    n, total = 5, 0
    for i in range(n):
        total = total + value_and_gradient(net, 2, X * (i + 0.5) / n)[1] / n
    torch.testing.assert_close(explained(net, "internal_influence", n_steps=n, options={"method": "riemann_middle"}), total)
