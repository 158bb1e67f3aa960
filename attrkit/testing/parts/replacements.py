"""What replacements promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from attrkit.coalitions import Rows
from attrkit.errors import UsageError
from attrkit.problem import Problem
from attrkit.protocols import Tensors
from attrkit.testing.declared import declared
from attrkit.testing.parts.subject import PartSubject, Total, accepted, broadcasts, inputs_of, refused, within
from attrkit.testing.snapshots import untouched


def _used(s: PartSubject, options: Mapping[str, Any]) -> Any:
    """A replacement with other options, on the first inputs that it takes with its own."""
    _, inputs = next(_settings(s))
    return _run(PartSubject(s.spec, options), inputs)


@lru_cache(maxsize=16)
def _takes_some(s: PartSubject) -> bool:
    """Whether it takes any inputs; else one check says why not, and there is nothing to try the others on."""
    return any(True for _ in _settings(s))


check = declared(_used, _takes_some)
CHECKS = check.found
_NUMBERS = (0, 1, 2, 7)


def _values(found: Any, numbers: tuple[int, ...]) -> Tensors:
    """What replaces the site's value in some draws, shape ``(k, batch or 1, ...)``, whichever form it has."""
    if isinstance(found, Tensor):
        found = (found,)
    if isinstance(found, tuple):
        return tuple(t.expand(len(numbers), *t.shape) for t in found)
    values: Tensors = found(torch.tensor(numbers))
    return values


def _draws(found: Any) -> bool:
    return not isinstance(found, Tensor | tuple)


def _settings(s: PartSubject) -> Iterator[tuple[str, Tensors]]:
    return ((name, inputs_of(name)) for name in accepted(lambda inputs: _run(s, inputs)))


def _run(s: PartSubject, inputs: Tensors, numbers: tuple[int, ...] = _NUMBERS, **given: Any) -> Tensors:
    return within(lambda problem: _values(s(problem), numbers), inputs, **given)


@check()
def is_for_some_inputs(s: PartSubject) -> None:
    """Tables, images, sequences, token numbers or flags: it takes one of them, and refuses others by a UsageError."""
    if not list(_settings(s)):
        raise AssertionError(refused(lambda inputs: _run(s, inputs)))


@check(_takes_some)
def returns_what_replaces(s: PartSubject) -> None:
    """A tensor for each tensor at the site that broadcasts to it; Rows; or a function of draws that returns such tensors."""
    for name, inputs in _settings(s):
        for numbers in ((0,), _NUMBERS):
            _judge(name, inputs, within(s, inputs), numbers)


def _judge(name: str, inputs: Tensors, found: Any, numbers: tuple[int, ...]) -> None:
    """Fail unless what a replacement returned is of one of the forms that there are, and fits the inputs."""
    if isinstance(found, Tensor):
        found = (found,)
    if isinstance(found, tuple):
        assert all(isinstance(t, Tensor) for t in found), f"{name}: returned {found!r}, not tensors"
        assert len(found) == len(inputs), f"{name}: returned {len(found)} tensors for {len(inputs)}"
        for t, x in zip(found, inputs, strict=True):
            fits = broadcasts(t, x)
            assert fits, f"{name}: returned shape {tuple(t.shape)}, which does not broadcast to {tuple(x.shape)}"
        return
    assert isinstance(found, Rows) or callable(found), (
        f"{name}: returned {type(found).__name__}; return tensors, attrkit.Rows, or a function of numbers of draws"
    )
    drawn = _values(found, numbers)
    assert len(drawn) == len(inputs), f"{name}: a draw has {len(drawn)} tensors for {len(inputs)}"
    for t, x in zip(drawn, inputs, strict=True):
        ok = t.dim() == x.dim() + 1 and t.shape[0] == len(numbers) and t.shape[1] in (1, len(x)) and t.shape[2:] == x.shape[1:]
        assert ok, f"{name}: {len(numbers)} draws have shape {tuple(t.shape)} for a tensor of {tuple(x.shape)}"


@check(_takes_some)
def keeps_the_type(s: PartSubject) -> None:
    """What replaces integers is integers, and so on; or it refuses them: nothing is rounded behind anyone's back."""
    for name, inputs in _settings(s):
        for t, x in zip(_run(s, inputs), inputs, strict=True):
            assert t.dtype is x.dtype, f"{name}: replaces {x.dtype} by {t.dtype}"
            assert t.device == x.device, f"{name}: replaces what is on {x.device} by what is on {t.device}"
            assert not t.requires_grad, f"{name}: returned a tensor with a graph"


