"""Declarations: read off signature and docstring, checked against themselves. Needs no torch."""

import copy
import pickle
import subprocess
import sys
import warnings

import attrs
import pytest

from attrkit.errors import AttrkitError, UnknownName, UsageError
from attrkit.specs import RESERVED, Deprecation, MethodSpec, Option, RulesetSource, RuleSpec, Where, method, rule


@method("sample", baseline="optional", complete="approximate", references=("arXiv:1703.01365",))
def sample(problem, *, n_steps: int = 50, scale: "float | None" = None, kind: str = "gausslegendre"):
    """Average something on a path.

    Longer words about it.

    Args:
        n_steps: how many points; more are
            more exact: twice as many cost twice as much.
        kind: the quadrature.

    Returns:
        kind: this is no option's help.
    """
    return problem, n_steps, scale, kind


@rule("halve", operations={"linear_like", "homogeneous"})
def halve(step, relevance, *, share: float = 0.5):
    """Hand on a share."""
    return step, relevance, share


def declare(function, name="mine", **facts):
    return method(name, **facts)(function)


def test_a_declaration_reads_signature_and_docstring():
    assert isinstance(sample, MethodSpec)
    assert sample.summary == "Average something on a path."
    assert sample.doc.startswith(sample.summary + "\n\nLonger words about it.\n")
    assert sample.options == (
        Option("n_steps", "int", 50, "how many points; more are more exact: twice as many cost twice as much."),
        Option("scale", "float | None", None, ""),
        Option("kind", "str", "gausslegendre", "the quadrature."),
    )
    assert [str(o) for o in sample.options] == ["n_steps=50", "scale=None", "kind='gausslegendre'"]


def test_postponed_annotations_read_alike():
    namespace = {}
    source = "from __future__ import annotations\ndef f(problem, *, n: int | None = None): ..."
    exec(source, namespace)  # noqa: S102 - the future statement needs a module of its own
    assert declare(namespace["f"]).options[0].type == "int | None"
    assert declare(lambda problem: None).options == ()


def test_facts_have_defaults_and_are_converted():
    assert (sample.baseline, sample.complete, sample.stochastic) == ("optional", "approximate", False)
    assert sample.where == frozenset(Where)
    spec = declare(lambda problem: None, where=["layer"], classes={"layer": "LayerActivation"})
    assert spec.where == {Where.LAYER}
    assert spec.classes == {Where.LAYER: "LayerActivation"}
    assert halve.operations == {"linear_like", "homogeneous"}
    assert rule("r", operations=["linear_like"])(lambda step, relevance: None).operations == {"linear_like"}


def test_a_declaration_is_called_like_its_function():
    assert sample("p", n_steps=3) == ("p", 3, None, "gausslegendre")
    assert halve("s", "r") == ("s", "r", 0.5)


def test_options_are_resolved_and_unknown_ones_suggested():
    assert sample.resolve({"n_steps": 5}) == {"n_steps": 5, "scale": None, "kind": "gausslegendre"}
    with pytest.raises(
        UnknownName, match=r"sample has no option 'n_step'\. Did you mean 'n_steps'\? Its options: n_steps=50, scale"
    ):
        sample.resolve({"n_step": 5})
    with pytest.raises(UnknownName, match="Its options: none"):
        declare(lambda problem: None).resolve({"n": 1})


@pytest.mark.parametrize("spec", [sample, halve], ids=["method", "rule"])
def test_a_declaration_pickles_as_a_reference(spec):
    assert pickle.loads(pickle.dumps(spec)) is spec  # noqa: S301 - what was pickled a moment ago
    assert copy.deepcopy(spec) is spec
    assert len({spec, copy.copy(spec)}) == 1


def test_a_declaration_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sample.complete = "exact"


@pytest.mark.parametrize("name", ["Sample", "my-method", "1st", "", "dist:name", "naïve"])
def test_a_name_is_an_identifier(name):
    with pytest.raises(UsageError, match="must be lower case letters, digits and underscores"):
        declare(lambda problem: None, name)


