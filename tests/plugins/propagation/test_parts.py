"""What operations are made of computes what they compute, with every argument that they take."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from attrkit.propagation.families import SHIPPED
from attrkit.propagation.operations import by_function
from tests.plugins.models import built, draw

PARTS = {function: operation.parts for function, operation in by_function(SHIPPED).items() if operation.parts is not None}


class Apart(TorchFunctionMode):
    """Replaces every operation that has parts by these, and counts them."""

    taken = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        parts = PARTS.get(func)
        if parts is None:
            return func(*args, **(kwargs or {}))
        self.taken += 1
        return parts(*args, **(kwargs or {}))


def flat(value):
    """All tensors in a value."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in flat(v)] if isinstance(value, list | tuple) else []


def check(function):
    expected = function()
    with Apart() as mode:
        found = function()
    assert mode.taken, "nothing was taken apart"
    assert len(flat(found)) == len(flat(expected)) > 0
    for one, other in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


X, Y, IMAGE = draw(3, 4), draw(3, 4, seed=1), draw(2, 4, 3, 2, seed=2)
Q, K, V = draw(2, 4, 3, 6), draw(2, 4, 5, 6, seed=1), draw(2, 4, 5, 6, seed=2)
FEW = draw(2, 2, 5, 6, seed=3)
SEEN = draw(3, 5, seed=4) > -0.5
SEEN[:, 0] = True
W, B = draw(4, seed=5), draw(4, seed=6)

