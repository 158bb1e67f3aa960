"""Every hook that a plugin can implement. The first thirteen declare things, the rest take part in a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from attrkit.parts import DesignSpec, EstimatorSpec, PlacementSpec, ReplacementSpec, SegmenterSpec, SurrogateSpec
    from attrkit.problem import Problem
    from attrkit.propagation.operations import Operation
    from attrkit.protocols import Executor, Tensors
    from attrkit.registry import Registry
    from attrkit.specs import MethodSpec, RulesetSource, RuleSpec
    from attrkit.wrapping import WrapperSpec

PROJECT = "attrkit"  # also the entry-point group
hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)


@hookspec
def attrkit_methods() -> Iterable[MethodSpec]:  # type: ignore[empty-body]
    """Attribution methods this plugin provides."""


@hookspec
def attrkit_wrappers() -> Iterable[WrapperSpec]:  # type: ignore[empty-body]
    """Methods that take a method, which this plugin provides."""


@hookspec
def attrkit_rules() -> Iterable[RuleSpec]:  # type: ignore[empty-body]
    """Propagation rules this plugin provides."""


@hookspec
def attrkit_rulesets() -> Iterable[RulesetSource]:  # type: ignore[empty-body]
    """Packages that carry ruleset YAML files."""


@hookspec
def attrkit_operations() -> Iterable[Operation]:  # type: ignore[empty-body]
    """Operations that rules can govern, beyond those the rewriter knows."""


@hookspec
def attrkit_replacements() -> Iterable[ReplacementSpec]:  # type: ignore[empty-body]
    """What absent features can be replaced by."""


@hookspec
def attrkit_segmenters() -> Iterable[SegmenterSpec]:  # type: ignore[empty-body]
    """Ways to tell which positions are one feature."""


@hookspec
def attrkit_designs() -> Iterable[DesignSpec]:  # type: ignore[empty-body]
    """Ways to choose coalitions of features."""


@hookspec
def attrkit_estimators() -> Iterable[EstimatorSpec]:  # type: ignore[empty-body]
    """Ways from values of coalitions to a score for each feature."""


@hookspec
def attrkit_surrogates() -> Iterable[SurrogateSpec]:  # type: ignore[empty-body]
    """Models that are fitted to values of coalitions."""


@hookspec
def attrkit_placements() -> Iterable[PlacementSpec]:  # type: ignore[empty-body]
    """Where the shards of a job can be computed."""


@hookspec
def attrkit_names() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """What users of ``attrkit.attr`` need beside the classes of methods, by the name that it has there."""


@hookspec(historic=True)
def attrkit_configure(registry: Registry) -> None:
    """Called once per plugin; historic, so a plugin that is loaded late is configured too."""


@hookspec(firstresult=True)
def attrkit_executor(model: Any, devices: tuple[str, ...]) -> Executor | None:
    """Offer an executor for this model and these devices; the first answer wins."""


@hookspec
def attrkit_entries(modules: Mapping[str, Any], carries: str) -> Iterable[Mapping[str, Any]]:  # type: ignore[empty-body]
    """What a model's modules, by path, ask for themselves, as entries to put before those of a ruleset that carries this."""


@hookspec(firstresult=True)
def attrkit_rule_for(operation: str, path: str) -> tuple[RuleSpec, Mapping[str, Any]] | None:
    """Choose a rule and its parameters for an operation that no ruleset entry matched."""


@hookspec(firstresult=True)
def attrkit_attribute(spec: MethodSpec, problem: Problem, options: Mapping[str, Any]) -> Tensors | None:
    """One attribution. Implement with ``@hookimpl(wrapper=True)`` to time, log or cache it."""
