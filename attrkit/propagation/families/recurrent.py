"""Recurrent layers and cells, step by step in the operations that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from attrkit.propagation.calls import Call
from attrkit.propagation.operations import Operation

State: TypeAlias = tuple[Tensor, ...]  # the hidden state first, which is the output
Weights: TypeAlias = Sequence[Any]  # of input and state, then the biases of both, and a projection of the hidden state
Step: TypeAlias = Callable[[Tensor, State, Weights], State]  # from what the input adds to the gates


def _added(h: Tensor, weights: Weights) -> Tensor:
    return F.linear(h, weights[1], weights[3])


def _lstm_step(gates: Tensor, state: State, weights: Weights) -> State:
    h, c = state
    i, f, g, o = (gates + _added(h, weights)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if weights[4] is None else F.linear(h, weights[4])), c


def _gru_step(gates: Tensor, state: State, weights: Weights) -> State:
    (h,) = state
    given, own = gates.chunk(3, -1), _added(h, weights).chunk(3, -1)
    reset, update = torch.sigmoid(given[0] + own[0]), torch.sigmoid(given[1] + own[1])
    new = torch.tanh(given[2] + reset * own[2])
    return ((1 - update) * new + update * h,)


def _rnn_step(activation: Callable[[Tensor], Tensor], gates: Tensor, state: State, weights: Weights) -> State:
    return (activation(gates + _added(state[0], weights)),)


def _run(
    step: Step, sequence: Sequence[Tensor], state: State, weights: Weights, *, backwards: bool
) -> tuple[list[Tensor], State]:
    """One layer in one direction, over steps of which later ones may have fewer rows."""
    outputs = []
    for gates in reversed(sequence) if backwards else sequence:
        rows = len(gates)
        new = step(gates, tuple(s[:rows] for s in state) if rows < len(state[0]) else state, weights)
        state = tuple(torch.cat([n, s[rows:]]) if rows < len(s) else n for n, s in zip(new, state, strict=True))
        outputs.append(new[0])
    return outputs[::-1] if backwards else outputs, state


def _grouped(flat: Sequence[Tensor], count: int, *, biased: bool) -> list[Weights]:
    """The weights of each layer and direction."""
    size = len(flat) // count
    groups = [flat[i * size : (i + 1) * size] for i in range(count)]
    if biased:
        return [(*g[:4], g[4] if size == 5 else None) for g in groups]
    return [(*g[:2], None, None, g[2] if size == 3 else None) for g in groups]


def _layers(
    step: Step,
    sequence: Sequence[Tensor],
    start: State,
    flat: Sequence[Tensor],
    options: tuple[bool, int, float, bool, bool],
) -> tuple[list[Tensor], State]:
    """All layers over a sequence of steps; the states are stacked as torch has them."""
    biased, layers, dropout, training, bidirectional = options
    directions = 2 if bidirectional else 1
    weights = _grouped(flat, layers * directions, biased=biased)
    last: list[State] = []
    outputs, sizes = list(sequence), [len(x) for x in sequence]
    for layer in range(layers):
        if layer and dropout and training:
            outputs = list(F.dropout(torch.cat(outputs), dropout).split(sizes))
        found = []
        for direction in range(directions):
            i = layer * directions + direction
            gates = F.linear(torch.cat(outputs), weights[i][0], weights[i][2]).split(sizes)
            each, state = _run(step, gates, tuple(s[i] for s in start), weights[i], backwards=direction == 1)
            found.append(each)
            last.append(state)
        outputs = [torch.cat(both, -1) for both in zip(*found, strict=True)] if bidirectional else found[0]
    return outputs, tuple(torch.stack(parts) for parts in zip(*last, strict=True))


def _parts(step: Step, *args: Any) -> tuple[Tensor, ...]:
    """A recurrent layer, called as torch calls it: for a tensor, or for the data of a packed sequence and its sizes."""
    packed, batch_first = isinstance(args[3], list | tuple), False
    if packed:
        data, sizes, start, flat, biased, layers, dropout, training, bidirectional = args
        sequence: Sequence[Tensor] = data.split(sizes.tolist())
    else:
        data, start, flat, biased, layers, dropout, training, bidirectional, batch_first = args
        sequence = data.unbind(1 if batch_first else 0)
    states = tuple(start) if isinstance(start, list | tuple) else (start,)
    outputs, last = _layers(step, sequence, states, flat, (biased, layers, dropout, training, bidirectional))
    joined = torch.cat(outputs) if packed else torch.stack(outputs, 1 if batch_first else 0)
    return joined, *last


def _cell(step: Step, x: Tensor, state: Any, *weights: Any) -> Any:
    """A cell, called as torch calls it."""
    own: list[Any] = [*weights, *[None] * (5 - len(weights))]
    states = tuple(state) if isinstance(state, list | tuple) else (state,)
    new = step(F.linear(x, own[0], own[2]), states, own)
    return new if len(states) > 1 else next(iter(new))


def _composite(call: Call) -> Any:
    return call.by_parts()


def _both(name: str, kind: str, step: Step) -> tuple[Operation, Operation]:
    layer, cell = getattr(torch, kind), getattr(torch, f"{kind}_cell")
    return Operation(name, (layer,), _composite, partial(_parts, step)), Operation(
        name, (cell,), _composite, partial(_cell, step)
    )


OPERATIONS = (
    *_both("lstm", "lstm", _lstm_step),
    *_both("gru", "gru", _gru_step),
    *_both("rnn", "rnn_tanh", partial(_rnn_step, torch.tanh)),
    *_both("rnn", "rnn_relu", partial(_rnn_step, torch.relu)),
)
