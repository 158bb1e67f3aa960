"""``attrkit explain``: a model, some data, one or several methods."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from attrkit.cli import arguments, settings
from attrkit.cli.data import load_data, part, suited
from attrkit.cli.failures import Settings
from attrkit.cli.output import emit, json_option, note, table
from attrkit.errors import UnknownName, UsageError, did_you_mean
from attrkit.loading.models import load_model

if TYPE_CHECKING:
    from attrkit.explanation import Explanation
    from attrkit.specs import MethodSpec


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("-m", "--method", "names", multiple=True, required=True, metavar="METHOD", help="May be given several times.")
@click.option("-o", "--out", required=True, metavar="OUT", help="A .safetensors file; for several methods a folder.")
@click.option("--target", callback=arguments.target, metavar="pred|I|I,J", help="Which output; pred is the largest one.")
@click.option("--layer", metavar="PATH", help="Attribute to this layer instead of the inputs.")
@click.option("--neuron", callback=arguments.index, metavar="I[,J]", help="Explain this neuron of the layer.")
@click.option("--baseline", metavar="NUMBER|DATA", help="What to compare with: a number, or data of one or more examples.")
@settings.set_option
@click.option("--examples", metavar="A:B", help="Explain these examples only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--html", metavar="FILE", help="Write a report, too.")
@json_option
@click.pass_obj
def explain(
    invoked: Settings,
    /,
    model: str,
    data: str,
    names: Sequence[str],
    out: str,
    given: Sequence[str],
    examples: str | None,
    html: str | None,
    *,
    as_json: bool,
    **request: Any,
) -> None:
    """Explain what MODEL answers to DATA, and save it.

    \b
    MODEL  package.module:name, file.py:name (a module, or what makes one when called)
           or file.pt2; +weights=FILE (.safetensors, .pt) at its end loads weights.
    DATA   a .npy, .npz, .pt, .safetensors or .csv file, or sklearn:digits,
           sklearn:breast_cancer, sklearn:iris, sklearn:wine; numbers with a
           point take the precision of the model's parameters.
    """  # noqa: D301 - click reads the escape
    import attrkit
    from attrkit.registry import registry

    specs = {name: registry.method(name) for name in names}
    options = _shared(specs, settings.read(given))
    baseline = request.pop("baseline")
    files = _files(out, tuple(specs))
    network = load_model(model)
    read = load_data(data)
    chosen = suited(part(read, examples) if examples else read, network)
    request["baselines"] = _baselines(baseline, network)
    if baseline is not None and not any(spec.compares for spec in specs.values()):
        raise UsageError(f"--baseline: {', '.join(specs)} takes none; leave it out")
    found: dict[str, Explanation] = {}
    seconds: dict[str, float] = {}
    for name, spec in specs.items():
        start = perf_counter()
        found[name] = attrkit.explain(network, chosen.inputs, spec, options=options[name], **_for(spec, request))
        seconds[name] = perf_counter() - start
        files[name].parent.mkdir(parents=True, exist_ok=True)
        found[name].save(files[name])
        note(f"{name}: {seconds[name]:.2f} s, {_passes(found[name])}")
    if html:
        from attrkit.views.report import write_report

        write_report(html, found, seconds=seconds, command=f"attrkit {shlex.join(invoked.arguments)}", labels=chosen.labels)
        note(f"report: {html}")
    rows = [_row(name, files[name], found[name], seconds[name]) for name in specs]
    if as_json:
        emit(rows)
    else:
        table([(r["method"], _delta(r["delta"]), r["file"]) for r in rows], ("method", "largest delta", "file"))


def _for(spec: MethodSpec, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of all methods, as far as it concerns one."""
    return {name: value for name, value in request.items() if name != "baselines" or spec.compares}


def _baselines(given: str | None, network: Any) -> Any:
    """A number, or the tensors of a data file."""
    if given is None:
        return None
    try:
        return float(given)
    except ValueError:
        return suited(load_data(given), network).inputs


def _shared(specs: Mapping[str, MethodSpec], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each method's own options. Raises UnknownName for one that no method has."""
    known = {name: spec.accepts for name, spec in specs.items()}
    for name in given:
        every = sorted({option for options in known.values() for option in options})
        if name not in every:
            asked, listed = ", ".join(specs), ", ".join(every) or "none"
            raise UnknownName(f"--set {name}: {asked} has no such option.{did_you_mean(name, every)} Options: {listed}")
    return {method: {name: value for name, value in given.items() if name in known[method]} for method in specs}


def _files(out: str, names: Sequence[str]) -> dict[str, Path]:
    path = Path(out)
    if path.suffix != ".safetensors":
        return {name: path / f"{name.replace(':', '-')}.safetensors" for name in names}
    if len(names) > 1:
        raise UsageError(f"--out {out!r}: {len(names)} methods need a folder, this names one file")
    return {names[0]: path}


def _passes(explanation: Explanation) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in explanation.passes.items()) + " passes"


def _delta(largest: float | None) -> str:
    return "-" if largest is None else f"{largest:.3g}"


def _row(name: str, file: Path, explanation: Explanation, seconds: float) -> dict[str, Any]:
    return {
        "method": name,
        "file": str(file),
        "target": explanation.target,
        "values": {n: list(values.shape) for n, values in explanation.values.items()},
        "delta": None if explanation.delta is None else float(explanation.delta.abs().max()),
        "passes": explanation.passes,
        "seconds": round(seconds, 3),
        "warnings": explanation.warnings,
    }
