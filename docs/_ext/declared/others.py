"""Pages of what methods are put together from, of executors, of the conformance kit and of the command line."""

from collections.abc import Iterator

import click

from attrkit.cli import attrkit as command_line
from attrkit.registry import NAMED, Named, registry
from attrkit.specs import Declared
from attrkit.testing.kinds import KINDS
from declared.pieces import body, code, facts, fenced, joined, links, options, prose, table

PARTS: list[Named] = [kind for kind in NAMED if kind not in {"methods", "wrappers", "rules"}]


def part_page(kind: Named) -> str:
    """All declarations of one kind of part."""
    declared: dict[str, Declared] = registry.all(kind)
    rows = [(f"[{name}](#{name})", prose(each.summary)) for name, each in declared.items()]
    parts = [
        joined(f"## {name}", body(each), options(each), facts({"papers": links(each.references)}))
        for name, each in declared.items()
    ]
    contract = next((body(type(each)) for each in declared.values()), "attrkit ships none.")
    return joined(f"# {kind.capitalize()}", contract, table(rows, ("name", "")), *parts)


def executors_page() -> str:
    """The plugins that offer executors."""
    registry.load_all()
    found = [p for p in registry.plugins.values() if "attrkit_executor" in registry.provides(p).get("hooks", ())]
    rows = [(code(p.name), prose((registry.manager.get_plugin(p.key).__doc__ or "").partition("\n")[0])) for p in found]
    intro = (
        "An executor decides where passes run. Plugins offer one by the hook "
        "{py:func}`~attrkit.hookspecs.attrkit_executor`; without, passes run on the model's own device."
    )
    return joined("# Executors", intro, table(rows, ("plugin", "")) or "attrkit ships none.")


def checks_page() -> str:
    """What the conformance kit checks of each kind."""
    parts = []
    for name, kind in KINDS.items():
        rows = [(code(check), prose(each.summary)) for check, each in kind.checks.items()]
        parts += [f"## {name.capitalize()}", table(rows, ("check", "what it checks"))]
    intro = "A check runs where a declaration makes its promise. `attrkit plugins check NAME` runs those of a plugin."
    return joined("# Conformance checks", intro, *parts)


def commands_page() -> str:
    """The help of every command."""
    return joined("# The command line", *helps(command_line, "attrkit", None))


def helps(command: click.Command, name: str, above: click.Context | None) -> Iterator[str]:
    """A heading and the help of a command and of those below it."""
    context = click.Context(command, info_name=name, parent=above, terminal_width=100)
    level = context.command_path.count(" ") + 2
    yield f"{'#' * level} {context.command_path}"
    yield fenced(command.get_help(context))
    for below, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, below, context)
