"""What is wrong is said, and named."""

from __future__ import annotations

import torch

from attrkit.errors import UsageError
from attrkit.specs import Where
from attrkit.testing.checks.registered import check
from attrkit.testing.models import points, seeded
from attrkit.testing.subject import Subject


def refused(s: Subject, word: str, /, **given: object) -> None:
    """Fail unless a call is refused with a message that has a word in it."""
    try:
        s.values(seeded(), points(3, 5), **given)
    except UsageError as error:
        assert word in str(error), f"the message does not name {word}: {error}"  # noqa: PT017 - no pytest here
    else:
        raise AssertionError(f"no error for {given!r}")


@check(lambda s: s.spec.objective and s.where is not Where.NEURON)
def a_wrong_target_is_named(s: Subject) -> None:
    """A target out of range is an error that says ``target``."""
    refused(s, "target", target=3)


@check(lambda s: s.spec.baseline != "none")
def a_wrong_baseline_is_named(s: Subject) -> None:
    """A baseline of another width is an error that says ``baselines``."""
    refused(s, "baselines", baselines=torch.zeros(3, 4, dtype=torch.float64))


@check()
def options_refuse_nonsense(s: Subject) -> None:
    """A number option given a word is an error that names it."""
    for option in s.spec.options:
        if option.type in ("int", "float", "bool", "int | None", "float | None") and option.name not in s.options:
            refused(s, option.name, **{option.name: "nonsense"})


@check()
def counts_refuse_zero(s: Subject) -> None:
    """An option that counts something (``n_...``) refuses 0 and numbers below, and names itself."""
    for option in s.spec.options:
        if option.name.startswith("n_") and option.type == "int" and option.name not in s.options:
            for count in (0, -1):
                refused(s, option.name, **{option.name: count})
