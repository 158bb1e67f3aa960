"""Every function of every operation, under rules that keep its own backward pass: the result is gradient times input."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from attrkit.propagation.families import SHIPPED
from tests.plugins.models import draw
from tests.plugins.propagation.oracle import entry, ruleset

GRADIENT = ruleset(entry({"path": "**"}, "gradient"))
C, W = draw(3, 4, seed=5), draw(4, 4, seed=6)
K1, K2, K3 = draw(2, 1, 2, seed=7), draw(2, 1, 2, 2, seed=8), draw(2, 1, 1, 2, 2, seed=9)
GRID = 0.9 * torch.tanh(draw(3, 2, 2, 2, seed=10))


def spatial(x, dims):
    """The four entries of a row in one channel over some dimensions."""
    return x.reshape(3, 1, *(4,) if dims == 1 else (2, 2) if dims == 2 else (1, 2, 2))


def pooled(dims, size):
    return lambda f, a, b: f(spatial(a, dims), size)


def reduced(f, a, b):
    return f(a, 1)


def with_other(f, a, b):
    return f(a, b)


def with_constant(f, a, b):
    return f(a, C)


def alone(f, a, b):
    return f(a)


def recurrent(gates, states):
    weights = [draw(gates * 2, n, seed=i) for i, n in enumerate((2, 2))] + [draw(gates * 2, seed=i) for i in (2, 3)]
    zeros = tuple(torch.zeros(1, 3, 2).double() for _ in range(states))
    start = zeros if states > 1 else zeros[0]

    def run(f, a, b):
        return f(a.reshape(3, 2, 2), start, weights, True, 1, 0.0, False, False, True)[0]

    return run


def cell(gates, states):
    weights = [draw(gates * 2, n, seed=i) for i, n in enumerate((2, 2))] + [draw(gates * 2, seed=i) for i in (2, 3)]

    def run(f, a, b):
        parts = a.chunk(2, 1)
        state = (parts[1], b[:, :2]) if states > 1 else parts[1]
        y = f(parts[0], state, *weights)
        return torch.cat(y, 1) if isinstance(y, tuple) else y

    return run


def attended(f, a, b):
    q, k = a.reshape(3, 1, 4), b.reshape(3, 1, 4)
    inner = torch.cat([W, W.T, W]), None
    return f(q, k, k, 4, 2, *inner, None, None, False, 0.0, W, None, training=False)[0]


def batch_normed(f, a, b):
    mean, var, weight, bias = C[0], C[1].abs() + 0.5, C[2], C[0]
    if f is torch.batch_norm:  # which has another order, and one argument more
        return f(a, weight, bias, mean, var, False, 0.1, 1e-5, True)
    return f(a, mean, var, weight, bias)


def instance_normed(f, a, b):
    x, weight, bias = a.reshape(1, 3, 4), C[:, 0], C[:, 1]
    if f is torch.instance_norm:
        return f(x, weight, bias, None, None, True, 0.1, 1e-5, True)
    return f(x, weight=weight, bias=bias)


#: How functions are called with one or two tensors of shape (3, 4) that depend on the input: by the function's name, which is
#: without what marks operators and writing in place, or else by the operation's.
CALLS = {
    "linear": [lambda f, a, b: f(a, W, C[0]), lambda f, a, b: f(a, b)],
    "addmm": [lambda f, a, b: f(C, a, W, beta=0.5, alpha=2), lambda f, a, b: f(b, a, W), lambda f, a, b: f(C[:, :3], a, b.T)],
    "bilinear": [lambda f, a, b: f(a, C, draw(2, 4, 4), C[0, :2]), lambda f, a, b: f(C, a, draw(2, 4, 4)),
                 lambda f, a, b: f(a, b, draw(2, 4, 4), C[0, :2])],
    **{f"conv{d}d": [lambda f, a, b, d=d, k=k: f(spatial(a, d), k, C[0, :2])] for d, k in ((1, K1), (2, K2), (3, K3))},
    **{f"conv_transpose{d}d": [lambda f, a, b, d=d, k=k: f(spatial(a, d), k.transpose(0, 1))] for d, k in ((1, K1), (2, K2),
        (3, K3))},
    "matmul": [lambda f, a, b: f(a, W), lambda f, a, b: f(W, a.T), lambda f, a, b: f(a, b.T)],
    "mm": [lambda f, a, b: f(a, W), lambda f, a, b: f(a, b.T)],
    "rmatmul": [lambda f, a, b: f(a.T, W), lambda f, a, b: f(a.T, b)],
    "bmm": [lambda f, a, b: f(a[None], b.T[None]), lambda f, a, b: f(a[None], W[None])],
    "mv": [lambda f, a, b: f(a, b[0]), lambda f, a, b: f(W, a[0]), lambda f, a, b: f(a, C[0])],
    "dot": [lambda f, a, b: f(a[0], b[1]), lambda f, a, b: f(a[0], C[0])],
    "baddbmm": [lambda f, a, b: f(C[None, :, :3], a[None], b.T[None]), lambda f, a, b: f(C[None], a[None], W[None], beta=0.5),
                lambda f, a, b: f(a[None], C[None], W[None]), lambda f, a, b: f(b[None], a[None], W[None], alpha=2)],
    "mul": [with_other, with_constant, lambda f, a, b: f(a, 2.5)],
    "multiply": [with_other, with_constant],
    "einsum":
        [lambda f, a, b: f("bi,bj->ij", a, b), lambda f, a, b: f("bi,ij->bj", a, W), lambda f, a, b: f("bi,ij->bj", [a, W]),
               lambda f, a, b: f("bi,bi,bj->b", a, C, b), lambda f, a, b: f("ij,bj->bi", W, a)],
    "div": [with_other, with_constant, lambda f, a, b: f(a, 2.5)],
    "rdiv": [with_other, lambda f, a, b: f(a, 2.5), with_constant],
    "add": [with_other, with_constant, lambda f, a, b: f(a, 2.5)],
    "cat": [lambda f, a, b: f([a, b]), lambda f, a, b: f((a, C, b)), lambda f, a, b: f([a, C])],
    "sum": [reduced, alone, lambda f, a, b: f(a, dim=1, keepdim=True)],
    "cumsum": [reduced],
    "mean": [reduced, alone, lambda f, a, b: f(a, dim=(0, 1))],
    **{f"{kind}_pool{d}d": [pooled(d, 2 if d < 3 else (1, 2, 2))] for kind in ("avg", "max") for d in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{d}d": [pooled(d, 1 if d < 3 else (1, 2, 1))] for kind in ("avg", "max") for d in (1, 2, 3)},
    "interpolate": [lambda f, a, b: f(spatial(a, 2), scale_factor=2, mode="bilinear", align_corners=False)],
    "grid_sample": [lambda f, a, b: f(spatial(a, 2), GRID, align_corners=False)],
    "unfold": [lambda f, a, b: f(spatial(a, 2), 2) if f is F.unfold else f(a, 1, 2, 1)],
    "fold": [lambda f, a, b: f(a[..., None], (2, 2), (2, 2))],
    "channel_shuffle": [lambda f, a, b: f(a.reshape(3, 4, 1, 1), 2)],
    "pixel_shuffle": [lambda f, a, b: f(a.reshape(3, 4, 1, 1), 2)],
    "pixel_unshuffle": [lambda f, a, b: f(spatial(a, 2), 2)],
    "max": [alone],
    "amax": [reduced, lambda f, a, b: f(a, dim=(0, 1), keepdim=True)],
    "amin": [reduced],
    "max of two": [with_other, with_constant, lambda f, a, b: f(a, 1)[0], lambda f, a, b: f(a, dim=1, keepdim=True).values],
    "maximum": [with_other, with_constant],
    "prelu": [lambda f, a, b: f(a, C[0])],
    "threshold": [lambda f, a, b: f(a, 0.1, 0.0)],
    "softmax": [reduced, lambda f, a, b: f(a, dim=0)],
    "log_softmax": [reduced],
    "glu": [reduced, alone],
    "pow": [lambda f, a, b: f(a, 2.5), lambda f, a, b: f(a, C.abs()), lambda f, a, b: f(a, 0)],
    "rpow": [lambda f, a, b: f(a, 2.5)],
    "square": [alone],
    "clamp": [lambda f, a, b: f(a, -0.5), lambda f, a, b: f(a, -0.5, 0.5), lambda f, a, b: f(a, C)],
    "clamp_min": [lambda f, a, b: f(a, 0.1)],
    "clamp_max": [lambda f, a, b: f(a, 0.1)],
    "var": [reduced, alone, lambda f, a, b: f(a, 1, correction=0), lambda f, a, b: f(a, (0, 1), keepdim=True)],
    "vector_norm": [lambda f, a, b: f(a, 2, 1), lambda f, a, b: f(a, dim=1, keepdim=True)],
    "logsumexp": [reduced, lambda f, a, b: f(a, (0, 1), keepdim=True)],
    "batch_norm": [batch_normed],
    "layer_norm": [lambda f, a, b: f(a, (4,)), lambda f, a, b: f(a, (3, 4), C, C)],
    "rms_norm": [lambda f, a, b: f(a, (4,)), lambda f, a, b: f(a, (4,), C[0], 1e-3)],
    "group_norm": [lambda f, a, b: f(a, 2), lambda f, a, b: f(a, 2, C[0], C[1], 1e-3)],
    "instance_norm": [instance_normed],
    "scaled_dot_product_attention": [lambda f, a, b: f(a, b, b), lambda f, a, b: f(C, a, C), lambda f, a, b: f(C, C, a)],
    "multi_head_attention_forward": [attended],
    "lstm": [recurrent(4, 2)], "gru": [recurrent(3, 1)], "rnn": [recurrent(1, 1)],
    "lstm_cell": [cell(4, 2)], "gru_cell": [cell(3, 1)], "rnn_cell": [cell(1, 1)],
}  # fmt: skip
POSITIVE = {"pow", "sqrt", "rsqrt", "log", "reciprocal"}  # operations that are tried on positive numbers only
ELSEWHERE = {"grouped_mm", "_grouped_mm"}  # have tests of their own
REFUSED = {"asinh_", "__rpow__"}  # by torch, which has no derivative of it, or by attrkit, which says so
NAMES = {
    "matmul": {"matmul", "matmul_const"},
    "einsum": {"einsum", "matmul_const"},
}  # what calls of an operation are reported as
PLAIN = {"div", "multiply", "add", "cat", "pow", "clamp", "maximum", "softmax", "log_softmax", "glu", "var", "sum", "max"}


def called(function, operation):
    """How a function may be called."""
    name = function.__name__
    base = name.strip("_").removeprefix("linalg_").removeprefix("special_").removesuffix("_with_indices")
    if base in ("max", "min"):
        return CALLS["max"] + CALLS["max of two"]
    if base.startswith("i") and base[1:] in ("mul", "div", "add", "sub"):
        base = base[1:]
    if "rnn" in base:
        base = "rnn_cell" if base.endswith("cell") else "rnn"
    base = {
        "std": "var",
        "norm": "vector_norm",
        "clip": "clamp",
        "upsample": "interpolate",
        "radd": "add",
        "rmul": "mul",
        "nansum": "sum",
    }.get(base, base)
    if base in CALLS:
        return CALLS[base]
    return CALLS[operation.name] if operation.name in PLAIN else [alone]


EVERY = {
    f"{o.name}: {getattr(f, '__objclass__', f).__module__}.{f.__qualname__} {i}": (o, f, call)
    for o in SHIPPED
    for f in dict.fromkeys(o.functions)
    if f.__name__ not in ELSEWHERE | REFUSED
    for i, call in enumerate(called(f, o))
}


def net_of(operation, function, call, seen):
    """A number that depends on two inputs through a function; ``seen`` gets what that returns."""

    def net(x, y):
        a, b = 1.25 * x + 0.1, y - 0.2 * x
        if operation.name in POSITIVE:
            a = a.abs() + 0.5
        z = call(function, a, b)
        z = z[0] if isinstance(z, tuple) else z
        seen.append(z.detach().clone())
        return (z.reshape(-1) * draw(z.numel(), seed=11)).sum().reshape(1) + (x + y).sum()

    return net


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.filterwarnings("ignore:`nn.functional.upsample` is deprecated")
def test_under_gradient_everywhere_relevance_is_gradient_times_input(explain, name):
    operation, function, call = EVERY[name]
    inputs, plain, governed = (draw(3, 4, seed=1), draw(3, 4, seed=2)), [], []
    leaves = [t.clone().requires_grad_() for t in inputs]
    output = net_of(operation, function, call, plain)(*leaves)
    gradients = torch.autograd.grad(output.sum(), leaves)
    found = explain(net_of(operation, function, call, governed), inputs, "lrp", rules=GRADIENT)
    for relevance, x, gradient in zip(found.values.values(), inputs, gradients, strict=True):
        torch.testing.assert_close(relevance, x * gradient, rtol=1e-9, atol=1e-11)
    if operation.parts is None:
        assert torch.equal(governed[-1], plain[-1])
    torch.testing.assert_close(governed[-1], plain[-1], rtol=1e-12, atol=1e-12)
    if name.endswith(" 0"):
        assert {r["operation"] for r in found.rules} & NAMES.get(operation.name, {operation.name})
    assert math.isclose(float(found.output), float(output.detach()), rel_tol=1e-12)
