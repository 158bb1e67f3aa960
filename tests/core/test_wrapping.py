"""Wrappers of one method and of several: names, what they promise, what their options are called. Without torch."""

from __future__ import annotations

import pickle

import pytest

import attrkit
from attrkit.errors import UnknownName, UsageError, UsageTypeError
from attrkit.registry import registry
from attrkit.wrapping import listed


def declared(name, **facts):
    return attrkit.method(name, **facts)(lambda problem: ())


@attrkit.method("stepping", forward_passes="n_steps + layer", backward_passes="n_steps", complete="exact", linear=True)
def stepping(problem, *, n_steps: int = 50, scale: float = 1.0):
    """Steps.

    Args:
        n_steps: how many steps.
        scale: what it is multiplied by.
    """
    return [("stepping", n_steps, scale)]


@attrkit.method("sampling", gradient=False, stochastic=True, forward_passes="2 * n_steps", outputs="every")
def sampling(problem, *, n_steps: int = 7, width: float = 0.5):
    """Samples.

    Args:
        n_steps: how many samples.
        width: of each.
    """
    return [("sampling", n_steps, width)]


@attrkit.wrapper("twice", times="times", complete="approximate", linear=True)
def twice(problem, inner, *, times: int = 2, scale: float = 3.0):
    """Several times.

    Args:
        times: how many.
        scale: the wrapper's own.
    """
    return [("twice", times, scale), *inner(problem)]


@attrkit.wrapper("together", methods=(2, None), references=("arXiv:2202.01602",))
def together(problem, inners):
    """All of them."""
    return [said for inner in inners for said in inner(problem)]


class Rows:
    """As much of a problem as options need."""

    example_rows = ()

    def for_rows(self, option, examples):
        return option


def said(spec, **given):
    """What the methods inside were called with."""
    return spec.function(Rows(), **spec.resolve(given))


@pytest.fixture(autouse=True)
def known():
    for spec in (stepping, sampling, twice, together):
        registry.register(spec)
    yield
    for spec in (stepping, sampling, twice, together):
        registry.unregister(spec.name)


