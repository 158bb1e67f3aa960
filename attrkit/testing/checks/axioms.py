"""What attributions promise to mean."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import Summed, Swapped, Symmetric, TwoInputs, points, seeded, smooth, unbiased
from attrkit.testing.subject import Subject, close, total

_EXACT = 1e-7
_APPROXIMATE = 2e-2
_OF_A_SAMPLE = 0.3
_LINEAR = 1e-4  # weights of a quadrature sum to one, whatever their number; stabilisers may absorb this much


def _judges(s: Subject) -> bool:
    """Whether attributions at the inputs follow from the model alone."""
    return s.where is Where.INPUT and s.spec.objective and not s.spec.stochastic and s.spec.lands == "site"


@check(lambda s: _judges(s) and s.spec.complete != "no")
def what_is_ignored_gets_nothing(s: Subject) -> None:
    """Where attributions share out what the output changes by, a feature that the model does not use gets 0."""
    inputs = (points(4, 4), points(4, 3, seed=4))
    _, second = s.values(seeded(TwoInputs), inputs)
    if second.shape != s.at(inputs[1]).shape:
        return  # it sums features up
    ignored = second[:, -1]
    assert ignored.abs().max() <= 1e-9, f"an ignored feature got {float(ignored.abs().max()):.3g}"


def _sums_over_paths(s: Subject) -> bool:
    """Whether it is linear in the model and complete, as means over paths from the baseline are, like Shapley values."""
    return s.spec.baseline != "none" and not s.spec.distribution and s.spec.linear and s.spec.complete != "no"


@check(lambda s: _judges(s) and _sums_over_paths(s))
def what_does_not_move_gets_nothing(s: Subject) -> None:
    """A linear and complete method gives 0 to a feature that is what its baseline is."""
    x = points(3, 5)
    baseline = x.clone()
    baseline[:, 1] += 1
    (found,) = s.values(seeded(), x, baselines=baseline)
    if found.shape != s.at(x).shape:
        return  # it sums features up
    still = found[:, [0, 2, 3, 4]]
    assert still.abs().max() <= 1e-9, f"a feature at its baseline got {float(still.abs().max()):.3g}"


@check(lambda s: s.where is Where.INPUT and s.spec.baseline != "none" and s.spec.objective)
def the_baseline_matters(s: Subject) -> None:
    """Another baseline has other attributions."""
    first, second = (s.values(seeded(), points(3, 5), baselines=points(3, 5, seed=i)) for i in (8, 9))
    differ = any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert differ, "two baselines have the same attributions; compare with problem.baseline, or declare baseline='none'"


@check(_judges)
def the_order_of_inputs_does_not_matter(s: Subject) -> None:
    """A model that takes its two tensors the other way round has the same attributions, the other way round."""
    a, b = points(4, 4), points(4, 3, seed=4)
    second, first = s.values(seeded(lambda: Swapped(TwoInputs())), (b, a))
    close((first, second), s.values(seeded(TwoInputs), (a, b)), _EXACT)


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
    if found.shape != s.at(x).shape:
        return  # it sums features up
    tolerance = _EXACT if s.spec.complete == "exact" else _APPROXIMATE
    close((found[:, 0],), (found[:, 1],), tolerance)


def _adds_up(s: Subject) -> bool:
    return s.where is not Where.NEURON and s.spec.complete != "no" and s.spec.lands == "site"


@check(_adds_up)
def attributions_add_up(s: Subject) -> None:
    """They sum to the change of the output from the baseline; without a baseline, to the output."""
    x = s.at(points(4, 5))
    model = seeded(smooth if s.spec.baseline != "none" else unbiased)  # kinks would hide a mistake, biases take their share
    off = _left_over(s, model, x, s.baseline(x))
    assert off <= _allowed(s), f"the sum is off by {off:.2g} of what it is to be"


@check(lambda s: _adds_up(s) and _compares_inputs(s) and not s.spec.distribution)
def attributions_add_up_from_any_baseline(s: Subject) -> None:
    """They sum to the change of the output from a baseline that is not zero, too."""
    off = _left_over(s, seeded(smooth), s.at(points(4, 5)), s.at(points(4, 5, seed=9)))
    assert off <= _allowed(s), f"from a baseline that is not zero, the sum is off by {off:.2g} of what it is to be"


@check(lambda s: _judges(s) and s.spec.complete != "no")
def a_linear_model_is_explained_exactly(s: Subject) -> None:
    """Of a linear model the sum is what it is to be; a method that is linear gives weights times differences."""
    if s.places:
        return  # it needs images
    compares = s.spec.baseline != "none"
    x = points(4, 5)
    baseline = s.baseline(x) if s.spec.distribution or not compares else points(4, 5, seed=9)
    model = seeded(lambda: nn.Linear(5, 3, bias=compares))
    weight = dict(model.named_parameters())["weight"][1].detach()
    found = s.values(model, x, baselines=baseline)
    expected = (x if baseline is None else x - baseline) * weight
    if s.spec.linear and found[0].shape == x.shape:
        close(found, (expected,), _LINEAR)
    else:
        close((total(found, expected[:, 0]),), (expected.sum(1),), _LINEAR)


def _compares_inputs(s: Subject) -> bool:
    return s.spec.baseline != "none" and (s.where is Where.INPUT or s.spec.baseline_at == "inputs")


def _allowed(s: Subject) -> float:
    return _EXACT if s.spec.complete == "exact" else _OF_A_SAMPLE if s.spec.stochastic else _APPROXIMATE


def _left_over(s: Subject, model: nn.Module, x: Tensor, baseline: Tensor | None) -> float:
    """By what share the sum of attributions misses what is to be explained."""
    with torch.no_grad():
        change = model(x)[:, 1]
        if _compares_inputs(s):
            change = change - model(torch.zeros_like(x) if baseline is None else baseline)[:, 1]
        elif s.spec.baseline != "none":  # a baseline that is a value of the layer
            *_, act, head = model.children()
            change = change - head(act(torch.zeros(len(x), 8, *x.shape[2:], dtype=x.dtype)))[:, 1]
    returned, _ = s.raw(model, x, baselines=baseline)
    return float((total(returned, change) - change).abs().max() / change.abs().max())


@check(lambda s: _adds_up(s) and s.spec.complete == "approximate" and s.takes("n_steps") and not s.spec.stochastic)
def more_steps_are_closer(s: Subject) -> None:
    """With more steps the sum comes closer to the change of the output."""
    x = s.at(points(4, 5))
    each = (s.changed(options={**s.options, "n_steps": n}) for n in (4, 64))
    few, many = (_left_over(with_steps, seeded(smooth), x, s.baseline(x)) for with_steps in each)
    assert many <= max(0.5 * few, 1e-6), f"off by {few:.2g} with 4 steps, and by {many:.2g} with 64"
