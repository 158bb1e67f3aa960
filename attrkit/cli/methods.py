"""``attrkit methods``: what there is, and everything that a method's declaration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.output import emit, facts, json_option, table

if TYPE_CHECKING:
    from attrkit.specs import MethodSpec


@click.command()
@click.argument("name", required=False)
@json_option
def methods(name: str | None, *, as_json: bool) -> None:
    """List all methods, or show all about one."""
    from attrkit.registry import registry

    if name is not None:
        described = _described(registry.method(name))
        emit(described) if as_json else _show(described)
        return
    specs = registry.all("methods")
    if as_json:
        emit([{"name": n, "summary": s.summary, "where": sorted(s.where)} for n, s in specs.items()])
    else:
        table([(n, ", ".join(sorted(s.where)), s.summary) for n, s in specs.items()], ("method", "where", ""))


def _described(spec: MethodSpec) -> dict[str, Any]:
    from attrkit.facade import class_name

    d = spec.deprecated
    return {
        "name": spec.name,
        "summary": spec.summary,
        "doc": spec.doc,
        "where": sorted(spec.where),
        "options": [{"name": o.name, "type": o.type, "default": o.default, "help": o.help} for o in spec.options],
        "gradient": spec.gradient,
        "baseline": spec.baseline,
        "baseline_at": spec.baseline_at,
        "complete": spec.complete,
        "linear": spec.linear,
        "stochastic": spec.stochastic,
        "forward_passes": spec.forward_passes,
        "backward_passes": spec.backward_passes,
        "references": spec.references,
        "classes": {str(where): f"attrkit.attr.{class_name(spec, where)}" for where in sorted(spec.where)},
        "deprecated": d and f"since {d.since}, gone in {d.removal}; use {d.use}",
        "distribution": _distribution(spec),
    }


def _distribution(spec: MethodSpec) -> str:
    from attrkit.registry import registry

    owners = (p for p in registry.plugins.values() if spec.name in registry.provides(p).get("methods", ()))
    return next((f"{plugin.dist} {plugin.version}" for plugin in owners), "registered without a distribution")


def _show(described: dict[str, Any]) -> None:
    click.echo(f"{described['name']}: {described['summary']}\n")
    baseline = described["baseline"]
    facts({
        "attributes to": ", ".join(described["where"]),
        "needs": "gradients" if described["gradient"] else "forward passes only",
        "baseline": baseline if baseline == "none" else f"{baseline}, at the {described['baseline_at']}",
        "complete": {"no": "no, sums promise nothing"}.get(described["complete"], described["complete"]),
        "linear": "yes" if described["linear"] else "no",
        "stochastic": "yes, governed by seed" if described["stochastic"] else "no",
        "cost": f"{described['forward_passes']} forward and {described['backward_passes']} backward passes",
        "references": ", ".join(described["references"]),
        "classes": ", ".join(described["classes"].values()),
        "distribution": described["distribution"],
        "deprecated": described["deprecated"],
    })  # fmt: skip
    if described["options"]:
        click.echo()
        rows = [(o["name"], o["type"], repr(o["default"]), o["help"]) for o in described["options"]]
        table(rows, ("option", "type", "default", ""))
