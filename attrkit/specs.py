"""Declarations: what a plugin says about a method, a rule or a package of rulesets.

A spec is itself a pluggy plugin: it implements the hook that returns it, so an entry point may name it directly.
"""

from __future__ import annotations

import inspect
import re
import sys
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import attrs

from attrkit.errors import UnknownName, UsageError, UsageTypeError, did_you_mean
from attrkit.hookspecs import hookimpl


class Where(StrEnum):
    """Where an attribution lands, or for ``NEURON`` what it explains."""

    INPUT = "input"
    LAYER = "layer"
    NEURON = "neuron"


#: Names that ``explain`` and the classes of ``attrkit.attr`` use themselves; no option of a method may take one.
RESERVED = frozenset({
    "additional_forward_args", "attribute_to_layer_input", "attribute_to_neuron_input", "baselines", "compiled", "device",
    "first_example", "grad_kwargs", "inputs", "internal_batch_size", "layer", "layers", "model", "neuron", "neuron_selector",
    "perturbations_per_eval", "return_convergence_delta", "seed", "self", "show_progress", "target",
})  # fmt: skip


@attrs.frozen
class Option:
    """One keyword option of a method or rule, read off its signature and its docstring."""

    name: str
    type: str
    default: Any
    help: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.default!r}"


@attrs.frozen
class Deprecation:
    """Since which version something is deprecated, when it goes, and what to use instead."""

    since: str
    removal: str
    use: str


#: Options that mean the same in every method that has them; a docstring may say more.
_COMMON_HELPS = {
    "feature_mask": "integer tensors, one per tensor: positions of one number are one feature; or the name of a segmenter, or "
    "a mapping of that to its options. Without, each position is one.",
    "replacement": "what absent features are replaced by instead of the baseline: the name of a replacement, or a mapping of "
    "that to its options.",
    "background": "rows, over which the objective is averaged in place of one baseline.",
}


def _helps(function: Callable[..., Any]) -> dict[str, str]:
    """The entries of the docstring's ``Args:`` section, by parameter, and those that all methods share."""
    _, _, section = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    body = re.split(r"\n(?=\S)", section, maxsplit=1)[0]
    entries = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", body, re.MULTILINE)
    return _COMMON_HELPS | {name: " ".join(text.split()) for name, text in entries}


def _options(function: Callable[..., Any]) -> tuple[Option, ...]:
    """The keyword-only parameters of ``function``; each needs an annotation and a default."""
    found, helps = [], _helps(function)
    for p in inspect.signature(function).parameters.values():
        if p.kind is not p.KEYWORD_ONLY:
            continue
        if p.default is p.empty or p.annotation is p.empty:
            raise UsageError(f"option {p.name!r} of {function.__qualname__} needs an annotation and a default")
        found.append(Option(p.name, _rendered(p.annotation), p.default, helps.get(p.name, "")))
    return tuple(found)


def _rendered(annotation: Any) -> str:
    """An annotation as it is written, modules left out."""
    if isinstance(annotation, str):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_rendered, get_args(annotation)))
    if annotation is type(None):
        return "None"
    text = re.sub(r"(\w+\.)+(?=\w)", "", inspect.formatannotation(annotation))
    return text if get_origin(annotation) is Literal else text.replace("'", "")  # of references to what is defined later


_SIMPLE: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str, "None": type(None)}


@cache
def _accepted(annotation: str) -> tuple[tuple[Any, ...], tuple[str, ...]] | None:
    """The words, and the names of the types, that an annotation accepts; None where it is not that simple."""
    names = [name.strip() for name in annotation.split(" | ")]
    words = tuple(w for name in names if name.startswith("Literal[") for w in literal_eval(name.removeprefix("Literal")))
    types = tuple(name for name in names if not name.startswith("Literal["))
    return (words, types) if all(name in _SIMPLE for name in types) else None


def _fits(annotation: str, value: Any) -> bool:
    """Whether a value is of one of the types of an annotation; what is not simple always fits."""
    if (accepted := _accepted(annotation)) is None:
        return True
    words, types = accepted
    if isinstance(value, str | int) and value in words:
        return True
    return any(isinstance(value, _SIMPLE[n]) and (n == "bool" or not isinstance(value, bool)) for n in types)