FUNCTIONS = {
    "linear": lambda: F.linear(draw(2, 3, 4), draw(5, 4), draw(5)),
    "linear without bias": lambda: F.linear(X, Y),
    "addmm": lambda: torch.addmm(X[:, :3], X, Y.T, beta=0.5, alpha=2.0),
    "addmm of a row": lambda: torch.addmm(X[0, :3], X, Y.T),
    "bilinear": lambda: F.bilinear(X, Y, draw(5, 4, 4), draw(5)),
    "bilinear of sequences": lambda: F.bilinear(IMAGE, IMAGE + 1, draw(5, 2, 2)),
    "baddbmm": lambda: torch.baddbmm(draw(2, 3, 3), draw(2, 3, 4), draw(2, 4, 3), beta=0.5, alpha=2),
    "baddbmm that ignores what it adds":
        lambda: torch.baddbmm(torch.full((2, 3, 3), torch.nan).double(), draw(2, 3, 4), draw(2, 4, 3), beta=0),
    "quotient": lambda: X / Y,
    "quotient by name": lambda: torch.div(X, Y, rounding_mode=None),
    "quotient by its other name": lambda: X.true_divide(Y),
    "maximum": lambda: torch.maximum(X, Y),
    "minimum": lambda: torch.minimum(X, Y),
    "glu": lambda: F.glu(IMAGE),
    "glu of channels": lambda: F.glu(IMAGE, dim=1),
    **{
        f"{name} {label}": (lambda name=name, args=args, kwargs=kwargs: getattr(torch, name)(IMAGE, *args, **kwargs))
        for name in ("var", "std")
        for label, args, kwargs in (
            ("of all", (), {}), ("of one", (1,), {}), ("of some", ((1, 3),), {"keepdim": True}), ("biased", (1, False), {}),
            ("by name", (), {"dim": -1, "unbiased": False}), ("biased of all", (False,), {}), ("kept", (2, True, True), {}),
            ("corrected by none", (), {"dim": 1, "correction": 0}), ("corrected by two", (), {"dim": 1, "correction": 2}),
        )
    },
    **{
        f"norm {label}": (lambda args=args, kwargs=kwargs: torch.norm(IMAGE, *args, **kwargs))
        for label, args, kwargs in (
            ("of all", (), {}), ("fro", ("fro",), {}), ("of one", (2, 1), {}), ("kept", (), {"dim": 1, "keepdim": True}),
            ("of order 3", (3,), {"dim": (1, 2)}), ("of order 1", (1, -1, True), {}),
        )
    },
    "vector_norm": lambda: torch.linalg.vector_norm(IMAGE, 3, dim=(1, 2), keepdim=True),
    "vector_norm by name": lambda: torch.linalg.vector_norm(IMAGE, ord=1, dim=-1),
    "linalg.norm": lambda: torch.linalg.norm(X, dim=1),
    "linalg.norm by name": lambda: torch.linalg.norm(X, ord=3, dim=1, keepdim=True),
    "linalg.norm of a matrix": lambda: torch.linalg.norm(X),
    "logsumexp": lambda: torch.logsumexp(IMAGE, 1),
    "logsumexp of some": lambda: IMAGE.logsumexp((1, 2), keepdim=True),
    "logsumexp by name": lambda: torch.logsumexp(IMAGE, dim=-1, keepdim=True),
    "logsumexp of some, not kept": lambda: torch.special.logsumexp(IMAGE, dim=(-1, 1)),
    "layer_norm": lambda: F.layer_norm(X, (4,)),
    "layer_norm by name": lambda: F.layer_norm(input=X, normalized_shape=[3, 4], weight=Y, bias=X, eps=0.1),
    "layer_norm of torch": lambda: torch.layer_norm(X, (4,), W, B, 1e-3, False),
    "rms_norm": lambda: F.rms_norm(X, (4,)),
    "rms_norm by name": lambda: F.rms_norm(IMAGE, normalized_shape=(3, 2), weight=IMAGE[0, 0], eps=0.1),
    "group_norm": lambda: F.group_norm(IMAGE, 2),
    "group_norm by name": lambda: F.group_norm(IMAGE, num_groups=2, weight=W, bias=B, eps=0.1),
    "group_norm of torch": lambda: torch.group_norm(IMAGE, 2, W, B, 1e-3, True),
    "group_norm without places": lambda: F.group_norm(X, 2, W, B),
    "instance_norm": lambda: F.instance_norm(IMAGE),
    "instance_norm by name": lambda: F.instance_norm(IMAGE, weight=W, bias=B, eps=0.1),
    "instance_norm by place": lambda: F.instance_norm(IMAGE, None, None, W, B, True, 0.1, 0.01),
    "instance_norm of torch": lambda: torch.instance_norm(IMAGE, W, B, None, None, True, 0.1, 0.01, False),
    "sdpa": lambda: F.scaled_dot_product_attention(Q, K, V),
    "sdpa, causal": lambda: F.scaled_dot_product_attention(Q, K, V, is_causal=True),
    "sdpa, scaled": lambda: F.scaled_dot_product_attention(Q, K, V, scale=0.3),
    "sdpa, positional": lambda: F.scaled_dot_product_attention(Q, K, V, None, 0.0, True),
    "sdpa, by name": lambda: F.scaled_dot_product_attention(query=Q, key=K, value=V, attn_mask=SEEN),
    "sdpa, boolean mask": lambda: F.scaled_dot_product_attention(Q, K, V, SEEN),
    "sdpa, mask of each": lambda: F.scaled_dot_product_attention(Q, K, V, SEEN.expand(2, 1, 3, 5)),
    "sdpa, float mask": lambda: F.scaled_dot_product_attention(Q, K, V, draw(3, 5)),
    "sdpa, infinite mask":
        lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 5).double().masked_fill(~SEEN, -torch.inf)),
    "sdpa, smallest mask":
        lambda: F.scaled_dot_product_attention(Q, K, V, torch.zeros(3, 5).double().masked_fill(~SEEN,
        torch.finfo(torch.float64).min)),
    "sdpa, shared keys": lambda: F.scaled_dot_product_attention(Q, FEW, FEW + 1, enable_gqa=True),
    "sdpa, nothing seen": lambda: F.scaled_dot_product_attention(Q, K, V, SEEN & torch.tensor([[False], [True], [True]])),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    check(FUNCTIONS[name])


