from itertools import pairwise

import pytest
import torch
from torch import nn

import attrkit


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(27, 8), nn.Softplus(), nn.Linear(8, 4)).double()


def as_in_the_paper(f, x, baseline, n):
    """Algorithm 1 for one example, one step after another."""
    path = [(baseline + (x - baseline) * i / n).requires_grad_() for i in range(n + 1)]
    found = torch.zeros_like(x)
    for here, there in pairwise(path):
        value = f(here)
        (gradient,) = torch.autograd.grad(value, here)
        found += gradient**2 * (f(there) - value).detach() / (gradient**2).sum()
    return found


@pytest.mark.parametrize("n", [1, 7, 50])
def test_is_the_papers_algorithm(n):
    model, x, baseline = net(), torch.randn(3, 2, 5, 5).double(), torch.randn(1, 2, 5, 5).double()
    found = attrkit.explain(model, x, "idgi", target=2, baselines=baseline, n_steps=n)
    for i in range(3):
        expected = as_in_the_paper(lambda p: model(p[None])[0, 2], x[i], baseline[0], n)
        torch.testing.assert_close(found.values["input"][i], expected)
    torch.testing.assert_close(found.delta, torch.zeros(3).double(), atol=1e-12, rtol=0)


def test_is_the_papers_algorithm_at_a_layer():
    model, x = net(), torch.randn(2, 2, 5, 5).double()
    found = attrkit.explain(model, x, "idgi", target=1, layer="3", n_steps=20)
    (values,) = found.values.values()
    at, start = model[:4](x).detach(), model[:4](torch.zeros(1, 2, 5, 5).double()).detach()[0]
    for i in range(2):
        torch.testing.assert_close(values[i], as_in_the_paper(lambda h: model[4:](h[None])[0, 1], at[i], start, 20))


@pytest.mark.parametrize("n", [1, 3])
def test_a_linear_model_is_shared_by_squared_weights(n):
    weight = torch.tensor([3.0, -4.0, 0.0]).double()
    x = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 5.0]]).double()
    found = attrkit.explain(lambda x: x @ weight, x, "idgi", n_steps=n).values["x"]
    torch.testing.assert_close(found, (x @ weight)[:, None] * weight**2 / 25)


def test_the_share_of_a_step_without_a_gradient_is_lost():
    """At 0 the product's gradient is 0: of x y, the first of n steps, (x / n) (y / n), is given to nobody."""
    x, y, n = 3.0, 2.0, 10
    found = attrkit.explain(lambda p: p.prod(1), torch.tensor([[x, y]]).double(), "idgi", n_steps=n)
    expected = x * y * (1 - 1 / n**2) * torch.tensor([[y**2, x**2]]).double() / (x**2 + y**2)
    torch.testing.assert_close(found.values["p"], expected)
    torch.testing.assert_close(found.delta, torch.tensor([-x * y / n**2]).double())


def test_inputs_of_one_example_share_a_gradient():
    """Two tensors are one point: the same numbers in one tensor get the same."""
    model, x = net()[3:], torch.randn(4, 27).double()
    whole = attrkit.explain(model, x, "idgi", target=0).values
    parts = attrkit.explain(lambda a, b: model(torch.cat((a, b), 1)), (x[:, :10], x[:, 10:]), "idgi", target=0).values
    torch.testing.assert_close(torch.cat((parts["a"], parts["b"]), 1), whole["input"])


def test_a_value_of_the_batch_has_one_gradient():
    """A model that returns one number for the batch is explained as one example."""
    x = torch.randn(3, 4).double()
    found = attrkit.explain(lambda x: x.pow(2).sum().sin(), x, "idgi", n_steps=30, baselines=0.5)
    alone = attrkit.explain(lambda x: x.pow(2).sum(1).sin(), x.reshape(1, 12), "idgi", n_steps=30, baselines=0.5)
    torch.testing.assert_close(found.values["x"], alone.values["x"].reshape(3, 4))
