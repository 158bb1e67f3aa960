"""``attrkit demo``: the whole of attrkit on two small models that it trains itself."""

from __future__ import annotations

import click

from attrkit.cli.output import emit, json_option, note


@click.command()
@click.option("--out", default="attrkit-demo", show_default=True, metavar="DIR", help="For the report and the explanations.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the training, the split and every random draw.")
@json_option
def demo(out: str, seed: int, *, as_json: bool) -> None:
    """Train two small models, explain them, write a report.

    A convolutional network reads handwritten digits, another network tells tumours apart. Both data sets come with
    scikit-learn; nothing is downloaded. It takes less than a minute.
    """
    from attrkit.demo import run_demo

    done = run_demo(out, seed=seed, say=note)
    if as_json:
        emit({"report": done.report, "files": done.files, "accuracy": done.accuracy, "seconds": done.seconds})
        return
    for name, accuracy in done.accuracy.items():
        click.echo(f"{name}: {accuracy:.1%} of the held-out examples are right")
    click.echo(f"report: {done.report}")
