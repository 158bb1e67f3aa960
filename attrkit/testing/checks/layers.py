"""Layers that run twice, never, or return several tensors."""

from __future__ import annotations

from attrkit.errors import UsageError
from attrkit.protocols import Tensors
from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import Reusing, points, seeded
from attrkit.testing.subject import Subject, shaped_like


def _at_layers(s: Subject) -> bool:
    return s.where is Where.LAYER and s.spec.lands == "site"


def _two(s: Subject, found: Tensors) -> bool:
    """Whether there are attributions for two tensors of shape (3, 5)."""
    return len(found) == 2 and all(shaped_like(v, s.at(v.new_empty(3, 5))) for v in found)


@check(_at_layers)
def a_layer_may_run_twice(s: Subject) -> None:
    """A layer that runs twice has attributions for each call."""
    found = s.values(seeded(Reusing), points(3, 5), layer="twice")
    assert _two(s, found), "a layer that runs twice has not two attributions"


@check(_at_layers)
def a_layer_may_return_several_tensors(s: Subject) -> None:
    """Tuples and dictionaries of tensors have attributions for each."""
    for kind in ("tuple", "dictionary"):
        found = s.values(seeded(lambda kind=kind: Reusing(kind)), points(3, 5), layer="several")  # type: ignore[misc]
        assert _two(s, found), f"a {kind} of two tensors has not two attributions"


@check(lambda s: s.where is not Where.INPUT)
def a_layer_that_never_runs_is_named(s: Subject) -> None:
    """An error that names the layer."""
    try:
        s.values(seeded(Reusing), points(3, 5), layer="never")
    except UsageError as error:
        assert "never" in str(error), f"the message does not name the layer: {error}"  # noqa: PT017 - no pytest here
    else:
        raise AssertionError("a layer that never ran was explained")