def _in_words(annotation: str) -> str:
    """An annotation for a message: ``int | Literal['auto']`` is int or 'auto'."""
    listed = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace(", ", " or "), annotation)
    return listed.replace(" | ", " or ")


def _by_reference(module: str, qualname: str) -> Any:
    return getattr(sys.modules.get(module) or import_module(module), qualname)


def positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function that may be given by position."""
    return [p for p in inspect.signature(function).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD]


def _identifier(spec: Declared, attribute: attrs.Attribute[str], value: str) -> None:
    if not re.fullmatch(spec.pattern, value):
        raise UsageError(f"{attribute.name} {value!r} must be lower case letters, digits and underscores, like 'my_method'")


@attrs.frozen(eq=False)
class Declared:
    """A named function plus facts about it. It pickles as a reference to its module attribute."""

    name: str = attrs.field(validator=_identifier)
    function: Callable[..., Any] = attrs.field(repr=False)
    references: tuple[str, ...] = attrs.field(kw_only=True, default=())
    deprecated: Deprecation | None = attrs.field(kw_only=True, default=None)
    pattern: ClassVar[str] = r"[a-z][a-z0-9_]*"  # of names
    options: tuple[Option, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _options(self.function), takes_self=True)
    )

    @property
    def doc(self) -> str:
        """The function's docstring, indentation removed."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring: one sentence that a table can show."""
        return self.doc.partition("\n")[0]

    @property
    def accepts(self) -> tuple[str, ...]:
        """The names by which options are given."""
        return tuple(o.name for o in self.options)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every option's value: the given one, else the default. Raises UnknownName for a name that is no option."""
        known = {o.name: o.default for o in self.options}
        for name in given:
            if name not in known:
                options = ", ".join(map(str, self.options)) or "none"
                raise UnknownName(f"{self.name} has no option {name!r}.{did_you_mean(name, known)} Its options: {options}")
        for option in self.options:
            if option.name in given and not _fits(option.type, given[option.name]):
                raise UsageTypeError(f"{option.name} must be {_in_words(option.type)}, got {given[option.name]!r}")
        return {**known, **given}

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_reference, (self.function.__module__, self.function.__qualname__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself."""
        return self.function(*args, **kwargs)


def places(given: Iterable[str]) -> frozenset[Where]:
    """Places by their names."""
    return frozenset(map(Where, given))


def _by_place(given: Mapping[str, str]) -> dict[Where, str]:
    return {Where(place): name for place, name in given.items()}


@attrs.frozen(eq=False)
class MethodSpec(Declared):
    """An attribution method: how to compute it, and everything a caller, a CLI or a test needs to know.

    Attributes:
        where: the places it can attribute to.
        gradient: whether it needs gradients (else forward passes suffice).
        baseline: whether it compares with a baseline.
        baseline_at: whether a layer's baseline is given at the model's inputs or is a value of the layer.
        distribution: whether baselines are a distribution: any number of rows, or a function that returns them.
        objective: whether it looks at the objective at all.
        outputs: whether it explains one output, or without a target every output at once; attributions then have the shape
            ``(batch, *outputs, *site)``.
        lands: whether attributions to a layer are shaped like its value, or like the inputs; or that they are one tensor, a
            number for each of the method's own features, shape ``(rows, features)``, called ``features`` in results.
        complete: whether attributions sum to the change of the objective from baseline to point (without a baseline:
            to the objective itself).
        linear: whether attributions for f + g are those for f plus those for g.
        stochastic: whether it draws random numbers (from ``problem.generator``, and nowhere else).
        neuron: whether the neuron form explains the neuron, or the output as far as it depends on the neuron.
        forward_passes, backward_passes: the cost, as arithmetic over options, ``features`` and ``layer``, which is 1 for
            attributions to a layer and 0 for others; passes that only ask for a layer's value end at the layer.
        classes: class names that the naming convention gets wrong, by place.
    """

    where: frozenset[Where] = attrs.field(converter=places, kw_only=True, default=frozenset(Where))
    gradient: bool = attrs.field(kw_only=True, default=True)
    baseline: Literal["none", "optional", "required"] = attrs.field(
        kw_only=True, default="none", validator=attrs.validators.in_(("none", "optional", "required"))
    )
    baseline_at: Literal["inputs", "site"] = attrs.field(
        kw_only=True, default="inputs", validator=attrs.validators.in_(("inputs", "site"))
    )
    distribution: bool = attrs.field(kw_only=True, default=False)
    objective: bool = attrs.field(kw_only=True, default=True)
    outputs: Literal["one", "every"] = attrs.field(
        kw_only=True, default="one", validator=attrs.validators.in_(("one", "every"))
    )
    lands: Literal["site", "inputs", "features"] = attrs.field(
        kw_only=True, default="site", validator=attrs.validators.in_(("site", "inputs", "features"))
    )
    complete: Literal["exact", "approximate", "no"] = attrs.field(
        kw_only=True, default="no", validator=attrs.validators.in_(("exact", "approximate", "no"))
    )
    linear: bool = attrs.field(kw_only=True, default=False)
    stochastic: bool = attrs.field(kw_only=True, default=False)
    neuron: Literal["objective", "through"] = attrs.field(
        kw_only=True, default="objective", validator=attrs.validators.in_(("objective", "through"))
    )
    forward_passes: str = attrs.field(kw_only=True, default="1")
    backward_passes: str = attrs.field(kw_only=True, default="0")
    classes: Mapping[Where, str] = attrs.field(converter=_by_place, kw_only=True, factory=dict)

    def __attrs_post_init__(self) -> None:
        """Refuse a declaration whose facts contradict its signature or one another."""
        if (count := len(positional(self.function))) != 1:
            raise UsageError(
                f"method {self.name!r}: {self.function.__qualname__} must take the problem as its one positional argument "
                f"and options as keyword-only ones, it takes {count} positional"
            )
        if taken := sorted(RESERVED & {o.name for o in self.options}):
            raise UsageError(f"method {self.name!r}: option {taken[0]!r} is a name that attrkit uses itself; rename it")
        if not self.where:
            raise UsageError(f"method {self.name!r}: where= is empty; name at least one of {', '.join(Where)}")
        if self.baseline == "none" and self.baseline_at == "site":
            raise UsageError(f"method {self.name!r}: baseline_at='site' contradicts baseline='none'")
        if self.distribution and (self.baseline == "none" or self.baseline_at == "site"):
            raise UsageError(f"method {self.name!r}: distribution=True needs a baseline, at the inputs")
        if stray := sorted(self.classes.keys() - self.where):
            raise UsageError(f"method {self.name!r}: classes= names {str(stray[0])!r}, which where= leaves out")
        if not self.gradient and self.backward_passes != "0":
            raise UsageError(f"method {self.name!r}: gradient=False contradicts backward_passes={self.backward_passes!r}")

    @property
    def compares(self) -> bool:
        """Whether it compares with a baseline."""
        return self.baseline != "none"

    @hookimpl
    def attrkit_methods(self) -> tuple[MethodSpec, ...]:
        """A spec provides itself."""
        return (self,)


Returns = Literal["relevance", "quotient", "cotangent", "shares", "parts"]


@attrs.frozen(eq=False)
class RuleSpec(Declared):
    """A propagation rule: relevance at an operation's output to relevance at its input, or the same of modified gradients.

    Attributes:
        operations: the operations, or groups of operations, it is defined for.
        returns: what the function returns: ``relevance`` at the input, its ``quotient`` by the input (which saves a product
            and a division where relevance travels as c = R / x), or a ``cotangent`` that the operation's own backward pass
            turns into the quotient; of operations on several tensors, a tuple with one for each. Of a rule that carries
            gradients or multipliers: these at the input, whatever is said here but ``cotangent``. A function that returns
            ``shares`` takes the step alone, and says what share of its own backward pass each operand gets. One that returns
            ``parts`` says that the operations are governed that this one is made of; it is never called. Where that depends on
            the rule's parameters, a function of these, by name.
        takes: whether it is given ``relevance`` at the output, which is its own to write into, or its ``quotient`` by the
            output.
        carries: what it is given, and hands on: ``relevance``, a ``gradient``, or a ``multiplier``, which times the difference
            from a reference is a contribution; a ruleset has rules of one kind, beside those for ``anything``.
        identity: whether it hands relevance through an elementwise operation unchanged; where the operation is homogeneous
            of degree one, its own backward pass does just that.
        joins: whether it governs an operation together with the linear map that made its input, where there is one; it is
            ``step.before`` then, and what the function returns is for the input of that.
        all_outputs: whether what the function returns depends on outputs that carry nothing, or a function of its parameters
            that says so. Where it does not, what a ReLU leaves of outputs may be kept in their place.
        sees_inputs: whether the function looks at what went in; of a rule that returns a cotangent and does not, that is not
            kept where the operation has no weight.
        conserves: whether relevance at the inputs adds up to that at each output that has what it shares by, but for what
            stabilisers absorb; ``without_bias`` where it does as long as the operation adds nothing; of multipliers, whether
            contributions add up to the output's change. A rule that returns a cotangent promises it for homogeneous operations.
    """

    operations: frozenset[str] = attrs.field(converter=frozenset, kw_only=True, default=frozenset({"linear_like"}))
    returns: Returns | Callable[[Mapping[str, Any]], Returns] = attrs.field(
        kw_only=True,
        default="relevance",
        validator=attrs.validators.or_(attrs.validators.in_(get_args(Returns)), attrs.validators.is_callable()),
    )
    takes: Literal["relevance", "quotient"] = attrs.field(
        kw_only=True, default="relevance", validator=attrs.validators.in_(("relevance", "quotient"))
    )
    carries: Literal["relevance", "gradient", "multiplier", "anything"] = attrs.field(
        kw_only=True,
        default="relevance",
        validator=attrs.validators.in_(("relevance", "gradient", "multiplier", "anything")),
    )
    identity: bool = attrs.field(kw_only=True, default=False)
    joins: bool = attrs.field(kw_only=True, default=False)
    all_outputs: bool | Callable[[Mapping[str, Any]], bool] = attrs.field(kw_only=True, default=True)
    sees_inputs: bool = attrs.field(kw_only=True, default=True)
    conserves: Literal["yes", "without_bias", "no"] = attrs.field(
        kw_only=True, default="no", validator=attrs.validators.in_(("yes", "without_bias", "no"))
    )

    def __attrs_post_init__(self) -> None:
        """Refuse a function that cannot be called as a rule."""
        alone = self.returns in ("shares", "parts")
        if (count := len(positional(self.function))) != (1 if alone else 2):
            raise UsageError(
                f"rule {self.name!r}: {self.function.__qualname__} must take {'(step)' if alone else '(step, relevance)'} and "
                f"parameters as keyword-only arguments, it takes {count} positional"
            )
        if self.carries == "anything" and not alone:
            raise UsageError(f"rule {self.name!r}: only a rule that returns shares or parts may carry anything")

    def returning(self, parameters: Mapping[str, Any]) -> Returns:
        """What the function returns, given values for all of its parameters."""
        return self.returns(parameters) if callable(self.returns) else self.returns

    def heeds(self, parameters: Mapping[str, Any]) -> bool:
        """Whether what it returns depends on outputs that carry nothing."""
        return self.all_outputs(parameters) if callable(self.all_outputs) else self.all_outputs

    @hookimpl
    def attrkit_rules(self) -> tuple[RuleSpec, ...]:
        """A spec provides itself."""
        return (self,)


@attrs.frozen
class RulesetSource:
    """An importable package whose ``*.yaml`` files are rulesets."""

    package: str

    @hookimpl
    def attrkit_rulesets(self) -> tuple[RulesetSource, ...]:
        """A source provides itself."""
        return (self,)


def checked_spec(spec: type[Any], name: str, function: Callable[..., Any], facts: Mapping[str, Any]) -> Any:
    """A declaration. Raises UnknownName where a fact is misspelt."""
    known = {a.name for a in attrs.fields(spec) if a.kw_only}
    for fact in facts:
        if fact not in known:
            raise UnknownName(
                f"{name!r} declares {fact!r}, which is no fact.{did_you_mean(fact, known)} Facts: {', '.join(sorted(known))}"
            )
    return spec(name, function, **facts)


def method(name: str, **facts: Any) -> Callable[[Callable[..., Any]], MethodSpec]:
    """Declare the decorated function an attribution method. ``facts`` are the attributes of :class:`MethodSpec`."""
    return lambda function: checked_spec(MethodSpec, name, function, facts)


def rule(name: str, **facts: Any) -> Callable[[Callable[..., Any]], RuleSpec]:
    """Declare the decorated function a propagation rule. ``facts`` are the attributes of :class:`RuleSpec`."""
    return lambda function: checked_spec(RuleSpec, name, function, facts)
