"""What every declaration but a method's says of itself; of methods there is more to say."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from attrkit.errors import UsageError
from attrkit.specs import Declared
from attrkit.testing.listed import Checks, Needs, Run, always


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


#: Applies a part or rule with options of a check's own, and returns what comes of it.
Use: TypeAlias = "Callable[[Any, Mapping[str, Any]], Any]"

_NONSENSE: tuple[Any, ...] = ("nonsense", None, -1, math.nan, [], torch.ones(2, 3, 7, dtype=torch.float64))


def declared(use: Use | None = None, needs: Needs = always) -> Checks:
    """A list of checks that begins with what is checked of every declaration.

    Args:
        use: applies one, so that its options can be tried.
        needs: whether ``use`` can apply it.
    """
    checks = Checks()
    for each in (pickles_to_itself, is_described):
        checks()(each)
    for of_options in _of_options(use) if use else ():
        checks(lambda s: bool(s.spec.options) and needs(s))(of_options)
    return checks


def _of_options(use: Use) -> tuple[Run, Run]:
    """What is checked of options."""

    def refuses_options_that_are_nonsense(s: Any) -> None:
        """An option of no type that makes sense is refused by a UsageError that names the option."""
        judge_nonsense(use, s)

    def says_what_is_wrong_with_options(s: Any) -> None:
        """Text, None, -1, NaN, nothing or any tensor for an option: numbers, or a UsageError that names the option."""
        judge_options(use, s)

    return refuses_options_that_are_nonsense, says_what_is_wrong_with_options


def judge_nonsense(use: Use, s: Any) -> None:
    """Fail where an option of a declaration takes any object there is."""
    for option in s.spec.options:
        found, refused = _tried(use, s, option.name, object())
        assert refused, f"{option.name}=object() was accepted, and gave {found!r}; refuse it by a UsageError that names it"


def judge_options(use: Use, s: Any) -> None:
    """Fail where an option of a declaration, given something odd, ends in neither finite numbers nor a message about it."""
    for option in s.spec.options:
        for value in _NONSENSE:
            found, refused = _tried(use, s, option.name, value)
            if refused or isinstance(value, float):  # of NaN NaN may come
                continue
            tensors = [t for t in tree_leaves(found) if isinstance(t, Tensor) and t.is_floating_point()]
            given = f"{option.name}={_in_words(value)}"
            assert all(bool(t.isfinite().all()) for t in tensors), (
                f"{given} was accepted, and gave NaN or infinity; refuse it by a UsageError that names {option.name}"
            )


def _in_words(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _tried(use: Use, s: Any, name: str, value: Any) -> tuple[Any, bool]:
    """What comes of a value for an option; and whether it is refused, by a UsageError that names the option."""
    try:
        return use(s, {**s.options, name: value}), False
    except UsageError as error:
        if name not in str(error):
            raise AssertionError(f"{name}={_in_words(value)}: the message does not name {name}: {error}") from error
        return None, True
    except Exception as error:
        cause = error.__cause__ or error
        said = f"{type(cause).__name__}: {cause}"
        raise AssertionError(f"{name}={_in_words(value)} ended in {said}; raise a UsageError that names {name}") from error