@pytest.mark.parametrize(
    ("function", "facts", "message"),
    [
        (lambda: None, {}, "must take the problem as its one positional argument .* it takes 0 positional"),
        (lambda problem, n: None, {}, "it takes 2 positional"),
        (lambda problem, n=3: None, {}, "it takes 2 positional"),
        (lambda problem, *, n: None, {}, "option 'n' of .* needs an annotation and a default"),
        (lambda problem, *, n=3: None, {}, "option 'n' of .* needs an annotation and a default"),
        (lambda problem: None, {"where": ()}, "where= is empty; name at least one of input, layer, neuron"),
        (lambda problem: None, {"baseline_at": "site"}, "baseline_at='site' contradicts baseline='none'"),
        (
            lambda problem: None,
            {"where": {"input"}, "classes": {"layer": "X"}},
            "classes= names 'layer', which where= leaves out",
        ),
        (lambda problem: None, {"gradient": False, "backward_passes": "n"}, "gradient=False contradicts backward_passes='n'"),
    ],
)
def test_what_contradicts_itself_is_refused(function, facts, message):
    with pytest.raises(UsageError, match=message):
        declare(function, **facts)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("baseline", "maybe"),
        ("baseline_at", "layer"),
        ("complete", "yes"),
        ("complete", True),
        ("neuron", "around"),
        ("where", {"output"}),
        ("classes", {"output": "X"}),
    ],
)
def test_a_fact_has_one_of_its_values(fact, value):
    with pytest.raises(ValueError, match=str(value if not isinstance(value, set | dict) else "output")):
        declare(lambda problem: None, **{fact: value})


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_option_takes_a_name_of_the_callers(name):
    namespace = {}
    exec(f"def f(problem, *, {name}: int = 1): ...", namespace)  # noqa: S102 - one function for each name
    with pytest.raises(UsageError, match=f"option '{name}' is a name that attrkit uses itself"):
        declare(namespace["f"])


def test_a_misspelt_fact_is_suggested():
    with pytest.raises(
        UnknownName, match=r"'mine' declares 'stochastik', which is no fact\. Did you mean 'stochastic'\? Facts: "
    ):
        declare(lambda problem: None, stochastik=True)
    with pytest.raises(UnknownName, match="'r' declares 'baseline', which is no fact"):
        rule("r", baseline="optional")(lambda step, relevance: None)


@pytest.mark.parametrize("function", [lambda step: None, lambda step, relevance, n: None])
def test_a_rule_takes_step_and_relevance(function):
    with pytest.raises(UsageError, match="rule 'r'"):
        rule("r")(function)
    with pytest.raises(ValueError, match="gradient"):
        rule("r", returns="gradient")(lambda step, relevance: None)


def test_a_declaration_is_a_plugin_that_provides_itself():
    assert list(sample.attrkit_methods()) == [sample]
    assert list(halve.attrkit_rules()) == [halve]
    source = RulesetSource("some_package")
    assert list(source.attrkit_rulesets()) == [source]
    assert not hasattr(sample, "attrkit_rules")
    assert isinstance(halve, RuleSpec)


def test_deprecation_is_a_fact_and_silent_until_the_name_is_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = declare(lambda problem: None, deprecated=Deprecation(since="0.2", removal="0.4", use="new"))
        spec(None)
    assert spec.deprecated == Deprecation("0.2", "0.4", "new")


def test_usage_errors_are_what_callers_of_the_established_api_catch():
    assert issubclass(UsageError, AttrkitError | ValueError)
    assert issubclass(UsageError, AssertionError)
    assert issubclass(UnknownName, LookupError | UsageError)


def test_aliases_of_the_protocols_are_real_at_run_time():
    code = """if True:
        from collections.abc import Callable
        import sys
        from attrkit import method
        from attrkit.protocols import Contribute, Tensors

        assert "torch" not in sys.modules

        @method("mine")
        def mine(problem, *, most: Tensors | Callable[..., Tensors] | None = None) -> Tensors | None:
            'It is written without the future statement.'

        (option,) = mine.options
        assert option.type == "tuple[Tensor, ...] | Callable[..., tuple[Tensor, ...]] | None", option.type
        assert Contribute | None
    """
    subprocess.run([sys.executable, "-c", code], check=True)
