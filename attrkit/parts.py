"""Declarations of what methods are put together from and choose by name: replacements, segmenters, designs and the like.

A caller names one, ``"blur"``, names it with options, ``{"blur": {"sigma": 2}}``, or hands over a declaration or a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import attrs

from attrkit.errors import UsageError
from attrkit.hookspecs import hookimpl
from attrkit.specs import Declared, checked_spec, positional

Part = Literal["replacements", "segmenters", "designs", "estimators", "surrogates", "placements"]  # the kinds


@attrs.frozen(eq=False)
class PartSpec(Declared):
    """A named function that methods choose; what it is given and returns, each kind says for itself."""

    takes: ClassVar[tuple[str, ...]]  # what the function is called with, by position

    def __attrs_post_init__(self) -> None:
        """Refuse a function that cannot be called as such a part."""
        if (count := len(positional(self.function))) != len(self.takes):
            kind, wanted = type(self).__name__.removesuffix("Spec").lower(), ", ".join(self.takes)
            raise UsageError(
                f"{kind} {self.name!r}: {self.function.__qualname__} must take ({wanted}) and options as keyword-only "
                f"arguments, it takes {count} positional"
            )


@attrs.frozen(eq=False)
class ReplacementSpec(PartSpec):
    """What absent features are replaced by: a function of a problem.

    It returns one tensor per tensor at the site, each broadcasting to that; a :class:`~attrkit.Rows`, whose rows take turns;
    or a function of numbers of draws, shape ``(k,)``, that returns for each what replaces the site's value then, shape
    ``(k, batch, ...)`` (1 for the batch where it is the same for all), equal for equal numbers.
    """

    takes: ClassVar[tuple[str, ...]] = ("problem",)

    @hookimpl
    def attrkit_replacements(self) -> tuple[ReplacementSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen(eq=False)
class SegmenterSpec(PartSpec):
    """Which positions are one feature: a function of the site's value that returns integer tensors, as a feature mask is.

    Each broadcasts to its tensor; its first dimension is 1 where all examples share it. Positions of the number
    ``attrkit.NO_FEATURE`` are never replaced.
    """

    takes: ClassVar[tuple[str, ...]] = ("point",)

    @hookimpl
    def attrkit_segmenters(self) -> tuple[SegmenterSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen(eq=False)
class DesignSpec(PartSpec):
    """Which coalitions to ask for: a function of the number of features, how many coalitions, and a random generator.

    It yields them in boolean blocks of shape ``(k, features)``, true where a feature is there, about as many as were asked for
    and no more. Coalitions of one size must be equally likely; those that come first should be as good a sample as all.
    """

    takes: ClassVar[tuple[str, ...]] = ("count", "size", "generator")

    @hookimpl
    def attrkit_designs(self) -> tuple[DesignSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen(eq=False)
class EstimatorSpec(PartSpec):
    """How values of coalitions become a score for each feature: a function of a :class:`~attrkit.Game` and a budget.

    The budget is how often the model may be asked for the value of a coalition (and of a row of a background, where there is
    one). It returns an :class:`~attrkit.Estimate`.
    """

    takes: ClassVar[tuple[str, ...]] = ("game", "budget")

    @hookimpl
    def attrkit_estimators(self) -> tuple[EstimatorSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen(eq=False)
class SurrogateSpec(PartSpec):
    """A model of its own that says what the explained model does, fitted to values of coalitions.

    The function is given coalitions, shape ``(k, features)``, values, shape ``(k, columns)``, and weights, shape
    ``(k, columns)`` or ``(k, 1)``, all float64 on the CPU, and returns coefficients, shape ``(features, columns)``, and
    intercepts, shape ``(columns,)``.
    """

    takes: ClassVar[tuple[str, ...]] = ("coalitions", "values", "weights")

    @hookimpl
    def attrkit_surrogates(self) -> tuple[SurrogateSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen(eq=False)
class PlacementSpec(PartSpec):
    """Where the shards of a job are computed, as a job's ``executor`` names it: a function of an :class:`~attrkit.ShardWork`.

    It has a worker, ``work.worker()``, do each of ``work.shards``, in whatever process or on whatever machine, and yields the
    :class:`~attrkit.ShardDone` of each as it comes. A shard whose worker was lost goes back to ``work.queue()``. Workers share
    the job's output folder, and nothing else.

    Attributes:
        shares: whether each call does its share of the work, and other processes that run the job the rest.
    """

    shares: bool = attrs.field(default=False, kw_only=True)

    takes: ClassVar[tuple[str, ...]] = ("work",)

    @hookimpl
    def attrkit_placements(self) -> tuple[PlacementSpec, ...]:
        """A spec provides itself."""
        return (self,)


def _declaring(spec: type[PartSpec], name: str, facts: Mapping[str, Any]) -> Callable[[Callable[..., Any]], Any]:
    return lambda function: checked_spec(spec, name, function, facts)


def replacement(name: str, **facts: Any) -> Callable[[Callable[..., Any]], ReplacementSpec]:
    """Declare the decorated function a replacement; see :class:`ReplacementSpec`."""
    return _declaring(ReplacementSpec, name, facts)


def segmenter(name: str, **facts: Any) -> Callable[[Callable[..., Any]], SegmenterSpec]:
    """Declare the decorated function a segmenter; see :class:`SegmenterSpec`."""
    return _declaring(SegmenterSpec, name, facts)


def design(name: str, **facts: Any) -> Callable[[Callable[..., Any]], DesignSpec]:
    """Declare the decorated function a design; see :class:`DesignSpec`."""
    return _declaring(DesignSpec, name, facts)


def estimator(name: str, **facts: Any) -> Callable[[Callable[..., Any]], EstimatorSpec]:
    """Declare the decorated function an estimator; see :class:`EstimatorSpec`."""
    return _declaring(EstimatorSpec, name, facts)


def surrogate(name: str, **facts: Any) -> Callable[[Callable[..., Any]], SurrogateSpec]:
    """Declare the decorated function a surrogate; see :class:`SurrogateSpec`."""
    return _declaring(SurrogateSpec, name, facts)


def placement(name: str, **facts: Any) -> Callable[[Callable[..., Any]], PlacementSpec]:
    """Declare the decorated function a placement of a job's shards; see :class:`PlacementSpec`."""
    return _declaring(PlacementSpec, name, facts)
