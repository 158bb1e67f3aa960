"""The rewriter: what it computes is what the model computes, wherever the model is used, and nothing of it stays."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attrkit
from attrkit.errors import AttrkitWarning, RulesetError
from tests.plugins.models import PACKERS, Block, Residual, Reused, Several, Tokens, TwoInputs, built, cnn, draw, mlp
from tests.plugins.propagation.oracle import entry, ruleset

IMAGES = draw(4, 3, 8, 8, seed=1)
BOX = {"low": -4.0, "high": 4.0}
RULESETS = ["captum_default", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box"]

#: Shares by contribution without a margin, so that forms that differ in bias alone come to the same.
PLAIN = ruleset(
    entry({"op": "linear_like"}, "epsilon", optional=True, epsilon=0), entry({"op": "activation"}, "pass", optional=True)
)


def parameters(name):
    return BOX if name == "epsilon_gamma_box" else {}


def relevance(explain, model, inputs, rules=PLAIN, **given):
    values = explain(model, inputs, "lrp", rules=rules, **given).values
    return tuple(values.values()) if len(values) > 1 else next(iter(values.values()))


def same(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture
def watched():
    """A method that propagates like lrp and notes the value that the governed forward pass came to."""
    values = []

    @attrkit.method("watched", backward_passes="1")
    def method(problem, *, rules: object = PLAIN, parameters: dict | None = None):
        value, found = problem.propagate(rules, parameters)
        values.append(value)
        return found

    return method, values


@pytest.mark.parametrize("rules", RULESETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_forward_value_is_the_model_s_bit_for_bit(explain, watched, rules, dtype):
    method, values = watched
    model = built(Residual).to(dtype)
    explain(model, IMAGES.to(dtype), method, rules=rules, parameters=parameters(rules), target=1)
    assert torch.equal(values[0], model(IMAGES.to(dtype))[:, 1].detach())
    layer = explain(model, IMAGES.to(dtype), method, rules=rules, parameters=parameters(rules), target=1, layer="block1")
    assert torch.equal(values[1], values[0])
    assert layer.values["block1"].dtype is dtype


@pytest.mark.parametrize("rules", RULESETS)
def test_an_example_is_explained_alone_as_in_a_batch(explain, rules):
    given = {"rules": rules, "parameters": parameters(rules)}
    model = built(Residual)
    together = relevance(explain, model, IMAGES, target=[0, 1, 2, 0], **given)
    for i, target in enumerate([0, 1, 2, 0]):
        same(relevance(explain, model, IMAGES[i : i + 1], target=target, **given), together[i : i + 1], 1e-10)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_chunk_size_changes_nothing(explain, rows):
    model = built(Residual)
    expected = relevance(explain, model, IMAGES, "epsilon_plus", target=1)
    same(relevance(explain, model, IMAGES, "epsilon_plus", target=1, internal_batch_size=rows), expected, 1e-10)


def test_a_call_does_not_change_the_next(explain):
    model = built(Residual)
    first = relevance(explain, model, IMAGES, "epsilon_plus_flat", target=0)
    relevance(explain, model, IMAGES[:1], "epsilon_gamma_box", target=2, parameters=BOX, layer="block2")
    assert torch.equal(relevance(explain, model, IMAGES, "epsilon_plus_flat", target=0), first)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda f: f.__name__)
def test_the_caller_s_gradient_mode_does_not_matter(explain, surroundings):
    model = built(Residual)
    expected = relevance(explain, model, IMAGES, "epsilon_plus", target=0)
    with surroundings():
        found = relevance(explain, model, IMAGES, "epsilon_plus", target=0)
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_three_threads_at_the_same_time(untouched):
    model, barrier = built(Residual), threading.Barrier(3)
    jobs = [("epsilon_plus", 0), ("epsilon_plus_flat", 1), ("captum_default", 2)]

    def explained(rules, target):
        found = attrkit.explain(model, IMAGES, "lrp", rules=rules, target=target)
        return [found.values["x"], attrkit.attr.LayerLRP(model, model.block1).attribute(IMAGES, target, rules=rules)]

    expected = [explained(*job) for job in jobs]
    found: list = [None] * 3

    def work(i):
        barrier.wait()
        found[i] = [explained(*jobs[i]) for _ in range(4)]

    with untouched(model, IMAGES):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(3):
        for again in found[i]:
            assert all(torch.equal(a, b) for a, b in zip(again, expected[i], strict=True))


def test_other_threads_compute_as_ever_meanwhile():
    model, entered, seen = built(mlp), threading.Event(), []
    go_on = threading.Event()

    class Waits(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            if torch.is_grad_enabled():
                entered.set()
                assert go_on.wait(10)
            return self.net(x)

    x = draw(2, 6)
    thread = threading.Thread(target=lambda: attrkit.explain(Waits(), x, "lrp", target=0))
    thread.start()
    assert entered.wait(10)
    leaf = x.clone().requires_grad_()
    seen.append(torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0])
    go_on.set()
    thread.join()
    leaf = x.clone().requires_grad_()
    assert torch.equal(seen[0], torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0])


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_an_exception_of_the_model_is_the_caller_s_and_leaves_nothing(explain, at):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
            self.at = at

        def forward(self, x):
            for stage, module in (("before", self.first), ("between", self.norm), ("after", self.last)):
                if stage == self.at:
                    message = "out of cheese"
                    raise RuntimeError(message)
                x = module(x).relu_()
            return x

    model, x = built(Fails), draw(2, 4)
    with pytest.raises(RuntimeError, match="out of cheese"):
        explain(model, x, "lrp", rules="epsilon_plus", target=0)
    model.at = "never"
    assert explain(model, x, "lrp", rules="epsilon_plus", target=0).output.shape == (2,)


def test_what_a_ruleset_refuses_leaves_nothing(explain):
    with pytest.raises(RulesetError):
        explain(nn.Sequential(built(mlp), nn.Softmax(1)).eval(), draw(2, 6), "lrp", rules="captum_default", target=0)


# One net in many forms.


def linear_forms(scale=1):
    """Functions that compute one net; ``scale`` is that of its bias."""
    w, v, b = draw(6, 5, seed=1), draw(3, 6, seed=3), scale * draw(6, seed=4)
    yield "F.linear", lambda x: F.linear(torch.relu(F.linear(x, w, b)), v)
    yield "addmm", lambda x: torch.addmm(b, x, w.T).relu() @ v.T
    yield "Tensor.addmm", lambda x: b.addmm(x, w.T).relu().matmul(v.T)
    yield "matmul and sum", lambda x: torch.matmul(F.relu(torch.mm(x, w.t()) + b), v.mT)
    yield "sum first", lambda x: torch.relu_(b + x @ w.T).mm(v.T)
    yield "in place", lambda x: torch.relu_((x @ w.T).add_(b)) @ v.T
    yield "operator in place", lambda x: relu_of_sum(x @ w.T, b) @ v.T
    yield "functional in place", lambda x: F.relu(F.linear(x, w, b), inplace=True) @ v.T
    yield "F.relu_", lambda x: F.linear(F.relu_(F.linear(x, w, b)), v)
    yield "keywords", lambda x: F.linear(input=torch.relu(input=F.linear(input=x, weight=w, bias=b)), weight=v)
    yield "max with zero", lambda x: F.linear(F.threshold(F.linear(x, w, b), 0, 0), v)
    yield "leaky without leak", lambda x: F.linear(F.leaky_relu(F.linear(x, w, b), 0.0), v)
    yield "over more dimensions", lambda x: F.linear(torch.relu(F.linear(x[:, None], w, b)), v).squeeze(1)
    yield "a convolution", lambda x: F.conv1d(torch.relu(F.conv1d(x[..., None], w[..., None], b)), v[..., None]).flatten(1)


def relu_of_sum(y, b):
    y += b
    return y.relu_()


@pytest.mark.parametrize("form", dict(linear_forms()))
@pytest.mark.parametrize("scale", [0, 1])
def test_forms_of_a_linear_net(explain, form, scale):
    x, forms = draw(3, 5), dict(linear_forms(scale))
    expected = relevance(explain, forms["F.linear"], x, target=1)
    assert (expected != 0).all()
    same(relevance(explain, forms[form], x, target=1), expected)


def convolution_forms():
    w, b = draw(4, 3, 3, 3, seed=1), draw(4, seed=2)
    module = nn.Conv2d(3, 4, 3, padding=1).double()
    module.weight.data, module.bias.data = w, b
    pool = nn.MaxPool2d(2)
    yield "module", lambda x: pool(module(x)).relu().mean((2, 3))
    yield "F", lambda x: F.relu(F.max_pool2d(F.conv2d(x, w, b, padding=1), 2)).mean((2, 3))
    yield "torch", lambda x: torch.relu(torch.max_pool2d(torch.conv2d(x, w, b, 1, "same"), 2)).mean(3).mean(2)
    yield (
        "keywords",
        lambda x: F.avg_pool2d(
            F.max_pool2d(input=F.conv2d(input=x, weight=w, bias=b, padding=1), kernel_size=2).relu(), 4
        ).flatten(1),
    )
    yield (
        "adaptive",
        lambda x: F.adaptive_avg_pool2d(F.adaptive_max_pool2d(F.conv2d(x, w, b, padding=(1, 1)), 4).relu_(), 1).flatten(1),
    )
    yield "indices", lambda x: F.max_pool2d(F.conv2d(x, w, b, padding=1), 2, return_indices=True)[0].relu().sum((2, 3)) / 16
    yield "padded", lambda x: F.max_pool2d(F.conv2d(F.pad(x, (1, 1, 1, 1)), w, b), 2).relu().mean((2, 3))
    yield "unbatched", lambda x: torch.stack([F.max_pool2d(F.conv2d(i, w, b, padding=1), 2).relu().mean((1, 2)) for i in x])


@pytest.mark.parametrize("form", dict(convolution_forms()))
@pytest.mark.parametrize("rule", ["epsilon", "zplus", "gamma"])
def test_forms_of_a_convolutional_net(explain, form, rule):
    rules = ruleset(entry({"op": "conv"}, rule), entry({"op": "relu"}, "pass"))
    forms = dict(convolution_forms())
    expected = relevance(explain, forms["module"], IMAGES, rules, target=1)
    assert (expected != 0).any()
    # Without a batch dimension the margin is relative to a channel instead of an example.
    same(relevance(explain, forms[form], IMAGES, rules, target=1), expected, 1e-4 if form == "unbatched" else 1e-12)


def sum_forms():
    yield "+", lambda a, b: a + b
    yield "torch.add", lambda a, b: torch.add(a, b)
    yield "Tensor.add", lambda a, b: a.add(b)
    yield "in place", lambda a, b: a.clone().add_(b)
    yield "+=", plus_equals
    yield "twice half", lambda a, b: torch.add(a, 0.5 * b, alpha=2) - a * 0 + 0 * b
    yield "stack", lambda a, b: torch.stack([a, b]).sum(0)
    yield "cat", lambda a, b: torch.cat([a[..., None], b[..., None]], -1).sum(-1)
    yield "minus minus", lambda a, b: a - (-b)


def plus_equals(a, b):
    a = a.clone()
    a += b
    return a


@pytest.mark.parametrize("form", dict(sum_forms()))
def test_forms_of_a_sum(explain, form):
    w = draw(6, 5, seed=1)
    forms = dict(sum_forms())

    def model(form):
        return lambda x: forms[form](torch.relu(x @ w.T), torch.tanh(x @ w.T)).sum(1)

    same(relevance(explain, model(form), draw(3, 5)), relevance(explain, model("+"), draw(3, 5)))


ACTIVATIONS = {
    "relu": ([nn.ReLU(), nn.ReLU(inplace=True)], [torch.relu, F.relu, torch.Tensor.relu, lambda v: F.relu(v, inplace=True)]),
    "elu": ([nn.ELU(), nn.ELU(inplace=True)], [F.elu, lambda v: F.elu_(v), lambda v: F.elu(v, 1.0, True)]),
    "silu": ([nn.SiLU(), nn.SiLU(inplace=True)], [F.silu, lambda v: F.silu(v, inplace=True)]),
    "sigmoid": ([nn.Sigmoid()], [torch.sigmoid, F.sigmoid, torch.Tensor.sigmoid, lambda v: v.sigmoid_()]),
    "tanh": ([nn.Tanh()], [torch.tanh, F.tanh, torch.Tensor.tanh, lambda v: torch.tanh_(v)]),
    "gelu": ([nn.GELU()], [F.gelu]),
    "hardtanh": ([nn.Hardtanh(), nn.Hardtanh(inplace=True)], [F.hardtanh, lambda v: F.hardtanh_(v)]),
}


ACTIVATION_FORMS = {
    f"{name}: {i}": (modules[0], form) for name, (modules, fs) in ACTIVATIONS.items() for i, form in enumerate(modules + fs)
}


@pytest.mark.parametrize("form", ACTIVATION_FORMS)
def test_forms_of_an_activation(explain, form):
    plain, activation = ACTIVATION_FORMS[form]
    first, last, x = built(lambda: nn.Linear(5, 6)), built(lambda: nn.Linear(6, 2)), 3 * draw(3, 5)
    with torch.no_grad():  # what is at the activation's output goes on to its input, but for what was never there
        z = first(x)
        share = plain(z) * last.weight[0] / z
        assert (z.abs() > 1).any()
        expected = x * (share @ first.weight)
    model = (
        nn.Sequential(first, activation, last) if isinstance(activation, nn.Module) else lambda x: last(activation(first(x)))
    )
    same(relevance(explain, model, x, target=0), expected, 1e-9)


# Modules as people use them.


def test_a_module_that_runs_twice_is_governed_twice(explain):
    model = built(Reused)
    unrolled = nn.Sequential(*(copy.deepcopy(m) for m in (model.mix, model.relu, model.mix, model.relu, model.head)))
    rules = ruleset(
        entry({"op": "linear", "position": "first"}, "zplus"),
        entry({"op": "linear"}, "gamma"),
        entry({"op": "relu"}, "pass"),
    )
    found = explain(model, draw(3, 4), "lrp", rules=rules, target=0)
    same(found.values["x"], relevance(explain, unrolled, draw(3, 4), rules, target=0))
    assert [(r["path"], r["operation"], r["rule"]) for r in found.rules] == [
        ("mix", "linear", "zplus"),
        ("relu", "relu", "pass"),
        ("mix", "linear", "gamma"),
        ("relu", "relu", "pass"),
        ("head", "linear", "gamma"),
    ]


def test_the_unmodified_block_is_explained_as_one_of_modules(explain):
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    class Modular(Block):
        def __init__(self, *args):
            super().__init__(*args)
            self.relu1, self.add, self.relu2 = nn.ReLU(), Sum(), nn.ReLU()

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
            return self.relu2(self.add(y, x if self.shortcut is None else self.shortcut(x)))

    plain, modular = built(Residual), built(lambda: Residual(Modular))
    modular.load_state_dict(plain.state_dict())
    for rules in RULESETS:
        given = {"rules": rules, "parameters": parameters(rules), "target": 1}
        same(relevance(explain, plain, IMAGES, **given), relevance(explain, modular, IMAGES, **given))


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m.forward, lambda m: lambda x: m(x), lambda m: torch.nn.DataParallel(m)],
    ids=["method", "function", "parallel"],
)
def test_the_model_may_be_any_callable(explain, wrap):
    model = built(Residual)
    expected = relevance(explain, model, IMAGES, "epsilon_plus_flat", target=0)
    same(relevance(explain, wrap(model), IMAGES, "epsilon_plus_flat", target=0), expected)


def test_what_the_model_computes_without_gradients_is_constant(explain):
    w = draw(3, 5, seed=1)

    def model(x):
        with torch.no_grad():
            constant = torch.softmax(x @ w.T, 1)
        return constant * (x @ w.T)

    found = relevance(explain, model, draw(2, 5), target=1)
    x = draw(2, 5)
    same(found, torch.softmax(x @ w.T, 1)[:, 1:2] * x * w[1])


def test_the_input_may_be_written_into(explain):
    w = draw(3, 5, seed=1)

    def model(x):
        x *= 2
        x[:, 0] = 0
        return torch.relu(x @ w.T)

    def plain(x):
        return torch.relu((2 * x * torch.tensor([0.0, 1, 1, 1, 1]).double()) @ w.T)

    same(relevance(explain, model, draw(2, 5), target=1), relevance(explain, plain, draw(2, 5), target=1))


# Sites.


@pytest.mark.parametrize("rules", ["captum_default", "epsilon_plus"])
def test_what_is_at_a_layer_is_what_the_part_above_it_sends_there(explain, rules):
    model = built(cnn)
    images = draw(2, 2, 8, 8)
    whole = relevance(explain, model, images, rules, target=1, layer="3")
    upper = model[4:]
    same(whole, relevance(explain, upper, model[:4](images).detach(), rules, target=1))
    same(relevance(explain, model, images, rules, target=1, layer="4", attribute_to_layer_input=True), whole)


def test_a_neuron_is_explained_as_the_output_of_the_part_below_it(explain):
    model, images = built(cnn), draw(2, 2, 8, 8)
    lower = nn.Sequential(model[:3], nn.Flatten())
    expected = relevance(explain, lower, images, "epsilon_plus", target=19)
    same(relevance(explain, model, images, "epsilon_plus", layer="2", neuron=(1, 0, 3)), expected)
    same(relevance(explain, model, images, "epsilon_plus", layer="2", neuron=lambda v: v[:, 1, 0, 3]), expected)


def test_a_sum_of_neurons_has_the_sum_of_their_relevance(explain):
    model, x = built(mlp), draw(2, 6)
    alone = [relevance(explain, model, x, layer="1", neuron=k) for k in (2, 3, 4)]
    same(relevance(explain, model, x, layer="1", neuron=(slice(2, 5),)), sum(alone))


@pytest.mark.parametrize("io", [False, True], ids=["output", "input"])
def test_layers_are_explained_together_as_alone(attribute, io):
    model = built(Residual)
    layers = [model.conv, model.block1, model.block1.conv2, model.fc]
    together = attribute("LayerLRP", model, layers)(IMAGES, target=1, rules="epsilon_plus", attribute_to_layer_input=io)
    for layer, found in zip(layers, together, strict=True):
        same(found, attribute("LayerLRP", model, layer)(IMAGES, target=1, rules="epsilon_plus", attribute_to_layer_input=io))


def test_a_layer_that_runs_twice_has_relevance_for_each_run(attribute):
    model, x = built(lambda: Reused(bias=False)), draw(3, 4)
    first, second = attribute("LayerLRP", model, model.mix)(x, target=0, rules=PLAIN)
    output = model(x)[:, 0].detach()
    same(second.sum(1), output)
    same(first.sum(1), output)


def test_each_layer_has_a_delta_of_its_own(attribute):
    model, x = built(mlp), draw(3, 6)
    layers = [model[0], model[2]]
    found, deltas = attribute("LayerLRP", model, layers)(x, target=0, return_convergence_delta=True)
    assert isinstance(deltas, list)
    output = model(x)[:, 0].detach()
    same(deltas, [output - values.sum(1) for values in found])


def test_two_inputs(explain):
    model = built(TwoInputs)
    a, b = draw(3, 4), draw(3, 2, 3)
    found = relevance(explain, model, (a, b), target=0)
    with torch.no_grad():
        z = model.left(a) + model.right(b.flatten(1))
        kept = model.act(z) * model.head.weight[0] / z
        expected = a * (kept @ model.left.weight), b * (kept @ model.right.weight).unflatten(1, (2, 3))
    same(found, expected)


def test_a_mapping_of_inputs(explain):
    model, a, b = built(TwoInputs), draw(3, 4), draw(3, 2, 3)
    found = explain(model, {"b": b, "a": a, "scale": 1.0}, "lrp", rules=PLAIN, target=0).values
    same((found["a"], found["b"]), relevance(explain, model, (a, b), target=0))


@pytest.mark.parametrize("kind", PACKERS)
def test_a_layer_with_several_tensors(explain, kind):
    class Net(Several):
        def forward(self, x):
            first, second = self.values(self.pack(self.mix(x)))
            return self.head(torch.cat([first, second], 1))

        def values(self, packed):
            if isinstance(packed, tuple):
                return packed
            return (packed["first"], packed["second"]) if isinstance(packed, dict) else (packed.first, packed.second)

    model, x = built(lambda: Net(kind)), draw(3, 3)
    with torch.no_grad():
        first, second = model.values(model.pack(model.mix(x)))
        expected = torch.cat([first, second], 1) * model.head.weight[0]
    rules = ruleset(
        entry({"op": "linear"}, "epsilon", epsilon=0),
        entry({"op": "tanh"}, "pass", optional=True),
        fallback={"unknown": "gradient"},
    )
    with warnings.catch_warnings():
        same(torch.cat(relevance(explain, model, x, rules, target=0, layer="pack"), 1), expected)


def test_an_embedding_is_a_site_for_integers(explain):
    model, ids = built(Tokens), torch.tensor([[1, 2, 3], [7, 0, 10]])
    found = relevance(explain, model, ids, target=0, layer="embedding")

    class Above(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = model

        def forward(self, v):
            return self.tokens.head(self.tokens.relu(self.tokens.conv(v.transpose(1, 2))).mean(2))

    same(found, relevance(explain, Above(), model.embedding(ids).detach(), target=0))


def test_an_unused_input_gets_zeros(explain):
    with pytest.warns(AttrkitWarning, match="does not depend on input 'b'"):
        found = relevance(explain, lambda a, b: torch.relu(a @ draw(6, 5, seed=1).T).sum(1), (draw(2, 5), draw(2, 3)))
    assert torch.equal(found[1], torch.zeros(2, 3, dtype=torch.float64))
    assert (found[0] != 0).any()
