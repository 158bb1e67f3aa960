"""The registry where others have been: versions of the plugin API, two hundred plugins, notebooks. Needs no torch."""

import sys
import warnings

import pytest

from attrkit import hookimpl
from attrkit.errors import AttrkitWarning, PluginUnavailable, UnknownName, UsageTypeError
from attrkit.installed import State
from attrkit.registry import Registry
from attrkit.specs import RulesetSource, method, rule

DECLARES = "from attrkit import method\n\n@method({0!r})\ndef {0}(problem): 'One sentence.'\n"


def foreign():
    """A registry of the plugins under test only."""
    return Registry(block=("attrkit:*",))


def states(registry):
    return {key: plugin.state for key, plugin in registry.plugins.items() if plugin.dist != "attrkit"}


def declared(name, **facts):
    return method(name, **facts)(lambda problem: None)


# Versions of the plugin API


@pytest.mark.parametrize("groups", [("attrkit",), ("attrkit.v1",), ("attrkit", "attrkit.v1")])
def test_both_names_of_the_spoken_version_are_read(install, groups):
    install("first", DECLARES.format("one"), {"one": ":one"}, groups=groups)
    registry = foreign()
    assert registry.method("one").name == "one"
    assert states(registry) == {"first:one": State.LOADED}


def test_a_plugin_for_a_later_version_says_that_attrkit_is_too_old(install):
    install("future", "raise SystemExit", {"one": ":one"}, groups=("attrkit.v2",))
    registry = foreign()
    assert states(registry) == {"future:one": State.INCOMPATIBLE}
    with pytest.raises(PluginUnavailable, match="needs a newer attrkit, with version 2 of the plugin API; this is attrkit 0"):
        registry.method("one")
    registry.load_all()
    assert "future" not in sys.modules


def test_a_plugin_for_this_version_and_a_later_one_works(install):
    install("both", DECLARES.format("one"), {"one": ":one"}, groups=("attrkit.v2", "attrkit", "attrkit.v12"))
    registry = foreign()
    assert registry.method("one").name == "one"
    assert states(registry) == {"both:one": State.LOADED}


def test_other_groups_are_not_ours(install):
    install("other", "raise SystemExit", {"one": ":one"}, groups=("attrkit.plugins", "attrkit.v0", "attrkitx", "my.attrkit"))
    assert states(foreign()) == {}


# Many, and metadata as they are found in the wild


