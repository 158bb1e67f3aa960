"""Rulesets as values: which rule, with which parameters, governs which operations. Needs no torch."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal

import attrs

SCHEMA = "attrkit/ruleset@1"
POSITIONS = ("first", "input", "last")

Position = Literal["first", "input", "last"] | tuple[float, float] | None


@attrs.frozen
class Parameter:
    """A knob of a ruleset, which entries use as ``$name`` and callers set by ``parameters={name: value}``.

    Attributes:
        default: its value unless a caller gives another.
        type: what it may be; a choice may name a rule.
        min: the least value of a number.
        max: the largest value of a number.
        choices: the values of a choice.
        required: it has no default, and callers must give it.
        doc: what it means.
    """

    name: str
    default: Any = None
    type: Literal["number", "tensor", "choice", "stabilizer", "bool"] = "number"
    min: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] = ()
    required: bool = False
    doc: str = ""


@attrs.frozen
class Match:
    """Selects operations; everything that is given must hold.

    Attributes:
        op: names of operations or groups, any of which matches; empty matches every one.
        module: class of the innermost running module, by the names in its MRO: ``Conv2d``, ``torch.nn:Conv2d``, globs allowed.
        exact: compare ``module`` with the class itself, not with its bases.
        within: class of any running module, innermost or further out.
        path: glob over the running module's dotted path; ``*`` stops at a dot, ``**`` does not.
        path_regex: regular expression over that whole path.
        position: the first or last operation in execution order that the rest of the selectors match, those that read an
            attributed tensor itself (``input``), or those within a range of depth, 0 the first and 1 the last.
        not_: selects what must not match.
    """

    op: tuple[str, ...] = ()
    module: str | None = None
    exact: bool = False
    within: str | None = None
    path: str | None = None
    path_regex: str | None = None
    position: Position = None
    not_: Match | None = None


@attrs.frozen
class Entry:
    """One line of a ruleset: what it matches and the rule that governs it.

    Attributes:
        id: its name in messages and reports; a ruleset that extends this one replaces it by an entry of the same name.
        match: which operations it governs; the first entry that matches an operation decides.
        rule: the rule, or ``$parameter`` for a choice of rules.
        parameters: the rule's options, values or ``$parameter``.
        optional: it may match nothing.
    """

    id: str
    match: Match
    rule: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    optional: bool = False
    origin: str = ""  # file:line:column


@attrs.frozen
class Fallback:
    """What happens to an operation that no entry matched.

    ``gradient`` leaves the operation its own backward pass, ``pass`` hands relevance through unchanged.

    Attributes:
        linear: of operations with a weight.
        nonlinear: of the others that the rewriter knows.
        unknown: of those that only the audit of the autograd graph finds.
    """

    linear: Literal["error", "warn", "gradient"] = "error"
    nonlinear: Literal["error", "warn", "gradient", "pass"] = "error"
    unknown: Literal["error", "warn", "gradient"] = "error"


@attrs.frozen
class Ruleset:
    """An ordered list of entries; the first that matches an operation decides.

    Attributes:
        name: what it is called in messages.
        entries: which rule governs which operations, own entries before those of rulesets that it extends.
        doc: what it is for.
        parameters: what callers may set, by name.
        canonize: how the model is simplified first, without a change of its values.
        fallback: what happens to operations that no entry matches.
    """

    name: str
    entries: tuple[Entry, ...]
    doc: str = ""
    parameters: Mapping[str, Parameter] = attrs.field(factory=dict)
    canonize: frozenset[str] = frozenset()
    fallback: Fallback = Fallback()
    origin: str = ""


def helps(cls: type) -> dict[str, str]:
    """What a class's docstring says of each attribute, which is what an editor says of the key."""
    _, _, section = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")
    entries = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section, re.MULTILINE)
    return {name.rstrip("_"): " ".join(text.replace("``", "").split()) for name, text in entries}
