"""What a declaration says of itself."""

from __future__ import annotations

import dis
import inspect
import pickle
from typing import Any

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


@check(lambda s: not isinstance(s.spec, Wrapped))  # which says nothing of the options of the method inside
def is_described(s: Subject) -> None:
    """The docstring begins with a sentence, and its Args section says what each option is."""
    assert s.spec.summary.endswith("."), f"the docstring must begin with a sentence, it begins with {s.spec.summary!r}"
    silent = [o.name for o in s.spec.options if not o.help]
    assert not silent, f"the docstring's Args section says nothing of {', '.join(silent)}"


@check(lambda s: not isinstance(s.spec, Wrapped))
def every_option_is_looked_at(s: Subject) -> None:
    """The function reads each of its options: none is accepted and ignored."""
    ignored = [o.name for o in s.spec.options if not _reads(s.spec.function, o.name)]
    assert not ignored, f"the function never looks at {', '.join(ignored)}; use it, or take no such option"


def _reads(function: Any, name: str) -> bool:
    """Whether a function's code reads a parameter, as far as one can see that."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or name not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] or "locals" in code.co_names:
        return True
    loads = (i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD"))
    return name in code.co_cellvars or any(name in each if isinstance(each, tuple) else name == each for each in loads)


@check(lambda s: not isinstance(s.spec, Wrapped) and _registered(s.spec))
def has_a_class(s: Subject) -> None:
    """attrkit.attr has a class of the method for this place."""
    name = class_name(s.spec, s.where)
    assert getattr(find_class(name), "spec", None) is s.spec, f"attrkit.attr.{name} is the class of another method"


def _registered(spec: MethodSpec) -> bool:
    return registry.find("methods", spec.name) is spec
