"""``attrkit show``: what a saved explanation says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.output import emit, facts, json_option, settings_text, table

if TYPE_CHECKING:
    from attrkit.explanation import Explanation


@click.command()
@click.argument("file")
@json_option
def show(file: str, *, as_json: bool) -> None:
    """Show what a saved explanation holds."""
    from attrkit import Explanation
    from attrkit.views.html import target_text

    explanation = Explanation.load(file)
    described = _described(explanation)
    if as_json:
        emit(described)
        return
    facts({
        "method": f"{explanation.method} ({settings_text(explanation.options)})" if explanation.options else explanation.method,
        "attributes to": explanation.where,
        "target": target_text(explanation.target),
        "model": explanation.model.get("class", ""),
        "fingerprint": explanation.model.get("fingerprint", ""),
        "largest delta": "not promised" if explanation.delta is None else f"{float(explanation.delta.abs().max()):.3g}",
        "passes": ", ".join(f"{count} {kind}" for kind, count in explanation.passes.items()),
        "rows per pass": f"at most {explanation.rows_per_pass}" if explanation.rows_per_pass else "",
        "seed": explanation.seed,
        "versions": ", ".join(f"{name} {version}" for name, version in explanation.versions.items()),
    })  # fmt: skip
    for text in explanation.warnings:
        facts({"warning": text})
    click.echo()
    rows = [(n, " x ".join(map(str, v.shape)), f"{v.min():.3g} to {v.max():.3g}") for n, v in explanation.values.items()]
    table(rows, ("attributed to", "shape", "values"))


def _described(explanation: Explanation) -> dict[str, Any]:
    listed = {name: getattr(explanation, name) for name in ("output", "baseline_output", "delta")}
    return {
        "method": explanation.method,
        "options": explanation.options,
        "where": explanation.where,
        "target": explanation.target,
        "values": {name: list(values.shape) for name, values in explanation.values.items()},
        "sums": {name: values.double().flatten(1).sum(1).tolist() for name, values in explanation.values.items()},
        "inputs": {name: list(values.shape) for name, values in explanation.inputs.items()},
        **{name: None if tensor is None else tensor.tolist() for name, tensor in listed.items()},
        "passes": explanation.passes,
        "rows_per_pass": explanation.rows_per_pass,
        "rules": explanation.rules,
        "seed": explanation.seed,
        "model": explanation.model,
        "versions": explanation.versions,
        "warnings": explanation.warnings,
    }
