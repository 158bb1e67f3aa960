"""``attrkit methods``: what there is, and everything that a method's declaration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.declared import distribution_of, options_of, show_options
from attrkit.cli.output import emit, facts, json_option, table

if TYPE_CHECKING:
    from attrkit.specs import MethodSpec
    from attrkit.wrapping import WrapperSpec


@click.command()
@click.argument("name", required=False)
@json_option
def methods(name: str | None, *, as_json: bool) -> None:
    """List all methods, or show all about one."""
    from attrkit.registry import registry

    if name is not None and (wrapper := registry.find("wrappers", name)):
        described = _described_wrapper(wrapper)
        emit(described) if as_json else _show_wrapper(described)
        return
    if name is not None:
        described = _described(registry.method(name))
        emit(described) if as_json else _show(described)
        return
    specs = registry.all("methods")
    wrappers = {s.usage: s for s in registry.all("wrappers").values()}
    if as_json:
        found = [{"name": n, "summary": s.summary, "where": sorted(s.where)} for n, s in specs.items()]
        emit(found + [{"name": n, "summary": s.summary, "where": ["as METHOD"]} for n, s in wrappers.items()])
    else:
        rows = [(n, ", ".join(sorted(s.where)), s.summary) for n, s in specs.items()]
        table(rows + [(n, "as METHOD", s.summary) for n, s in wrappers.items()], ("method", "where", ""))


def _described_wrapper(spec: WrapperSpec) -> dict[str, Any]:
    from attrkit.facade import camel

    return {
        "name": spec.usage,
        "summary": spec.summary,
        "doc": spec.doc,
        "options": options_of(spec),
        "stochastic": spec.stochastic,
        "times": spec.times,
        "references": spec.references,
        "class": "" if spec.several else f"attrkit.attr.{camel(spec.name)}",
    }


def _show_wrapper(described: dict[str, Any]) -> None:
    click.echo(f"{described['name']}: {described['summary']}\n")
    facts({
        "stochastic": "yes, governed by seed" if described["stochastic"] else "no",
        "cost": "that of each METHOD" + (f", {described['times']} times" if described["times"] != "1" else ""),
        "references": ", ".join(described["references"]),
        "class": described["class"],
    })  # fmt: skip
    show_options(described)


def _described(spec: MethodSpec) -> dict[str, Any]:
    from attrkit.facade import class_name
    from attrkit.wrapping import Wrapped

    if isinstance(spec, Wrapped):
        classes = {"any": called} if (called := _made_by(spec)) else {}
    else:
        classes = {str(where): f"attrkit.attr.{class_name(spec, where)}" for where in sorted(spec.where)}
    d = spec.deprecated
    return {
        "name": spec.name,
        "summary": spec.summary,
        "doc": spec.doc,
        "where": sorted(spec.where),
        "options": options_of(spec),
        "gradient": spec.gradient,
        "baseline": spec.baseline,
        "baselines_are_a_distribution": spec.distribution,
        "baseline_at": spec.baseline_at,
        "complete": spec.complete,
        "linear": spec.linear,
        "stochastic": spec.stochastic,
        "forward_passes": spec.forward_passes,
        "backward_passes": spec.backward_passes,
        "references": spec.references,
        "classes": classes,
        "deprecated": d and f"since {d.since}, gone in {d.removal}; use {d.use}",
        "distribution": distribution_of(spec.wrapper if isinstance(spec, Wrapped) else spec),
    }


def _made_by(spec: MethodSpec) -> str:
    """How the classes of attrkit.attr make a method; empty where they do not."""
    from attrkit.facade import camel, class_name
    from attrkit.wrapping import Wrapped

    if not isinstance(spec, Wrapped):
        return f"attrkit.attr.{class_name(spec, min(spec.where))}(...)"
    inner = "" if spec.wrapper.several else _made_by(spec.inners[0])
    return inner and f"attrkit.attr.{camel(spec.wrapper.name)}({inner})"


def _show(described: dict[str, Any]) -> None:
    click.echo(f"{described['name']}: {described['summary']}\n")
    baseline = described["baseline"]
    facts({
        "attributes to": ", ".join(described["where"]),
        "needs": "gradients" if described["gradient"] else "forward passes only",
        "baseline": baseline if baseline == "none" else f"{baseline}, {_where_baselines_are(described)}",
        "complete": {"no": "no, sums promise nothing"}.get(described["complete"], described["complete"]),
        "linear": "yes" if described["linear"] else "no",
        "stochastic": "yes, governed by seed" if described["stochastic"] else "no",
        "cost": f"{described['forward_passes']} forward and {described['backward_passes']} backward passes",
        "references": ", ".join(described["references"]),
        "classes": ", ".join(described["classes"].values()),
        "distribution": described["distribution"],
        "deprecated": described["deprecated"],
    })  # fmt: skip
    show_options(described)


def _where_baselines_are(described: dict[str, Any]) -> str:
    kind = "a distribution " if described["baselines_are_a_distribution"] else ""
    return f"{kind}at the {described['baseline_at']}"