def test_metadata_without_a_name_hurt_only_their_plugin(install, tmp_path):
    install("good", DECLARES.format("one"), {"one": ":one"})
    install("nameless", DECLARES.format("two"), {"two": ":two"})
    (tmp_path / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    registry = foreign()
    assert registry.method("one").name == "one"
    (broken,) = (p for p in registry.plugins.values() if p.state is State.BROKEN)
    assert broken.reason.startswith("its metadata ")
    with pytest.raises(PluginUnavailable, match="is broken: its metadata "):
        registry.method("two")


def test_requirements_of_others_that_cannot_be_read_are_no_obstacle(install):
    install("good", DECLARES.format("one"), {"one": ":one"}, requires=["legacy (=>1"])
    assert foreign().method("one").name == "one"


CODE = {
    "good": DECLARES,
    "raises": "raise RuntimeError('no')",
    "empty": "{0} = print",
    "misspelt": "from attrkit import hookimpl\n\n@hookimpl\ndef attrkit_methodz(): return []\n",
}


def test_two_hundred_plugins_cost_no_import_until_they_are_asked_for(install):
    for i in range(200):
        kind = list(CODE)[i % 4 if i < 40 else 0]
        requires = ["attrkit<0.1"] if 40 <= i < 50 else ["attrkit (=>1"] if 50 <= i < 60 else ["torch>=2"]
        target = "" if kind == "misspelt" else f":p{i}"
        install(f"dist-{i}", CODE[kind].format(f"p{i}"), {f"p{i}": target}, requires)
    registry = foreign()
    assert len(states(registry)) == 200
    assert not [m for m in sys.modules if m.startswith("dist_")]
    assert registry.method("p199").name == "p199"
    assert [m for m in sys.modules if m.startswith("dist_")] == ["dist_199"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)
        found = registry.all("methods")
    by_state = [list(states(registry).values()).count(state) for state in (State.LOADED, State.BROKEN, State.INCOMPATIBLE)]
    assert by_state == [150, 40, 10]
    assert len(found) == 150
    assert all(plugin.reason for plugin in registry.plugins.values() if plugin.state is not State.LOADED)


def test_a_plugin_that_takes_part_in_runs_says_by_which_hooks(install):
    code = "from attrkit import hookimpl\n\n@hookimpl\ndef attrkit_executor(model, devices): return None\n\n"
    code += "@hookimpl\ndef attrkit_configure(registry): pass\n"
    install("runs", code, {"runs": ""})
    registry = foreign()
    plugin = registry.plugins["runs:runs"]
    assert registry.provides(plugin) == {}
    registry.load_all()
    assert registry.provides(plugin) == {"hooks": ["attrkit_configure", "attrkit_executor"]}


# Notebooks and applications


def test_a_cell_that_is_run_again_replaces_what_it_registered():
    registry, cell = Registry(autoload=False), DECLARES.format("mine") + "\nregistry.register(mine)"
    for text in (cell, cell, cell.replace("One sentence", "Another one")):
        names = {"registry": registry, "__name__": "__main__"}
        exec(text, names)  # noqa: S102 - as a notebook does
        assert registry.method("mine") is names["mine"]
        assert list(registry.all("methods")) == ["mine"]
    assert registry.method("mine").summary == "Another one."


def test_the_very_same_object_may_be_registered_again():
    registry, mine = Registry(autoload=False), declared("mine")
    for _ in range(3):
        registry.register(mine)
    assert registry.all("methods") == {"mine": mine}


def test_an_object_that_is_known_by_another_name_says_so():
    registry, mine = Registry(autoload=False), declared("mine")
    registry.register(mine, "first")
    with pytest.raises(PluginUnavailable, match="registered already, as 'first'"):
        registry.register(mine, "second")
    assert registry.method("mine") is mine


def test_a_rule_does_not_replace_a_method_of_its_name():
    registry = Registry(autoload=False)
    made = [(declared("same"), rule("same")(lambda step, relevance: None)) for _ in range(3)]
    for new_method, new_rule in made:
        registry.register(new_method)
        registry.register(new_rule)
        assert registry.method("same") is new_method
        assert registry.rule("same") is new_rule
    registry.unregister("same")
    new_rule = rule("same")(lambda step, relevance: None)
    registry.register(new_rule)
    assert registry.all("rules") == {"same": new_rule}
    assert registry.all("methods") == {}


def test_an_object_of_hooks_without_a_name_is_known_by_its_class():
    registry = Registry(autoload=False)
    for number in range(3):

        class Mine:
            given = declared("mine", references=(f"arXiv:{number}",))

            @hookimpl
            def attrkit_methods(self):
                return (self.given,)

        registry.register(Mine())
        assert registry.method("mine") is Mine.given


def test_a_ruleset_source_may_be_registered_again():
    registry = Registry(autoload=False)
    for _ in range(2):
        registry.register(RulesetSource("json"))
    assert registry.rulesets() == {}


@pytest.mark.parametrize("plugin", [lambda problem: None, object(), 5, sys], ids=["function", "object", "number", "module"])
def test_what_declares_nothing_is_refused(plugin):
    registry = Registry(autoload=False)
    with pytest.raises(UsageTypeError, match="declares nothing: decorate its function with attrkit.method"):
        registry.register(plugin, "mine")
    assert not registry.manager.has_plugin("mine")


def test_an_entry_point_that_declares_nothing_is_broken(install):
    install("culprit", "def bad(problem): 'Not decorated.'\n", {"bad": ":bad"})
    registry = foreign()
    with (
        pytest.warns(AttrkitWarning, match="culprit:bad did not load: .*function 'bad' declares nothing: decorate"),
        pytest.raises(PluginUnavailable),
    ):
        registry.method("bad")


def test_the_name_of_an_installed_one_is_refused_also_before_that_is_loaded(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    registry = foreign()
    with pytest.raises(PluginUnavailable, match="method 'twin' is provided by twin and by one:twin"):
        registry.register(declared("twin"))
    assert registry.method("twin") is sys.modules["one"].twin


def test_an_installed_plugin_is_not_replaced_by_its_full_name(install):
    install("one", DECLARES.format("twin"), {"twin": ":twin"})
    registry = foreign()
    with pytest.raises(PluginUnavailable, match="'one:twin' is an installed plugin, which cannot be replaced"):
        registry.register(declared("other"), "one:twin")
    assert registry.method("twin") is sys.modules["one"].twin


def test_what_was_registered_by_hand_is_forgotten_by_its_name(install):
    install("one", DECLARES.format("other"), {"other": ":other"})
    registry = foreign()
    registry.register(declared("mine"))
    registry.unregister("mine")
    assert "mine" not in registry.all("methods")
    for name in ("mine", "one:other"):  # an installed plugin is left out by ATTRKIT_BLOCK
        with pytest.raises(UnknownName, match=f"nothing is registered by hand as '{name}'"):
            registry.unregister(name)


def test_classes_follow_what_is_registered():
    pytest.importorskip("torch")
    from attrkit import attr
    from attrkit.registry import registry

    first, second = declared("planted_method"), declared("planted_method", where={"input"})
    registry.register(first)
    try:
        assert attr.PlantedMethod.spec is first
        assert attr.LayerPlantedMethod.spec is first
        registry.register(second)
        assert attr.PlantedMethod.spec is second
        with pytest.raises(AttributeError, match="no class 'LayerPlantedMethod'"):
            _ = attr.LayerPlantedMethod
    finally:
        registry.unregister("planted_method")
    with pytest.raises(AttributeError, match="no class 'PlantedMethod'"):
        _ = attr.PlantedMethod
