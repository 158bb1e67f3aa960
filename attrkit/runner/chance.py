"""Whether a forward pass draws from the global random generators; they are put back where it does."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

T = TypeVar("T")
_ALWAYS = frozenset({
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "normal", "bernoulli", "binomial",
    "poisson", "multinomial", "normal_", "uniform_", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_",
    "random_", "gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d", "_standard_gamma", "_sample_dirichlet",
})  # fmt: skip
#: Functions that draw where an argument says so, and its position.
_WHERE_SAID = {
    "dropout": 2, "dropout_": 2, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "alpha_dropout": 2, "alpha_dropout_": 2,
    "feature_dropout": 2, "feature_dropout_": 2, "feature_alpha_dropout": 2, "feature_alpha_dropout_": 2, "native_dropout": 2,
    "rrelu": 3, "rrelu_": 3, "scaled_dot_product_attention": 4, "multi_head_attention_forward": 13,
    "lstm": 6, "gru": 6, "rnn_tanh": 6, "rnn_relu": 6,
}  # fmt: skip
_BY_DEFAULT = {"dropout", "dropout1d", "dropout2d", "dropout3d"}  # as torch.nn.functional has it
_SAYING = ("training", "train", "dropout_p")


def _draws(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a function of torch draws from a global generator."""
    name = getattr(func, "__name__", "")
    if name in _ALWAYS:
        return kwargs.get("generator") is None
    if (position := _WHERE_SAID.get(name)) is None:
        return False
    said = [kwargs[word] for word in _SAYING if word in kwargs] or list(args[position : position + 1])
    return all(said) if said else name in _BY_DEFAULT


class _Drawing(TorchFunctionMode):
    """Notes whether torch's functions draw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = self.seen or _draws(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


@attrs.define(eq=False)
class Chance:
    """What is known of a model's passes, None before the first: whether they draw from torch's generators, or from others."""

    drawn: bool | None = None
    elsewhere: bool | None = None  # from those of numpy or Python

    def watching(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, whose first use tells."""
        waiting = [True]

        def watched(*args: Any, **kwargs: Any) -> Any:
            if not waiting:
                return call(*args, **kwargs)
            waiting.clear()
            before, drawing = [] if _others() else _elsewhere(), _Drawing()
            try:
                with drawing:
                    return call(*args, **kwargs)
            finally:
                self.drawn = drawing.seen or bool(self.drawn)
                self.elsewhere = any(map(_State.moved, before)) or bool(self.elsewhere)

        return watched

    def kept(self, run: Callable[[], T]) -> T:
        """What ``run`` returns; the global generators are put back where a forward pass in it drew from them.

        While other threads run, what moved a generator may be one of them, whose stream must go on. Then that is done only for
        a model that was seen to draw, by functions of torch.
        """
        others = _others()
        if others and self.drawn is False and not self.elsewhere:
            return run()
        before = _torchs()
        beside = [] if self.elsewhere is False else _elsewhere()
        try:
            return run()
        finally:
            if self.drawn or not (others or _others()):
                moved = list(filter(_State.moved, before))
                self.drawn = bool(moved or self.drawn)
                for state in moved:
                    state.put_back()
            for state in beside if self.elsewhere else ():
                state.put_back()


@attrs.frozen
class _State:
    """What a generator was, and how to ask for that and set it."""

    was: Any
    get: Callable[[], Any]
    put: Callable[[Any], Any]

    def moved(self) -> bool:
        """Whether it is another one now."""
        return not _same(self.was, self.get())

    def put_back(self) -> None:
        """Make it what it was."""
        self.put(self.was)


def _others() -> bool:
    return threading.active_count() > 1


def _torchs() -> list[_State]:
    generator = torch.default_generator
    found = [_State(generator.get_state(), generator.get_state, generator.set_state)]
    for device in range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ():
        get = partial(torch.cuda.get_rng_state, device)
        found.append(_State(get(), get, partial(torch.cuda.set_rng_state, device=device)))
    return found


def _elsewhere() -> list[_State]:
    get = partial(np.random.get_state, legacy=False)
    return [_State(random.getstate(), random.getstate, random.setstate), _State(get(), get, np.random.set_state)]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):  # of bytes, which torch compares one by one
        return bool(a.numpy().tobytes() == b.numpy().tobytes())
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)
