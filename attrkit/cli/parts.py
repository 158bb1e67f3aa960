"""``attrkit parts``: what methods are put together from and choose by name, like replacements and segmenters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from attrkit.cli.declared import distribution_of, more_of, options_of, show_options
from attrkit.cli.output import emit, facts, json_option, table
from attrkit.errors import UnknownName, UsageError, did_you_mean

if TYPE_CHECKING:
    from attrkit.parts import Part, PartSpec

CHOSEN: dict[Part, tuple[str, str]] = {  # what each kind is, and how one is chosen, with NAME for its name
    "replacements": ("what absent features are replaced by", 'replacement="NAME"'),
    "segmenters": ("which positions are one feature", 'feature_mask="NAME"'),
    "designs": ("which coalitions of features are asked for", 'design="NAME"'),
    "estimators": ("how values of coalitions become scores", 'estimator="NAME"'),
    "surrogates": ("models that are fitted to values of coalitions", 'surrogate="NAME"'),
    "placements": ("where the shards of a job are computed", "attrkit run JOB --executor NAME"),
}


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@json_option
def parts(kind: str | None, name: str | None, *, as_json: bool) -> None:
    """List what methods choose by name: of all kinds or of one; or show all about one part.

    KIND is replacements, segmenters, designs, estimators, surrogates or placements; a NAME alone will do too.
    """
    from attrkit.registry import registry

    chosen: Part | None = next((known for known in CHOSEN if kind in (known, known[:-1])), None)
    if kind is not None and chosen is None and name is None:
        chosen, name = _kind_of(kind), kind
    elif kind is not None and chosen is None:
        raise UsageError(f"kind must be one of {', '.join(CHOSEN)}, got {kind!r}.{did_you_mean(kind, CHOSEN)}")
    if chosen is not None and name is not None:
        described = _described(chosen, registry.get(chosen, name))
        emit(described) if as_json else _show(described)
        return
    kinds: list[Part] = [chosen] if chosen else list(CHOSEN)
    listed: dict[Part, dict[str, PartSpec]] = {each: registry.all(each) for each in kinds}
    if as_json:
        emit([{"kind": k, "name": n, "summary": s.summary} for k, found in listed.items() for n, s in found.items()])
        return
    for number, (each, found) in enumerate(listed.items()):
        meaning, how = CHOSEN[each]
        click.echo(("\n" if number else "") + f"{each}: {meaning}; {how}\n")
        table([(n, ", ".join(s.accepts), s.summary) for n, s in found.items()], (each[:-1], "options", ""))


def _kind_of(name: str) -> Part:
    """The kind of a part of that name.

    Raises:
        UnknownName: there is none.
        UsageError: there are several.
    """
    from attrkit.registry import registry

    found: list[Part] = [kind for kind in CHOSEN if registry.find(kind, name) is not None]
    if not found:
        known = [*CHOSEN, *(n for kind in CHOSEN for n in registry.all(kind))]
        hint = did_you_mean(name, known)
        raise UnknownName(f"{name!r} is neither a kind of parts nor a part.{hint} Kinds: {', '.join(CHOSEN)}")
    if len(found) > 1:
        each = " and ".join(f"attrkit parts {kind} {name}" for kind in found)
        raise UsageError(f"{name!r} is the name of several parts; ask {each}")
    return found[0]


def _described(kind: Part, spec: PartSpec) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": spec.name,
        "summary": spec.summary,
        "doc": spec.doc,
        "options": options_of(spec),
        "use": CHOSEN[kind][1].replace("NAME", spec.name),
        "references": spec.references,
        "distribution": distribution_of(spec),
    }


def _show(described: dict[str, Any]) -> None:
    click.echo(f"{described['name']}: {described['summary']}\n")
    if more := more_of(described["doc"]):
        click.echo(click.wrap_text(more, 100) + "\n")
    facts({
        "kind": f"{described['kind']}, {CHOSEN[described['kind']][0]}",
        "use": described["use"],
        "references": ", ".join(described["references"]),
        "distribution": described["distribution"],
    })  # fmt: skip
    show_options(described)