ATTENTIONS = {
    "plain": ({}, {}),
    "without bias": ({"bias": False}, {}),
    "biases of keys": ({"add_bias_kv": True}, {}),
    "a zero beside": ({"add_zero_attn": True}, {}),
    "padded": ({}, {"key_padding_mask": torch.tensor([[False, False, True], [False, False, False]])}),
    "padded by numbers": ({}, {"key_padding_mask": torch.tensor([[0, 0, -torch.inf], [0, 0, 0.5]]).double()}),
    "masked": ({}, {"attn_mask": torch.ones(3, 3).triu(1).bool()}),
    "masked by numbers": ({}, {"attn_mask": draw(3, 3, seed=7)}),
    "masked each head": ({}, {"attn_mask": draw(4, 3, 3, seed=7)}),
    "causal": ({}, {"attn_mask": torch.ones(3, 3).triu(1).bool(), "is_causal": True, "need_weights": False}),
    "both":
        ({}, {"attn_mask": torch.ones(3, 3).triu(1).bool(), "key_padding_mask": torch.tensor([[False] * 3, [False, False,
        True]])}),
    "weights of each head": ({}, {"average_attn_weights": False}),
    "no weights": ({}, {"need_weights": False}),
    "time first": ({"batch_first": False}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTENTIONS)
def test_multi_head_attention(name):
    made, given = ATTENTIONS[name]
    model = built(lambda: nn.MultiheadAttention(4, 2, **{"batch_first": True, **made}))
    x = draw(2, 3, 4) if made.get("batch_first", True) else draw(3, 2, 4)
    with torch.enable_grad():
        check(lambda: model(x.requires_grad_(), x, x, **given))


def test_attention_to_another_sequence():
    model = built(lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True))
    check(lambda: model(draw(2, 3, 4), draw(2, 6, 3), draw(2, 6, 5)))


def test_attention_of_one_example():
    model = built(lambda: nn.MultiheadAttention(4, 2))
    check(lambda: model(draw(3, 4), draw(5, 4), draw(5, 4)))


VARIANTS = {
    "plain": {},
    "time first": {"batch_first": False},
    "both ways": {"bidirectional": True},
    "two layers": {"num_layers": 2},
    "two layers both ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
    "without bias": {"bias": False, "num_layers": 2},
}
KINDS = {
    "rnn": (nn.RNN, {}),
    "rnn of relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "lstm with projection": (nn.LSTM, {"proj_size": 3}),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["zero", "given"])
@pytest.mark.parametrize("form", ["batch", "single", "packed", "packed, unsorted"])
def test_recurrent_layers(kind, variant, start, form):
    make, more = KINDS[kind]
    model = built(lambda: make(4, 5, **{"batch_first": True, **VARIANTS[variant], **more}))
    x = draw(5, 4) if form == "single" else draw(3, 5, 4) if model.batch_first else draw(5, 3, 4)
    directions, rows = model.num_layers * (2 if model.bidirectional else 1), [] if form == "single" else [3]
    state = draw(directions, *rows, model.proj_size or 5, seed=2)
    given = () if start == "zero" else ((state, draw(directions, *rows, 5, seed=3)),) if make is nn.LSTM else (state,)
    lengths = torch.tensor([5, 3, 1] if form == "packed" else [2, 5, 3])

    def run():
        if not form.startswith("packed"):
            return model(x, *given)
        packed = pack_padded_sequence(x, lengths, batch_first=model.batch_first, enforce_sorted=form == "packed")
        output, state = model(packed, *given)
        return pad_packed_sequence(output, batch_first=model.batch_first), state

    check(run)


@pytest.mark.parametrize(
    "make", [nn.RNNCell, nn.GRUCell, nn.LSTMCell, lambda i, o, **k: nn.RNNCell(i, o, nonlinearity="relu", **k)]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(3,), ()])
def test_recurrent_cells(make, bias, rows):
    model = built(lambda: make(4, 5, bias=bias))
    state = draw(*rows, 5, seed=1)
    state = (state, draw(*rows, 5, seed=2)) if isinstance(model, nn.LSTMCell) else state
    check(lambda: (model(draw(*rows, 4)), model(draw(*rows, 4), state)))
