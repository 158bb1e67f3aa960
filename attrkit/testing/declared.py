"""What every declaration but a method's says of itself; of methods there is more to say."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

from attrkit.errors import UsageError
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


def refused_by_name(spec: Declared, options: Mapping[str, Any], use: Callable[[Mapping[str, Any]], Any]) -> None:
    """Fail where an option that is nonsense is not refused by a UsageError that names it; ``use`` is given options."""
    for option in spec.options:
        name = option.name
        try:
            use({**options, name: object()})
        except UsageError as error:
            if name not in str(error):
                raise AssertionError(f"the message about {name} does not name it: {error}") from error
        except Exception as error:
            cause = error.__cause__ or error
            said = f"{type(cause).__name__}: {cause}"
            raise AssertionError(f"{name}=object() ended in {said}; raise a UsageError that names {name}") from error
        else:
            raise AssertionError(f"{name}=object() was accepted; refuse it by a UsageError that names it")


def declared() -> Checks:
    """A list of checks that begins with these."""
    checks = Checks()
    for each in (pickles_to_itself, is_described):
        checks()(each)
    return checks
