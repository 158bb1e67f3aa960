"""The registry finds plugins without importing them, and survives the bad ones. Needs no torch."""

import subprocess
import sys

import pytest

from attrkit.errors import AttrkitWarning, PluginUnavailable, UnknownName
from attrkit.installed import State
from attrkit.registry import Registry
from attrkit.specs import Deprecation, method, rule

DECLARES = "from attrkit import method\n\n@method({0!r})\ndef {0}(problem): 'One sentence.'\n"


def foreign():
    """A registry of the plugins under test only."""
    return Registry(block=("attrkit:*",))


def states(registry):
    return {key: plugin.state for key, plugin in registry.plugins.items() if plugin.dist != "attrkit"}


def declared(name, **facts):
    return method(name, **facts)(lambda problem: None)


# Lazy


def imported_by(code):
    program = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_importing_attrkit_imports_next_to_nothing():
    new = imported_by("import attrkit")
    assert {m for m in new if m.startswith("attrkit")} == {"attrkit"}
    assert not {m.partition(".")[0] for m in new} & {"torch", "numpy", "attr", "attrs", "pluggy", "yaml", "click"}
    assert "importlib.metadata" not in new
    assert len(new) < 60, sorted(new)


def test_the_registry_imports_neither_torch_nor_a_plugin():
    new = imported_by(
        "import attrkit.registry, attrkit.specs, attrkit.protocols; attrkit.registry.registry.plugins['attrkit:lrp']"
    )
    assert not [m for m in new if m.partition(".")[0] in {"torch", "numpy"} or m.startswith("attrkit_")]


def test_only_the_plugin_that_is_asked_for_is_imported(install):
    install("first", DECLARES.format("one"), {"one": ":one"})
    install("second", DECLARES.format("two"), {"two": ":two"})
    registry = foreign()
    assert states(registry) == {"first:one": State.FOUND, "second:two": State.FOUND}
    assert registry.method("one").name == "one"
    assert states(registry) == {"first:one": State.LOADED, "second:two": State.FOUND}
    assert "second" not in sys.modules


def test_a_module_of_hooks_is_loaded_for_a_name_that_no_entry_point_has(install):
    code = "from attrkit import hookimpl, rule\n\n@rule('half')\ndef half(step, relevance): 'One sentence.'\n\n"
    code += "@hookimpl\ndef attrkit_rules(): return [half]\n"
    install("family", code, {"family_rules": ""})
    registry = foreign()
    assert registry.rule("half").name == "half"
    assert registry.provides(registry.plugins["family:family_rules"]) == {"rules": ["half"]}


def test_a_plugin_that_is_loaded_late_is_configured(install):
    code = "from attrkit import hookimpl\nseen = []\n\n@hookimpl\ndef attrkit_configure(registry): seen.append(registry)\n"
    install("late", code, {"late": ""})
    registry = foreign()
    registry.load_all()
    assert sys.modules["late"].seen == [registry]


# Broken


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence found')", "RuntimeError: no licence found"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:", "SyntaxError"),
        ("x = 1", "AttributeError"),
        ("from attrkit import method\n\n@method('bad', gradiant=True)\ndef bad(problem): ''", "Did you mean 'gradient'"),
        (
            "from attrkit import method\n\n@method('bad')\ndef bad(problem, *, model: int = 1): ''",
            "'model' is a name that attrkit",
        ),
    ],
)
def test_a_broken_plugin_hurts_only_itself(install, code, reason):
    install("culprit", code, {"bad": ":bad"})
    install("innocent", DECLARES.format("good"), {"good": ":good"})
    registry = foreign()
    assert registry.method("good").name == "good"
    with pytest.warns(AttrkitWarning, match=f"culprit:bad did not load: .*{reason}"):
        assert list(registry.all("methods")) == ["good"]
    assert states(registry) == {"culprit:bad": State.BROKEN, "innocent:good": State.LOADED}
    with pytest.raises(PluginUnavailable, match=f"culprit:bad is broken: .*{reason}") as caught:
        registry.method("bad")  # warned about once
    assert caught.value.__cause__ is registry.plugins["culprit:bad"].error


def test_a_misspelt_hook_is_its_plugins_fault(install):
    install("culprit", "from attrkit import hookimpl\n\n@hookimpl\ndef attrkit_method(): return []\n", {"bad": ""})
    install("innocent", DECLARES.format("good"), {"good": ":good"})
    registry = foreign()
    with pytest.warns(AttrkitWarning, match="culprit:bad did not load: .*unknown hook 'attrkit_method'"):
        registry.load_all()
    assert registry.method("good").name == "good"
    assert not registry.manager.has_plugin("culprit:bad")


# Colliding


