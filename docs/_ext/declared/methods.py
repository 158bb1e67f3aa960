"""Pages of methods and wrappers, with their classes."""

import inspect
from collections.abc import Iterator
from typing import Any

from attrkit.facade import class_names, find_class
from attrkit.registry import registry
from attrkit.specs import MethodSpec
from attrkit.wrapping import WrapperSpec
from declared.pieces import body, code, codes, facts, fenced, hidden_toctree, joined, links, options, prose, table


def method_pages() -> Iterator[tuple[str, str]]:
    """One page for each method, and their list by family."""
    made: dict[str, list[type]] = {}
    for name in class_names():
        if spec := getattr(cls := find_class(name), "spec", None):
            made.setdefault(spec.name, []).append(cls)
    families: dict[str, list[tuple[str, ...]]] = {}
    specs: dict[str, MethodSpec] = registry.all("methods")
    for name, spec in specs.items():
        if (plugin := registry.origin(spec)) is None:
            continue  # registered by hand, in this process
        row = (f"[{name}](methods/{name}.md)", prose(spec.summary), ", ".join(sorted(spec.where)), needs(spec), spec.complete)
        families.setdefault(plugin.package, []).append(row)
        yield f"methods/{name}", method_page(spec, made.get(name, []))
    lists = []
    for package, rows in families.items():
        lists += [f"## {package.removeprefix('attrkit_').capitalize()}", (__import__(package).__doc__ or "").partition("\n")[0]]
        lists.append(table(rows, ("method", "", "attributes to", "needs", "complete")))
    yield "methods", joined("# Methods", *lists, hidden_toctree(f"methods/{name}" for name in specs))


def needs(spec: MethodSpec) -> str:
    """Gradients or not, and a baseline or not."""
    passes = "gradients" if spec.gradient else "forward passes"
    return passes if spec.baseline == "none" else f"{passes}, baseline ({spec.baseline})"


def method_page(spec: MethodSpec, classes: list[type]) -> str:
    """Everything about a method."""
    rows = "a distribution " if spec.distribution else ""
    return joined(
        f"# {spec.name}",
        body(spec),
        "## Options" if spec.options else "",
        options(spec),
        "## What it promises",
        facts({
            "attributes to": ", ".join(sorted(spec.where)),
            "needs": "gradients" if spec.gradient else "forward passes only",
            "baseline": "none" if spec.baseline == "none" else f"{spec.baseline}, {rows}at the {spec.baseline_at}",
            "complete": {"no": "no, sums promise nothing"}.get(spec.complete, spec.complete),
            "linear in the model": "yes" if spec.linear else "no",
            "stochastic": "yes, governed by `seed`" if spec.stochastic else "no",
            "without a target": "explains every output" if spec.outputs == "every" else "",
            "cost": f"{code(spec.forward_passes)} forward and {code(spec.backward_passes)} backward passes",
            "papers": links(spec.references),
            "deprecated": str(spec.deprecated or ""),
        }),
        "## How to call it",
        fenced(f'attrkit.explain(model, inputs, "{spec.name}")', "python"),
        fenced(f"attrkit explain MODEL DATA -m {spec.name} -o {spec.name}.safetensors", "sh"),
        f"Inside a [wrapper](../wrappers.md): {codes(wrapped(spec))}.",
        "## Classes" if classes else "",
        *map(class_entry, classes),
    )  # fmt: skip


def wrapped(spec: MethodSpec) -> Iterator[str]:
    """The wrappers that take a method, around it."""
    for wrapper in registry.all("wrappers").values():
        if wrapper.where & spec.where and (wrapper.applies_to == "any" or spec.stochastic):
            yield wrapper.usage.replace("METHOD", spec.name, 1)


def class_entry(cls: Any) -> str:
    """A class of ``attrkit.attr`` with its signatures, as Sphinx indexes it."""
    made, attribute = (str(_without_self(function)) for function in (cls.__init__, cls.attribute))
    lines = [f".. py:class:: attrkit.attr.{cls.__name__}{made}", "", f"   .. py:method:: attribute{attribute}"]
    return fenced("\n".join(lines), "{eval-rst}")


def _without_self(function: Any) -> inspect.Signature:
    _, *parameters = inspect.signature(function).parameters.values()
    return inspect.Signature([p.replace(annotation=p.empty) for p in parameters])


def wrappers_page() -> str:
    """All wrappers."""
    parts = []
    for name, spec in registry.all("wrappers").items():
        classes = [c for n in class_names() if getattr(c := find_class(n), "wrapper", None) is spec]
        promises = {
            "asked for as": code(spec.usage),
            "takes": "methods that draw random numbers" if spec.applies_to == "stochastic" else "any method",
            "attributes to": ", ".join(sorted(spec.where)),
            "complete, where its methods are": spec.complete,
            "stochastic": "yes, governed by `seed`" if spec.stochastic else "no",
            "cost": f"that of the method, {code(spec.times)} times",
            "papers": links(spec.references),
        }
        parts += [f"## {name}", body(spec), options(spec), facts(promises), *map(class_entry, classes)]
    return joined("# Wrappers", body(WrapperSpec), *parts)