@check(_takes_some)
def is_finite(s: PartSubject) -> None:
    """No NaN and no infinity, also where the inputs are zero."""
    for name, inputs in _settings(s):
        for given in (inputs, tuple(map(torch.zeros_like, inputs))):
            try:
                found = _run(s, given)
            except UsageError:
                continue
            assert all(bool(t.isfinite().all()) for t in found), f"{name}: replaces by NaN or infinity"


@check(_takes_some)
def leaves_everything_alone(s: PartSubject) -> None:
    """The inputs, and the random state of torch, numpy and Python, are as they were."""
    for _, inputs in _settings(s):
        model = Total()
        with untouched(model, *inputs):
            _run(s, inputs, model=model)


@check(_takes_some)
def equal_numbers_are_equal_draws(s: PartSubject) -> None:
    """A draw depends on its number alone, and not on what is drawn before or beside it."""
    for name, inputs in _settings(s):
        together = _run(s, inputs)
        for i, number in enumerate(_NUMBERS):
            for numbers, at in (((number,), 0), ((9, number, number), 1), ((9, number, number), 2)):
                alone = _run(s, inputs, numbers)
                same = all(torch.equal(t[i], a[at]) for t, a in zip(together, alone, strict=True))
                assert same, f"{name}: draw {number} differs from one call to the next; take problem.generator(number) for it"


@check(_takes_some)
def different_numbers_are_different_draws(s: PartSubject) -> None:
    """A replacement that draws draws something else for another number."""
    for name, inputs in _settings(s):
        if inputs[0].dtype is torch.bool:
            continue  # of which draws may well be equal

        def drawn(problem: Problem) -> Tensors | None:
            found = s(problem)
            several = _draws(found) and not (isinstance(found, Rows) and len(found) == 1)
            return _values(found, tuple(range(8))) if several else None

        found = within(drawn, inputs)
        differ = found is None or any(bool((t != t[:1]).any()) for t in found)
        assert differ, f"{name}: eight draws are the same; return tensors instead of a function, if nothing is drawn"


@check(_takes_some)
def draws_follow_the_seed(s: PartSubject) -> None:
    """The same seed gives the same; torch's own generator makes no difference."""
    for name, inputs in _settings(s):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = _run(s, inputs, seed=3)
            torch.manual_seed(2)
            second = _run(s, inputs, seed=3)
        assert all(map(torch.equal, first, second)), f"{name}: the same seed gave something else"


@check(_takes_some)
def takes_a_batch_of_one(s: PartSubject) -> None:
    """A single example is an example, or refused by a UsageError."""
    for name, _ in _settings(s):
        one = inputs_of(name, 1)
        try:
            found = within(s, one)
        except UsageError:
            continue
        _judge(f"one example of {name}", one, found, _NUMBERS)


@check(_takes_some)
def takes_inputs_of_any_layout(s: PartSubject) -> None:
    """Inputs that are not contiguous are inputs like others."""
    for name, inputs in _settings(s):
        strided = tuple(x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs)
        pairs = zip(_run(s, strided), _run(s, inputs), strict=True)
        same = all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6) for a, b in pairs)  # sums in another order
        assert same, f"{name}: inputs that are not contiguous are replaced by something else"


@check(_takes_some)
def stands_in_for_what_is_absent(s: PartSubject) -> None:
    """In a game, the value without features is that of what replaces them, and the value with all is the model's own."""
    for name, inputs in _settings(s):

        def ends(problem: Problem) -> tuple[Tensor, Tensor, Tensors]:
            game = problem.game(None, s)
            rows = torch.tensor([[True], [False]]).expand(2, game.count)
            drawn = _draws(s(problem))
            values = game.values(rows, torch.tensor([0, 0]) if drawn else None)
            return values[0], values[1], _values(s(problem), (0,))

        full, empty, replaced = within(ends, inputs)
        expected = Total()(*(t[0].expand_as(x) for t, x in zip(replaced, inputs, strict=True)))
        assert torch.allclose(full, Total()(*inputs), rtol=1e-5), f"{name}: all features do not give the model's own value"
        assert torch.allclose(empty, expected, rtol=1e-5, atol=1e-5), f"{name}: no features do not give the replacement's value"
