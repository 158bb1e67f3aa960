"""What a declaration says of itself."""

from __future__ import annotations

import pickle

from attrkit.facade import class_name, find_class
from attrkit.registry import registry
from attrkit.specs import MethodSpec
from attrkit.testing.checks.registered import check
from attrkit.testing.subject import Subject
from attrkit.wrapping import Wrapped


@check()
def pickles_to_itself(s: Subject) -> None:
    """The declaration is the module attribute that bears its function's name, so that workers find it."""
    again = pickle.loads(pickle.dumps(s.spec))  # noqa: S301 - made the line before
    assert again is s.spec, "the function's module has no attribute of its name that is this declaration"


@check()
def is_described(s: Subject) -> None:
    """The docstring begins with a sentence, and its Args section says what each option is."""
    assert s.spec.summary.endswith("."), f"the docstring must begin with a sentence, it begins with {s.spec.summary!r}"
    silent = [o.name for o in s.spec.options if not o.help]
    assert not silent, f"the docstring's Args section says nothing of {', '.join(silent)}"


@check(lambda s: not isinstance(s.spec, Wrapped) and _registered(s.spec))
def has_a_class(s: Subject) -> None:
    """attrkit.attr has a class of the method for this place."""
    name = class_name(s.spec, s.where)
    assert getattr(find_class(name), "spec", None) is s.spec, f"attrkit.attr.{name} is the class of another method"


def _registered(spec: MethodSpec) -> bool:
    return registry.find("methods", spec.name) is spec
