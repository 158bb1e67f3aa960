"""The kinds of plugins: what is checked of each, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from attrkit.errors import UsageError, UsageTypeError, did_you_mean
from attrkit.parts import DesignSpec, EstimatorSpec, PlacementSpec, ReplacementSpec, SegmenterSpec, SurrogateSpec
from attrkit.registry import Named, registry
from attrkit.specs import Declared, MethodSpec, RuleSpec
from attrkit.testing import checks, executors, placements, rules, rulesets, wrappers
from attrkit.testing.listed import Check, Checks
from attrkit.testing.parts import PartSubject, designs, estimators, replacements, segmenters, surrogates
from attrkit.testing.subject import Subject
from attrkit.wrapping import WrapperSpec

#: Where something is checked, in words; what is checked; and the check.
Case: TypeAlias = "tuple[str, Any, Check]"


@attrs.frozen
class Kind:
    """One kind: its checks by name, and which of them run on what, given a name or declaration and options."""

    checks: Mapping[str, Check]
    cases: Callable[[Any, Mapping[str, Any]], Iterator[Case]]


def kind_of(name: str) -> Kind:
    """The kind of that name. Raises UsageError where there is none."""
    if name not in KINDS:
        raise UsageError(f"kind must be one of {', '.join(KINDS)}, got {name!r}.{did_you_mean(name, KINDS)}")
    return KINDS[name]


def label(given: Any) -> str:
    """What something to check is called."""
    return (
        given
        if isinstance(given, str)
        else str(getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__))
    )


def _declaration(given: Any, kind: str, spec: type[Declared], found: Callable[[str], Any]) -> Any:
    """A declaration of a kind, by its name or as it is."""
    if isinstance(given, str):
        return found(given)
    if isinstance(given, spec):
        return given
    other = next((name for name, (known, _) in _DECLARED.items() if isinstance(given, known)), "")
    if other:
        raise UsageTypeError(f"{label(given)!r} is a {other}, not a {kind}; give kind={other!r}")
    raise UsageTypeError(f"expected the name of a {kind}, or its declaration, got {given!r}")


def _methods(given: Any, options: Mapping[str, Any]) -> Iterator[Case]:
    spec = _declaration(given, "method", MethodSpec, registry.method)
    spec.resolve(options)
    for where in sorted(spec.where):
        subject = Subject(spec, where, options)
        yield from ((str(where), subject, check) for check in checks.applying(subject))


def _wrappers(given: Any, options: Mapping[str, Any]) -> Iterator[Case]:
    spec = _declaration(given, "wrapper", WrapperSpec, registry.wrapper)
    spec.resolve(options)
    return wrappers.cases(spec, options)


def _rulesets(given: Any, options: Mapping[str, Any]) -> Iterator[Case]:
    subject = rulesets.RulesetSubject(given, options)
    applying = rulesets.check.applying(subject) if subject.reads() else [rulesets.CHECKS["reads_without_problems"]]
    return (("ruleset", subject, check) for check in applying)


def _executors(given: Any, options: Mapping[str, Any]) -> Iterator[Case]:
    if options:
        raise UsageError(f"an executor has no options, got {', '.join(options)}; check one that is made with them")
    subject = executors.executor_subject(given)
    return (("executor", subject, check) for check in executors.check.applying(subject))


def _declared(kind: str, listed: Checks, subject: Callable[[Any, Mapping[str, Any]], Any]) -> Kind:
    """A kind whose declarations are checked by themselves."""
    spec, plural = _DECLARED[kind]

    def cases(given: Any, options: Mapping[str, Any]) -> Iterator[Case]:
        declared = _declaration(given, kind, spec, lambda name: registry.get(plural, name))
        declared.resolve(options)
        one = subject(declared, options)
        return ((kind, one, check) for check in listed.applying(one))

    return Kind(listed.found, cases)


_DECLARED: dict[str, tuple[type[Declared], Named]] = {
    "method": (MethodSpec, "methods"),
    "wrapper": (WrapperSpec, "wrappers"),
    "rule": (RuleSpec, "rules"),
    "replacement": (ReplacementSpec, "replacements"),
    "segmenter": (SegmenterSpec, "segmenters"),
    "design": (DesignSpec, "designs"),
    "estimator": (EstimatorSpec, "estimators"),
    "surrogate": (SurrogateSpec, "surrogates"),
    "placement": (PlacementSpec, "placements"),
}

KINDS: dict[str, Kind] = {
    "method": Kind(checks.CHECKS, _methods),
    "rule": _declared("rule", rules.check, rules.RuleSubject),
    "ruleset": Kind(rulesets.CHECKS, _rulesets),
    "replacement": _declared("replacement", replacements.check, PartSubject),
    "segmenter": _declared("segmenter", segmenters.check, PartSubject),
    "design": _declared("design", designs.check, PartSubject),
    "estimator": _declared("estimator", estimators.check, PartSubject),
    "surrogate": _declared("surrogate", surrogates.check, PartSubject),
    "placement": _declared("placement", placements.check, placements.PlacementSubject),
    "executor": Kind(executors.CHECKS, _executors),
    "wrapper": Kind(wrappers.CHECKS, _wrappers),
}
