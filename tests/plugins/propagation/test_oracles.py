"""The oracles themselves, as far as they can fail: conservation, completeness, and what each comes to where that is known."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.plugins.models import built, draw
from tests.plugins.propagation.nets import NETS
from tests.plugins.propagation.oracles import chains, deeplift, linear, norms, products
from tests.plugins.propagation.oracles.linear import RULES, map_of

MAPS = {
    "dense": (lambda: nn.Linear(5, 4), (5,)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2), (2, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 5, 4)),
    "grouped": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), (4, 4, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, stride=(1, 2, 1)), (2, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 3, (2, 1), groups=2), (4, 3, 2)),
}
maps = pytest.mark.parametrize("kind", MAPS)


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def total(t):
    return t.flatten(1).sum(1)


@pytest.fixture
def case(kind):
    """A linear module, its map, an input, and relevance at its outputs."""
    factory, shape = MAPS[kind]
    module, x = built(factory), draw(3, *shape, seed=1)
    return module, map_of(module, shape), x, draw(*module(x).shape, seed=2)


# Rules of a linear map.


@maps
def test_a_map_is_its_module(case):
    module, known, x, _ = case
    same(known.outputs(x), module(x).flatten(1).detach(), 1e-13)
    assert ((known.matrix != 0) <= (known.reads == 1)).all()


@maps
@pytest.mark.parametrize("rule", RULES)
def test_shares_are_whole_where_each_output_has_positive_and_negative_parts(case, rule):
    _, known, x, r = case
    found, (function, options) = {}, RULES[rule]
    parts = known.matrix * x.flatten(1)[:, None]
    known = linear.Map(known.matrix, known.reads, known.bias.abs() + 0.1)
    lacking = (parts.clamp(min=0).sum(2) == 0) | (parts.clamp(max=0).sum(2) == 0) | (known.matrix.amax(1) <= 0)
    r = torch.where(lacking.reshape(r.shape), 0, r)
    for bias in ("absorb", "zero", "distribute"):
        found[bias] = total(function(known, x, r, bias=bias, **options))
    same(found["zero"], total(r))
    same(found["distribute"], total(r))
    assert torch.allclose(found["absorb"], total(r)) == (rule in ("flat", "zbox"))


@maps
def test_lrp_0_is_gradient_times_input(case):
    module, known, x, r = case
    leaf = x.clone().requires_grad_()
    z = module(leaf)
    expected = torch.autograd.grad(z, leaf, r / z.detach())[0] * x
    same(linear.epsilon(known, x, r), expected)


@maps
def test_limits_and_special_cases(case):
    _, known, x, r = case
    same(linear.gamma(known, x, r, gamma=0), linear.epsilon(known, x, r))
    same(linear.gamma_positive(known, x, r, gamma=0), linear.epsilon(known, x, r))
    same(linear.alphabeta(known, x, r, alpha=1, beta=0), linear.zplus(known, x, r))
    positive, r = x.abs(), torch.where((known.matrix.amax(1) <= 0).reshape(r[0].shape), 0, r)
    zplus = linear.zplus(known, positive, r, bias="zero")
    same(linear.gamma_positive(known, positive, r, gamma=1e9, bias="zero"), zplus, 1e-6)
    same(linear.weights_plus(known, positive, r, bias="zero"), zplus)
    up = torch.where(known.outputs(x).reshape(r.shape) > 0, r, 0)
    same(linear.gamma(known, x, up, gamma=1e9), linear.zplus(known, x, up), 1e-6)
    low, high = torch.zeros(x[0].numel()).to(x), torch.full((x[0].numel(),), torch.inf).to(x)
    unweighed = linear.Map(known.matrix.abs(), known.reads, known.bias)
    same(
        linear.zbox(unweighed, positive, r, low=low, high=high.clamp(max=1e6)),
        linear.zplus(unweighed, positive, r, bias="zero"),
    )


def test_by_hand():
    known = linear.Map(numbers([1, -2, 0]), numbers([1, 1, 1]), numbers(0.5))
    x, r = numbers([3, 1, 5]), numbers([2])  # z = 3 - 2 + 0.5
    for expected, rule, options in [
        ([4, -8 / 3, 0], linear.epsilon, {}),
        ([3, -2, 0], linear.epsilon, {"epsilon": 0.5}),
        ([6, -4, 0], linear.epsilon, {"bias": "zero"}),
        ([4 + 2 / 9, -8 / 3 + 2 / 9, 2 / 9], linear.epsilon, {"bias": "distribute"}),
        ([6 / 3.5, 0, 0], linear.zplus, {}),
        ([6 / 3.5 + 1 / 10.5, 1 / 10.5, 1 / 10.5], linear.zplus, {"bias": "distribute"}),
        ([12 / 3.5, -2, 0], linear.alphabeta, {}),
        ([2.4, -0.8, 0], linear.gamma, {"gamma": 1.0}),
        ([12 / 4.5, -4 / 4.5, 0], linear.gamma_positive, {"gamma": 1.0}),
        ([0.4 / 1.05, 1.6 / 1.05, 0], linear.wsquare, {}),
        ([2 / 3, 2 / 3, 2 / 3], linear.flat, {}),
        ([1.2, 0.8, 0], linear.zbox, {"low": 0.0, "high": 2.0}),
    ]:  # fmt: skip
        same(rule(known, x, r, **options), numbers(expected))


def test_stabilisers():
    z = numbers(3, -4, 0)
    same(linear.stabilized(z, 0.1), numbers(3.1, -4.1, 0.1))
    same(linear.stabilized(z, {"epsilon": 0.1, "relative": True}), z + 0.1 * (25 / 3) ** 0.5 * numbers(1, -1, 1))
    assert linear.stabilized(z, 0.0)[2] == torch.inf


# Products, softmax and norms.


def test_softmax_taylor_is_gradient_times_input():
    x, r = draw(6, seed=1), draw(6, seed=2)
    leaf = x.clone().requires_grad_()
    p = torch.softmax(leaf, 0)
    same(products.softmax_taylor(x, r), x * torch.autograd.grad(p, leaf, r / p.detach())[0])


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_quarters_and_half_of_gradient_times_input(causal):
    q, k, v = draw(4, 3, seed=1), draw(4, 3, seed=2), draw(4, 2, seed=3)
    allowed, r = torch.ones(4, 4).tril().bool() if causal else None, draw(4, 2, seed=4)
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    output = F.scaled_dot_product_attention(*leaves, attn_mask=allowed, scale=0.7)
    gradients = torch.autograd.grad(output, leaves, r / output.detach())
    found = products.attention(q, k, v, r, scale=0.7, allowed=allowed)
    for one, t, gradient, part in zip(found, (q, k, v), gradients, (0.25, 0.25, 0.5), strict=True):
        same(one, part * t * gradient)
    constant = products.constant_attention(q, k, v, r, scale=0.7, allowed=allowed)
    same(constant[2], v * gradients[2])
    same(constant[2].sum(), r.sum())
    assert not constant[0].any()
    assert not constant[1].any()


def test_products_conserve():
    a, b, r = draw(2, 3, seed=1), draw(3, seed=2), draw(2, 3, seed=3)
    found = products.product(a, b, r)
    assert [t.shape for t in found] == [a.shape, b.shape]
    same(torch.stack([t.sum() for t in found]), r.sum() / 2 * torch.ones(2).double())
    m, n, of = draw(3, 4, seed=1), draw(4, 2, seed=2), draw(3, 2, seed=3)
    same(torch.stack([t.sum() for t in products.matrix_product(m, n, of)]), of.sum() / 2 * torch.ones(2).double())


@pytest.mark.parametrize(
    "module", [nn.LayerNorm(6), nn.LayerNorm(6, bias=False), nn.RMSNorm(6), nn.GroupNorm(2, 4), nn.LayerNorm((4, 6))], ids=str
)
def test_norms_are_linear_given_their_deviation(module):
    module = module.double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = 1 + draw(*parameter.shape, seed=i)
    x, r = draw(3, 4, 6, seed=5), draw(3, 4, 6, seed=6)
    found = norms.relevance_of(module, x, r)
    if isinstance(module, nn.LayerNorm):
        y = x.flatten(1) if len(module.normalized_shape) == 2 else x
        deviation = (y.var(-1, correction=0, keepdim=True) + module.eps).sqrt()
        deviation = deviation.reshape(3, -1, 1)
        slope = r / module(x) * module.weight / deviation
        mean = slope.mean((1, 2), keepdim=True) if len(module.normalized_shape) == 2 else slope.mean(-1, keepdim=True)
        same(found, x * (slope - mean).detach())
    if isinstance(module, nn.RMSNorm):
        same(found, r)
    without = norms.relevance_of(module, x, r, bias="zero")
    same(total(without), total(r))


# Gradients and relevance in chains.

CHAINS = {"mlp": NETS["mlp"], "cnn": NETS["cnn"]}
chained = pytest.mark.parametrize("net", CHAINS)


@chained
def test_gradients_of_a_chain_are_autograd_s(net):
    model, (x,) = CHAINS[net].built(), CHAINS[net].inputs()
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    same(chains.gradient(model, x, 1), expected)
    same(chains.gradient(model, x, 1, chains.beta_smooth(1e9)), expected)
    for other in (chains.guided, chains.deconvnet, chains.beta_smooth()):
        assert not torch.allclose(chains.gradient(model, x, 1, other), expected)


@pytest.mark.parametrize(("net", "bias"), [("mlp", "zero"), ("mlp", "distribute"), ("cnn", "zero")])
def test_relevance_of_a_chain_is_conserved(net, bias):
    model, (x,) = CHAINS[net].built(), CHAINS[net].inputs()
    output = model(x)[:, 1].detach()
    for rule in (linear.epsilon, linear.gamma):
        same(total(chains.relevance(model, x, 1, chains.by(rule, bias=bias))), output, 1e-8)


@chained
def test_excitation_is_a_probability_but_for_what_nothing_excites(net):
    model, (x,) = CHAINS[net].built(), CHAINS[net].inputs()
    found = chains.excitation(model, x, 1)
    assert (found >= 0).all()
    assert (total(found) < 1 + 1e-12).all()
    for parameter in model.parameters():
        parameter.data.abs_()
    same(total(chains.excitation(model, x.abs(), 1)), numbers(1, 1))


# DeepLIFT.


def pool_net():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 2), nn.Tanh(), nn.AvgPool2d(2, 1),
        nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 3), nn.Softmax(1),
    )  # fmt: skip


DEEP = {"mlp": CHAINS["mlp"], "cnn": CHAINS["cnn"], "pools": type(CHAINS["cnn"])(pool_net, lambda: (draw(3, 2, 7, 7),))}


@pytest.mark.parametrize("net", DEEP)
@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_deeplift_is_complete(net, rule):
    model, (x,) = DEEP[net].built(), DEEP[net].inputs()
    for reference in (torch.zeros_like(x[:1]), draw(*x[:1].shape, seed=7)):
        found = deeplift.attributions(model, x, reference, 1, rule=rule)
        same(total(found), (model(x) - model(reference))[:, 1].detach(), 1e-12)


def test_rescale_and_reveal_cancel_are_the_paper_s_on_a_minimum():
    """Y = i1 - relu(i1 - i2) is the minimum of both: rescale gives it to one of them, RevealCancel half to each."""
    x, zero, m = numbers(3, 1), numbers(0, 0), numbers(-1)
    known = linear.Map(numbers([1, -1]), numbers([1, 1]), numbers(0))
    by_rescale = deeplift.rescale(F.relu, known.matrix @ x, zero[:1], m) @ known.matrix
    same(x * (by_rescale + numbers(1, 0)), numbers(0, 1))
    by_both = deeplift.reveal_cancel(known, F.relu, x, zero, m)
    same(x * (by_both + numbers(1, 0)), numbers(0.5, 0.5))


def test_reveal_cancel_is_rescale_where_contributions_have_one_sign():
    model = built(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    model[0].weight.data.abs_()
    x, reference = draw(3, 4).abs(), torch.zeros(1, 4).double()
    found = [deeplift.attributions(model, x, reference, 0, rule=rule) for rule in ("rescale", "reveal_cancel")]
    same(*found)


def test_reveal_cancel_is_the_average_over_both_orders():
    known, x = linear.Map(numbers([1, 1]), numbers([1, 1]), numbers(0.3)), numbers(1.2, -0.7)
    expected = numbers(0, 0)
    for order in itertools.permutations(range(2)):
        at = numbers(0.3)[0]
        for i in order:
            expected[i] += (torch.tanh(at + x[i]) - torch.tanh(at)) / 2
            at = at + x[i]
    same(x * deeplift.reveal_cancel(known, torch.tanh, x, numbers(0, 0), numbers(1)), expected)


def test_the_averaged_product_and_softmax_are_complete():
    a, b, a0, b0, m = (draw(3, 4, seed=i) for i in range(5))
    parts = deeplift.averaged_product(a, a0, b, b0, m)
    same((parts[0] * (a - a0) + parts[1] * (b - b0)).sum(), (m * (a * b - a0 * b0)).sum())
    of_a, of_b = deeplift.averaged_matrix_product(a, a0, b.T, b0.T, draw(3, 3, seed=9))
    found = (of_a * (a - a0)).sum() + (of_b * (b - b0).T).sum()
    same(found, (draw(3, 3, seed=9) * (a @ b.T - a0 @ b0.T)).sum())


@pytest.mark.parametrize("apart", [deeplift.softmax, deeplift.softmax_below_maximum])
def test_softmax_taken_apart_is_complete(apart):
    a, b, m = (draw(4, seed=i) for i in range(3))
    pairs = [(a, b), (b, a), (a + 3, b), (a, a), (a, torch.cat([a[:2], b[2:]]))]
    for x, reference in [*pairs, (a, b + 800)] if apart is deeplift.softmax_below_maximum else pairs:
        gain = (m * (torch.softmax(x, 0) - torch.softmax(reference, 0))).sum()
        same((apart(x, reference, m) * (x - reference)).sum(), gain)


def test_softmax_at_its_reference_is_its_gradient():
    x, m = draw(5, seed=1), draw(5, seed=2)
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(torch.softmax(leaf, 0), leaf, m)[0]
    same(deeplift.softmax(x, x, m), gradient)
    same(deeplift.softmax_below_maximum(x, x, m), gradient)


# The zoo.


@pytest.mark.parametrize("name", NETS)
def test_every_net_runs_in_double_precision_and_depends_on_all_its_inputs(name):
    model, inputs = NETS[name].built(), NETS[name].inputs()
    leaves = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
    output = model(*leaves)
    assert output.dtype == torch.float64
    assert output.shape[0] == 2
    assert output.shape[1] >= 2
    assert (output[0] - output[1]).abs().max() > 1e-5
    for leaf in leaves:
        if leaf.requires_grad:
            slope = torch.autograd.grad(output[:, 1].sum(), leaf, retain_graph=True)[0]
            assert slope.isfinite().all()
            assert all(one.abs().max() > 1e-6 for one in slope)
