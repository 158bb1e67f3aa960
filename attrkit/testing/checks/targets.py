"""Which output is explained."""

from __future__ import annotations

import torch

from attrkit.errors import UsageError
from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject, close


def _aims(s: Subject) -> bool:
    return s.spec.objective and (s.where is not Where.NEURON or s.spec.neuron == "through")


@check(_aims)
def targets_come_in_every_form(s: Subject) -> None:
    """A number, a tuple, a list and a tensor say the same."""
    expected = s.values(seeded(), points(3, 5), target=2)
    for form in ((2,), [2, 2, 2], torch.tensor([2, 2, 2]), [(2,), (2,), (2,)]):
        close(s.values(seeded(), points(3, 5), target=form), expected)


@check(lambda s: _aims(s) and not s.spec.stochastic)
def each_example_may_have_its_target(s: Subject) -> None:
    """A list of targets explains each example's own."""
    mixed = s.values(seeded(), points(3, 5), target=[0, 2, 1])
    for row, target in enumerate((0, 2, 1)):
        alone = s.values(seeded(), points(3, 5)[row : row + 1], target=target)
        close(tuple(v[row : row + 1] for v in mixed), alone)


@check(_aims)
def the_target_matters(s: Subject) -> None:
    """Another target has other attributions."""
    first, second = (s.values(seeded(), points(3, 5), target=t) for t in (0, 1))
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True)), "targets 0 and 1 have the same attributions"


@check(lambda s: _aims(s) and s.spec.outputs == "one")
def a_missing_target_is_named(s: Subject) -> None:
    """Of several outputs, none chosen: an error that says ``target``."""
    try:
        s.values(seeded(), points(3, 5), target=None)
    except UsageError as error:
        assert "target" in str(error), f"the message does not name target: {error}"  # noqa: PT017 - no pytest here
    else:
        raise AssertionError("a model of three outputs was explained without a target")
