"""What every declaration but a method's says of itself; of methods there is more to say."""

from __future__ import annotations

import pickle
from typing import Any

from attrkit.specs import Declared
from attrkit.testing.listed import Checks


def pickles_to_itself(s: Any) -> None:
    """The declaration is the module attribute that bears its function's name, so that workers find it."""
    spec: Declared = s.spec
    again = pickle.loads(pickle.dumps(spec))  # noqa: S301 - made the line before
    assert again is spec, "the function's module has no attribute of its name that is this declaration"


def is_described(s: Any) -> None:
    """The docstring begins with a sentence, and its Args section says what each option is."""
    spec: Declared = s.spec
    assert spec.summary.endswith("."), f"the docstring must begin with a sentence, it begins with {spec.summary!r}"
    silent = [o.name for o in spec.options if not o.help]
    assert not silent, f"the docstring's Args section says nothing of {', '.join(silent)}"


def declared() -> Checks:
    """A list of checks that begins with these."""
    checks = Checks()
    for each in (pickles_to_itself, is_described):
        checks()(each)
    return checks
