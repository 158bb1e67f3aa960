"""What attributions promise to mean."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import Summed, Symmetric, TwoInputs, points, seeded, smooth, unbiased
from attrkit.testing.subject import Subject, close, total

_EXACT = 1e-7
_APPROXIMATE = 2e-2
_OF_A_SAMPLE = 0.3


def _judges(s: Subject) -> bool:
    """Whether attributions at the inputs follow from the model alone."""
    return s.where is Where.INPUT and s.spec.objective and not s.spec.stochastic and s.spec.lands == "site"


@check(_judges)
def what_is_ignored_gets_nothing(s: Subject) -> None:
    """A feature that the model does not use gets 0."""
    _, second = s.values(seeded(TwoInputs), (points(4, 4), points(4, 3, seed=4)))
    ignored = second[:, -1]
    assert ignored.abs().max() <= 1e-9, f"an ignored feature got {float(ignored.abs().max()):.3g}"


@check(lambda s: _judges(s) and s.spec.baseline != "none" and not s.spec.distribution and s.spec.complete != "no")
def what_does_not_move_gets_nothing(s: Subject) -> None:
    """A feature that is what its baseline is gets 0."""
    x = points(3, 5)
    baseline = x.clone()
    baseline[:, 1] += 1
    (found,) = s.values(seeded(), x, baselines=baseline)
    still = found[:, [0, 2, 3, 4]]
    assert still.abs().max() <= 1e-9, f"a feature at its baseline got {float(still.abs().max()):.3g}"


@check(lambda s: _judges(s) and s.spec.linear)
def attributions_add_up_over_models(s: Subject) -> None:
    """Attributions of a sum of models are the sum of theirs."""
    first, second, x = seeded(), copy.deepcopy(seeded()), points(3, 5)
    with torch.no_grad():
        for p in second.parameters():
            p.mul_(-0.7)
    apart = tuple(map(torch.add, s.values(first, x), s.values(second, x)))
    close(s.values(Summed(first, second), x), apart, _EXACT)


@check(lambda s: _judges(s) and s.spec.complete != "no")
def equal_features_get_the_same(s: Subject) -> None:
    """Two features of the same value that the model treats alike get the same."""
    x = points(3, 5)
    x[:, 1] = x[:, 0]
    (found,) = s.values(seeded(Symmetric), x)
    tolerance = _EXACT if s.spec.complete == "exact" else _APPROXIMATE
    close((found[:, 0],), (found[:, 1],), tolerance)


def _adds_up(s: Subject) -> bool:
    return s.where is not Where.NEURON and s.spec.complete != "no" and s.spec.lands == "site"


@check(_adds_up)
def attributions_add_up(s: Subject) -> None:
    """They sum to the change of the output from the baseline; without a baseline, to the output."""
    x = points(4, 5)
    model = seeded(smooth if s.spec.baseline != "none" else unbiased)  # kinks would hide a mistake, biases take their share
    off = _left_over(s, model, x)
    allowed = _EXACT if s.spec.complete == "exact" else _OF_A_SAMPLE if s.spec.stochastic else _APPROXIMATE
    assert off <= allowed, f"the sum is off by {off:.2g} of what it is to be"


def _left_over(s: Subject, model: nn.Module, x: Tensor) -> float:
    """By what share the sum of attributions misses what is to be explained."""
    baseline = s.baseline(x)
    with torch.no_grad():
        change = model(x)[:, 1]
        if s.spec.baseline != "none" and (s.where is Where.INPUT or s.spec.baseline_at == "inputs"):
            change = change - model(torch.zeros_like(x) if baseline is None else baseline)[:, 1]
        elif s.spec.baseline != "none":  # a baseline that is a value of the layer
            *_, act, head = model.children()
            change = change - head(act(torch.zeros(len(x), 8, dtype=x.dtype)))[:, 1]
    returned, _ = s.raw(model, x)
    return float((total(returned, change) - change).abs().max() / change.abs().max())


@check(lambda s: _adds_up(s) and s.spec.complete == "approximate" and s.takes("n_steps") and not s.spec.stochastic)
def more_steps_are_closer(s: Subject) -> None:
    """With more steps the sum comes closer to the change of the output."""
    x = points(4, 5)
    few, many = (_left_over(Subject(s.spec, s.where, {**s.options, "n_steps": n}), seeded(smooth), x) for n in (4, 64))
    assert many <= max(0.5 * few, 1e-6), f"off by {few:.2g} with 4 steps, and by {many:.2g} with 64"