# Names.


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("twice(stepping)", "twice(stepping)"),
        ("together(stepping,sampling)", "together(stepping,sampling)"),
        ("together( stepping , sampling )", "together(stepping,sampling)"),
        ("together(twice(stepping),sampling,stepping)", "together(twice(stepping),sampling,stepping)"),
        ("twice(together(stepping,twice(sampling)))", "twice(together(stepping,twice(sampling)))"),
    ],
)
def test_names_are_read_in_brackets(given, name):
    found = registry.method(given)
    assert found.name == name
    assert found is registry.method(name)
    assert pickle.loads(pickle.dumps(found)) is found  # noqa: S301 - made here


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ("a(b,c),d", ["a(b,c)", "d"]),
        ("a(b(c,d),e)", ["a(b(c,d),e)"]),
        (",", ["", ""]),
    ],
)
def test_commas_in_brackets_separate_nothing(text, names):
    assert listed(text) == names


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("together", UnknownName, r"'together' is a wrapper: it takes methods; ask for it as 'together\(METHOD,METHOD,...\)'"),
        ("twice", UnknownName, r"'twice' is a wrapper: it takes a method; ask for it as 'twice\(METHOD\)'"),
        ("together(stepping)", UsageError, "'together' takes 2 or more methods, got stepping; ask for it as"),
        ("twice(stepping,sampling)", UsageError, "'twice' takes one method, got stepping, sampling; ask for it as"),
        ("together(stepping,)", UnknownName, "no method ''"),
        ("together(stepping,nothing)", UnknownName, "no method 'nothing'"),
        ("together(stepping),sampling)", UnknownName, r"no method 'stepping\),sampling'"),
        ("together(stepping,sampling", UnknownName, "no method"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(name, error, message):
    with pytest.raises(error, match=message):
        registry.method(name)


# Options.


def test_an_option_of_one_method_has_its_name():
    spec = registry.method("together(stepping,sampling)")
    assert [o.name for o in spec.options] == ["stepping__n_steps", "scale", "sampling__n_steps", "width"]
    assert said(spec, scale=2.0, width=0.1) == [("stepping", 50, 2.0), ("sampling", 7, 0.1)]


def test_an_option_of_several_goes_to_all_that_have_none_of_their_own():
    spec = registry.method("together(stepping,sampling)")
    assert said(spec) == [("stepping", 50, 1.0), ("sampling", 7, 0.5)]
    assert said(spec, n_steps=3) == [("stepping", 3, 1.0), ("sampling", 3, 0.5)]
    assert said(spec, n_steps=3, sampling__n_steps=4) == [("stepping", 3, 1.0), ("sampling", 4, 0.5)]
    assert spec.accepts == (*(o.name for o in spec.options), "n_steps")
    resolved = spec.resolve({"n_steps": 3})
    assert resolved == spec.resolve(resolved)  # what a result keeps is what runs it again


def test_the_same_method_twice_is_numbered():
    spec = registry.method("together(stepping,stepping)")
    assert [o.name for o in spec.options] == [
        "stepping__n_steps",
        "stepping__scale",
        "stepping_2__n_steps",
        "stepping_2__scale",
    ]
    assert said(spec, stepping_2__scale=5.0, n_steps=1) == [("stepping", 1, 1.0), ("stepping", 1, 5.0)]


def test_an_option_of_the_wrapper_s_name_is_the_wrapper_s():
    spec = registry.method("twice(stepping)")
    assert said(spec, scale=9.0) == [("twice", 2, 9.0), ("stepping", 50, 1.0)]
    assert said(spec, stepping__scale=4.0, n_steps=2) == [("twice", 2, 3.0), ("stepping", 2, 4.0)]


def test_options_reach_methods_however_deep_they_are():
    spec = registry.method("twice(together(twice(stepping),sampling))")
    assert said(spec, n_steps=1, times=4) == [("twice", 4, 3.0), ("twice", 2, 3.0), ("stepping", 1, 1.0), ("sampling", 1, 0.5)]
    inner = "together_twice_stepping_sampling"
    deep = {f"{inner}__times": 6, f"{inner}__scale": 7.0, "stepping__scale": 8.0, "twice_stepping__n_steps": 5}
    assert said(spec, **deep) == [("twice", 2, 3.0), ("twice", 6, 7.0), ("stepping", 5, 8.0), ("sampling", 7, 0.5)]


def test_no_two_options_have_one_name():
    spec = registry.method("together(twice(stepping),stepping)")
    names = [o.name for o in spec.options]
    assert len(set(names)) == len(names)
    given = {"twice_stepping__stepping__scale": 4.0, "stepping__scale": 5.0}
    assert said(spec, **given) == [("twice", 2, 3.0), ("stepping", 50, 4.0), ("stepping", 50, 5.0)]


def test_options_keep_their_help():
    spec = registry.method("together(stepping,sampling)")
    helps = {o.name: o.help for o in spec.options}
    assert helps["scale"] == "what it is multiplied by."
    assert helps["sampling__n_steps"] == "how many samples. n_steps sets it for every method that has it."
    helps = {o.name: o.help for o in registry.method("twice(stepping)").options}
    assert (helps["scale"], helps["stepping__scale"]) == ("the wrapper's own.", "what it is multiplied by.")
    assert (helps["times"], helps["n_steps"]) == ("how many.", "how many steps.")


def test_a_wrong_option_is_named():
    spec = registry.method("together(stepping,sampling)")
    with pytest.raises(UsageTypeError, match="n_steps must be int, got 'many'"):
        spec.resolve({"n_steps": "many"})
    with pytest.raises(UnknownName, match="has no option 'widht'. Did you mean 'width'"):
        spec.resolve({"widht": 1})


# Promises.


def test_a_wrapped_method_promises_what_all_of_it_promise():
    single, several = registry.method("twice(stepping)"), registry.method("together(stepping,sampling)")
    assert (single.complete, single.linear, single.stochastic, single.gradient) == ("approximate", True, False, True)
    assert (several.complete, several.linear, several.stochastic, several.gradient) == ("no", False, True, True)
    assert (several.outputs, registry.method("twice(sampling)").outputs) == ("one", "every")
    assert not registry.method("twice(sampling)").gradient
    assert several.references == ("arXiv:2202.01602",)


def test_costs_are_summed_up_by_the_names_of_options():
    assert registry.method("twice(stepping)").forward_passes == "times * (n_steps + layer) + layer"
    several = registry.method("twice(together(stepping,sampling))")
    assert several.forward_passes == "times * (stepping__n_steps + layer + 2 * sampling__n_steps) + layer"
    assert several.backward_passes == "times * (stepping__n_steps + 0)"
    assert registry.method("twice(sampling)").backward_passes == "0"
    nested = registry.method("twice(twice(sampling))")  # the options inside have other names
    assert nested.forward_passes == "times * (twice_sampling__times * (2 * n_steps)) + layer"


def test_places_are_those_of_all():
    at_site = declared("at_site", baseline="optional", baseline_at="site")
    at_inputs = declared("at_inputs", baseline="required")
    through = declared("through", neuron="through", where={"input", "neuron"})
    assert together.around(at_site, at_inputs).where == {"input", "neuron"}  # a layer's baseline would be two things
    assert together.around(at_site, at_inputs).baseline == "required"
    assert together.around(at_site, stepping).where == {"input", "layer", "neuron"}
    assert together.around(at_site, stepping).baseline_at == "site"
    assert together.around(stepping, through).where == {"input"}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"where": {"layer"}}, "their where= differ: of_inputs input, other layer"),
        ({"lands": "features", "where": {"input"}}, "their lands= differ: of_inputs site, other features"),
        ({"baseline": "required", "distribution": True}, "their distribution= differ: of_inputs False, other True"),
    ],
)
def test_methods_that_do_not_go_together_are_refused(facts, message):
    first = declared("of_inputs", where={"input"}, baseline="optional")
    with pytest.raises(UsageError, match=message):
        together.around(first, declared("other", **facts))


@pytest.mark.parametrize("methods", [0, 2, (0, 1), (1, 1), (3, 2)])
def test_a_number_of_methods_that_is_none_is_refused(methods):
    with pytest.raises(UsageError, match=r"wrapper 'planted': methods must be 1, or a pair like \(2, None\)"):
        attrkit.wrapper("planted", methods=methods)(lambda problem, inners: ())


def test_a_function_of_several_methods_takes_two_arguments():
    with pytest.raises(UsageError, match=r"must take \(problem, inners\) and options"):
        attrkit.wrapper("planted", methods=(2, None))(lambda problem: ())
