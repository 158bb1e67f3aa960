"""``attrkit`` on the command line. Commands import what is heavy when they run: ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Sequence

import click

from attrkit.cli.demo import demo
from attrkit.cli.doctor import doctor
from attrkit.cli.explain import explain
from attrkit.cli.failures import Settings, finished
from attrkit.cli.methods import methods
from attrkit.cli.parts import parts
from attrkit.cli.plugins import plugins
from attrkit.cli.rules import rules
from attrkit.cli.run import run
from attrkit.cli.show import show


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="attrkit", prog_name="attrkit", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def attrkit(context: click.Context, *, debug: bool) -> None:
    """Explain PyTorch models. Every method is a plugin.

    Exit status: 0 all is well, 1 a check failed, 2 wrong usage or input, 3 something failed inside.
    """
    assert isinstance(context.obj, Settings)
    context.obj.debug = debug
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (explain, run, show, doctor, methods, parts, rules, plugins, demo):
    attrkit.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    return finished(attrkit, arguments)