def test_two_plugins_of_one_name_must_be_told_apart(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"twin": ":twin"})
    with pytest.raises(
        PluginUnavailable, match=r"'twin' is provided by \w+:twin and by \w+:twin; ask for one .*ATTRKIT_BLOCK"
    ) as caught:
        foreign().method("twin")
    assert "one:twin" in str(caught.value)
    assert "two:twin" in str(caught.value)


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_full_name_chooses_whatever_else_is_loaded(install, first):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"twin": ":twin"})
    registry = foreign()
    for dist in sorted(("one", "two"), key=lambda d: d != first):
        assert registry.method(f"{dist}:twin") is sys.modules[dist].twin
    assert states(registry) == {"one:twin": State.LOADED, "two:twin": State.LOADED}


def test_a_collision_hurts_nobody_who_gives_the_full_name(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"twin": ":twin"})
    registry = foreign()
    registry.load_all()
    assert registry.method("one:twin") is sys.modules["one"].twin
    assert registry.method("two:twin") is sys.modules["two"].twin


def test_what_lists_everything_lists_both_by_their_full_names(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"twin": ":twin"})
    assert set(foreign().all("methods")) == {"one:twin", "two:twin"}


def test_one_registered_by_hand_does_not_take_the_name_of_a_loaded_one(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    registry = foreign()
    first = registry.method("twin")
    with pytest.raises(PluginUnavailable, match="method 'twin' is provided by twin and by one:twin"):
        registry.register(declared("twin"))
    assert registry.method("twin") is first


def test_blocking_one_of_two_settles_it(install, monkeypatch):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"twin": ":twin"})
    monkeypatch.setenv("ATTRKIT_BLOCK", "attrkit:*, one:twin")
    assert Registry().method("twin") is sys.modules["two"].twin
    assert "one" not in sys.modules


