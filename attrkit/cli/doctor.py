"""``attrkit doctor``: what will work on a model, what will not, and what would mend it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from attrkit.cli import arguments, settings
from attrkit.cli.binding import example
from attrkit.cli.data import load_data, suited
from attrkit.cli.failures import check_failed
from attrkit.cli.output import emit, json_option, note
from attrkit.errors import UsageError
from attrkit.loading.models import load_model


@click.command()
@click.argument("model")
@click.argument("data", required=False)
@click.option("--shape", callback=arguments.shape, metavar="N,C,...", help="Zeros of this shape as input, without DATA.")
@click.option("--target", callback=arguments.index, metavar="I|I,J", help="Which output; else the largest one.")
@click.option("--layer", metavar="PATH", help="Where to try methods that cannot attribute to the inputs.")
@click.option("-m", "--method", "methods", multiple=True, metavar="METHOD", help="Try only these methods.")
@click.option("-r", "--ruleset", "rulesets", multiple=True, metavar="RULESET", help="Try only these rulesets, names or files.")
@settings.set_option
@click.option("-o", "--out", metavar="FOLDER", help="Save each ruleset that was mended there.")
@json_option
def doctor(
    model: str,
    data: str | None,
    shape: tuple[int, ...] | None,
    methods: Sequence[str],
    rulesets: Sequence[str],
    given: Sequence[str],
    out: str | None,
    *,
    as_json: bool,
    **request: Any,
) -> None:
    """Say which methods and rulesets work on MODEL, and what would mend those that do not.

    MODEL and DATA are as for explain; a few passes are run for each method and each ruleset, with two of the examples.
    --set gives values to parameters of rulesets. The exit status is 0 if something works.
    """
    import attrkit

    network = load_model(model)
    if data and shape:
        raise UsageError("DATA and --shape both say what the input is; give one of them")
    inputs = suited(load_data(data) if data else example(network, None, shape), network).inputs
    found = attrkit.doctor(
        network,
        inputs,
        methods=methods or (None if not rulesets else []),
        rulesets=rulesets or (None if not methods else []),
        parameters=settings.read(given),
        **request,
    )
    for ruleset in found.rulesets if out else ():
        if ruleset.mended:
            file = Path(str(out)) / f"{Path(ruleset.name.rpartition(':')[2]).stem}_mended.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(ruleset.mended, encoding="utf-8")
            note(f"{ruleset.name}, mended: {file}")
    if as_json:
        emit(found.as_dict())
    else:
        click.echo(str(found))
    if not found.ok:
        check_failed()
