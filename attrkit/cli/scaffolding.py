"""A new distribution with one plugin, from the templates in attrkit/templates: those of every kind, and those of its own.

A template's path is the file's, with NAME and PACKAGE in it; ``$name`` and the like in its text are filled in as by
string.Template.
"""

from __future__ import annotations

import builtins
import keyword
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import attrs

from attrkit.errors import AttrkitWarning, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@attrs.frozen
class Kind:
    """What the templates of a kind of plugin leave to be said."""

    summary: str
    usage: str
    target: str = "$package:$name"  # of the entry point


KINDS = {
    "method": Kind(
        "The attribution method $name, a plugin for attrkit.",
        '`attrkit.explain(model, inputs, "$name", target=0)` runs it, and `attrkit.attr.$class_name` is its class.',
    ),
    "wrapper": Kind(
        "The wrapper $name, a plugin for attrkit: a method that takes a method.",
        '`attrkit.explain(model, inputs, "$name(saliency)", target=0)` runs it around a method; its class is '
        "`attrkit.attr.$class_name`.",
    ),
    "rule": Kind(
        "The propagation rule $name, a plugin for attrkit.",
        "A ruleset uses it: `{id: weights, match: {op: linear_like}, rule: $name}`.",
    ),
    "ruleset": Kind(
        "The ruleset $name, a plugin for attrkit.",
        '`attrkit.explain(model, inputs, "lrp", target=0, rules="$name")` uses it; `attrkit rules show $name` shows it.',
        "$package:source",
    ),
    "replacement": Kind(
        "The replacement $name, a plugin for attrkit.",
        '`attrkit.explain(model, inputs, "feature_ablation", target=0, replacement="$name")` uses it.',
    ),
    "segmenter": Kind(
        "The segmenter $name, a plugin for attrkit.",
        '`attrkit.explain(model, inputs, "feature_ablation", target=0, feature_mask="$name")` uses it.',
    ),
    "design": Kind(
        "The design $name, a plugin for attrkit: which coalitions of features are asked for.",
        '`attrkit.explain(model, inputs, "lime", target=0, design="$name")` uses it.',
    ),
    "estimator": Kind(
        "The estimator $name, a plugin for attrkit: from values of coalitions to scores.",
        '`attrkit.explain(model, inputs, "kernel_shap", target=0, estimator="$name")` uses it.',
    ),
    "surrogate": Kind(
        "The surrogate $name, a plugin for attrkit: a model that is fitted to values of coalitions.",
        '`attrkit.explain(model, inputs, "lime", target=0, surrogate="$name")` uses it.',
    ),
    "executor": Kind(
        "The executor $name, a plugin for attrkit.",
        "Every run uses it where it is installed; `ATTRKIT_BLOCK=$name` leaves it out.",
        "$package",
    ),
    "placement": Kind(
        "The executor of jobs $name, a plugin for attrkit: where shards are computed.",
        "`attrkit run job.yaml --executor $name` uses it, and so does `executor: {kind: $name}` in a job file.",
    ),
}  # fmt: skip


def scaffold(name: str, kind: str, into: Path) -> Path:
    """Write a distribution with one plugin, and return its folder: all of it, or nothing.

    Raises:
        UsageError: the name cannot be used, is taken, or the folder is there already.
    """
    from tempfile import TemporaryDirectory

    package, folder = f"attrkit_{name}", into / f"attrkit-{name}"
    _check(name, package)
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already; choose another name, or another folder with --into")
    values = _values(name, package, kind)
    written = {path: Template(text).substitute(values) for path, text in _templates(values)}
    with TemporaryDirectory(prefix=f".attrkit-{name}-", dir=into) as place:
        made = Path(place) / folder.name
        for path, text in written.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8", newline="\n")
        made.rename(folder)
    return folder


def _check(name: str, package: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*(?<!_)", name):
        raise UsageError(f"name {name!r} must be lower case letters, digits and underscores, like 'my_method'")
    if taken := _owner(name, package):
        raise UsageError(f"name {name!r} is taken by {taken}; choose another")


def _owner(name: str, package: str) -> str:
    """What has the name already; empty if nothing has."""
    import attrkit

    if keyword.iskeyword(name) or hasattr(builtins, name):
        return "Python"
    if name in {"torch", "attrkit", *attrkit.__all__} or find_spec(f"attrkit.{name}"):
        return "attrkit itself"
    if find_spec(package):
        return f"the package {package}, which can be imported here"
    return next((f"the plugin {key}" for known, key in _known() if known == name), "")


def _known() -> Iterator[tuple[str, str]]:
    """Every name that an installed plugin has or declares, and the plugin."""
    from attrkit.registry import registry

    yield from ((plugin.name, key) for key, plugin in registry.plugins.items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # of broken ones, which are no concern of this one
        registry.load_all()
    for key, plugin in registry.plugins.items():
        yield from ((name, key) for names in registry.provides(plugin).values() for name in names)
    yield from ((name, "that ships this ruleset") for name in registry.rulesets())


def _templates(values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each file in the distribution, and its template."""
    from importlib.resources import files

    for folder in ("common", values["kind"]):
        for path, file in _tree(files("attrkit") / "templates" / folder):
            target = path.removesuffix(".template").replace("PACKAGE", values["package"]).replace("NAME", values["name"])
            yield target, file.read_text(encoding="utf-8")


def _tree(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _tree(item, f"{above}{item.name}/")
        else:
            yield f"{above}{item.name}", item


def _values(name: str, package: str, kind: str) -> dict[str, str]:
    from importlib.metadata import version

    oldest = version("attrkit")
    major, minor, *_ = oldest.split(".")
    values = {
        "name": name,
        "kind": kind,
        "package": package,
        "distribution": f"attrkit-{name}",
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "asked": f'"{name}"' if kind == "method" else f'"{name}", kind="{kind}"',
        "oldest": oldest,
        "least": f"{major}.{minor}",
        "below": f"{major}.{int(minor) + 1}" if major == "0" else str(int(major) + 1),
    }
    said = KINDS[kind]
    return values | {key: Template(getattr(said, key)).substitute(values) for key in ("summary", "usage", "target")}