def test_a_name_belongs_to_the_entry_point_of_that_name(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    install("two", DECLARES.format("twin"), {"other": ":twin"})
    registry = foreign()
    assert registry.method("twin") is sys.modules["one"].twin
    registry.load_all()
    assert registry.method("twin") is sys.modules["one"].twin
    assert registry.method("two:twin") is sys.modules["two"].twin


def test_a_method_and_a_rule_may_share_a_name(install):
    install("one", DECLARES.format("same"), {"same": ":same"})
    install("two", DECLARES.format("same").replace("method", "rule").replace("problem", "step, relevance"), {"same": ":same"})
    registry = foreign()
    assert registry.method("one:same") is sys.modules["one"].same
    assert registry.rule("two:same") is sys.modules["two"].same


# Incompatible


@pytest.mark.parametrize("requirement", ["attrkit<0.1", "AttrKit <0.1", "attrkit[plot]>=99", "attrkit<0.1; python_version>'3'"])
def test_an_incompatible_plugin_is_reported_before_it_is_imported(install, requirement):
    install("outdated", "raise SystemExit", {"old": ":old"}, requires=[requirement])
    registry = foreign()
    plugin = registry.plugins["outdated:old"]
    assert plugin.state is State.INCOMPATIBLE
    assert plugin.reason.startswith("needs ")
    assert "this is attrkit 0." in plugin.reason
    registry.load_all()
    with pytest.raises(PluginUnavailable, match="outdated:old is incompatible: needs "):
        registry.method("old")
    assert "outdated" not in sys.modules


@pytest.mark.parametrize(
    "requirement",
    ["attrkit>=0.1", "attrkit", "attrkit<0.1; extra == 'old'", "attrkit<0.1; python_version<'3'", "attrkit-demo<0.1"],
)
def test_a_requirement_that_is_met_or_does_not_apply_is_no_obstacle(install, requirement):
    install("current", DECLARES.format("new"), {"new": ":new"}, requires=["numpy", requirement])
    assert foreign().method("new").name == "new"


def test_unreadable_requirements_hurt_only_their_plugin(install):
    install("culprit", DECLARES.format("bad"), {"bad": ":bad"}, requires=["attrkit (=>1"])
    install("innocent", DECLARES.format("good"), {"good": ":good"})
    assert foreign().method("good").name == "good"


# Blocked


@pytest.mark.parametrize("pattern", ["one", "first:one", "first", "fir*", "nothing, o?e"])
def test_block_and_only_match_name_key_and_package(install, monkeypatch, pattern):
    install("first", DECLARES.format("one"), {"one": ":one"})
    install("second", DECLARES.format("two"), {"two": ":two"})
    monkeypatch.setenv("ATTRKIT_BLOCK", pattern)
    assert states(Registry()) == {"first:one": State.BLOCKED, "second:two": State.FOUND}
    monkeypatch.delenv("ATTRKIT_BLOCK")
    monkeypatch.setenv("ATTRKIT_ONLY", pattern)
    assert states(Registry()) == {"first:one": State.FOUND, "second:two": State.BLOCKED}


def test_an_empty_only_leaves_nothing(install, monkeypatch):
    install("first", DECLARES.format("one"), {"one": ":one"})
    monkeypatch.setenv("ATTRKIT_ONLY", "")
    assert set(states(Registry()).values()) == {State.BLOCKED}


def test_a_blocked_plugin_is_not_imported_and_says_why(install):
    install("first", DECLARES.format("one"), {"one": ":one"})
    registry = Registry(only=(), block=())
    with pytest.raises(UnknownName, match="no method 'one' .first:one is left out by ATTRKIT_ONLY or only="):
        registry.method("one")
    assert "first" not in sys.modules


def test_unknown_names_suggest_and_list(install):
    install("first", DECLARES.format("saliency"), {"saliency": ":saliency"})
    with pytest.raises(UnknownName, match=r"no method 'saliancy'\. Did you mean 'saliency'\? Known: saliency"):
        foreign().method("saliancy")
    with pytest.raises(UnknownName, match=r"no rule 'x'\. Known: none"):
        foreign().rule("x")


# Registered by hand


def test_registering_again_replaces():
    registry = Registry(autoload=False)
    first, second = declared("mine"), declared("mine")
    registry.register(first)
    registry.register(second)
    assert registry.method("mine") is second
    assert registry.all("methods") == {"mine": second}


def test_a_plugin_that_is_refused_leaves_the_one_it_would_replace():
    class Misspelt:
        name = "mine"
        attrkit_methods = declared("mine").attrkit_methods
        from attrkit.hookspecs import hookimpl

        @hookimpl
        def attrkit_method(self): ...

    registry = Registry(autoload=False)
    first = declared("mine")
    registry.register(first)
    with pytest.raises(Exception, match="unknown hook 'attrkit_method'"):
        registry.register(Misspelt())
    assert registry.method("mine") is first


@pytest.mark.parametrize("name", ["registry", "errors", "runner"])
def test_a_method_named_like_a_module_of_attrkit_is_refused(name):
    registry = Registry(autoload=False)
    with pytest.raises(PluginUnavailable, match=f"method '{name}' has the name of a module of attrkit"):
        registry.register(declared(name))
    assert registry.all("methods") == {}


def test_a_rule_may_have_the_name_of_a_module():
    registry = Registry(autoload=False)
    spec = rule("layers")(lambda step, relevance: None)
    registry.register(spec)
    assert registry.rule("layers") is spec


def test_a_deprecated_method_warns_where_it_is_asked_for():
    registry = Registry(autoload=False)
    registry.register(declared("old", deprecated=Deprecation("0.2", "0.4", "new")))
    with pytest.warns(DeprecationWarning, match=r"old is deprecated since 0\.2 and goes in 0\.4; use new") as caught:
        registry.method("old")
    assert caught[0].filename == __file__


# Rulesets


def test_rulesets_are_found_by_file_name_and_the_second_of_a_name_gets_its_distributions(install):
    code = "from attrkit import RulesetSource\nsource = RulesetSource(__name__)\n"
    install("sheet", code, {"sheet": ":source"}, files={"mine.yaml": "a: 1", "other.yaml": "b: 1", "notes.txt": ""})
    install("shelf", code, {"shelf": ":source"}, files={"mine.yaml": "c: 1"})
    found = foreign().rulesets()
    assert {"mine", "other"} < set(found)
    assert len(found) == 3
    assert {f.read_text() for f in found.values()} == {"a: 1", "b: 1", "c: 1"}
    assert set(found) - {"mine", "other"} <= {"sheet:mine", "shelf:mine"}


# Plugins that fail in other ways than by an exception on import

HOOK = "from attrkit import RulesetSource, hookimpl\n@hookimpl\ndef {}():\n    {}\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (HOOK.format("attrkit_rules", "raise ValueError('no rules today')"), "ValueError: no rules today"),
        (HOOK.format("attrkit_rules", "return 5"), "must return a tuple of RuleSpec, it returned 5"),
        (HOOK.format("attrkit_methods", "return ('saliency',)"), "must return a tuple of MethodSpec"),
        (HOOK.format("attrkit_rulesets", "return (RulesetSource('no_such_package'),)"), "No module named 'no_such_package'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
    ],
)
def test_whatever_a_plugin_does_wrong_hurts_only_itself(install, code, reason):
    install("culprit", code, {"bad": ""})
    install("innocent", DECLARES.format("good"), {"good": ":good"})
    registry = foreign()
    with pytest.warns(AttrkitWarning, match="culprit:bad did not load"):
        assert set(registry.all("methods")) == {"good"}
    assert registry.all("rules") == registry.rulesets() == {}
    assert registry.plugins["culprit:bad"].state is State.BROKEN
    assert reason in registry.plugins["culprit:bad"].reason


def test_what_may_take_part_in_a_run_is_loaded_before_it(install):
    install("wraps", HOOK.format("attrkit_configure", "pass"), {"wraps": ""})
    install("declares", DECLARES.format("good"), {"good": ":good"})
    registry = foreign()
    registry.load_hooks()
    assert states(registry) == {"wraps:wraps": State.LOADED, "declares:good": State.FOUND}
