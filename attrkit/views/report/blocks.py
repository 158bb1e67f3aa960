"""What a report says about explanations, as plain values and small pictures for its templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from attrkit.views.colours import photograph
from attrkit.views.html import shape_text, spread, target_text, total
from attrkit.views.pictures import Picture, brightness, picture, shrunk, stretched
from attrkit.views.svg import bars, heat, number, raster

if TYPE_CHECKING:
    from attrkit.explanation import Explanation

_NONE = "\N{EN DASH}"
_PIXELS = 256  # of a picture, along a side


@attrs.frozen
class Cell:
    """One picture, as markup, and a line under it."""

    markup: str
    caption: str = ""


@attrs.frozen
class Panel:
    """The pictures of one example."""

    title: str
    facts: str
    cells: tuple[Cell, ...]


@attrs.frozen
class Panels:
    """Examples by methods, of ``count`` examples. ``grid`` says that all are images, which stand well side by side."""

    columns: tuple[str, ...]
    rows: tuple[Panel, ...]
    grid: bool
    count: int


def identity(explanation: Explanation) -> dict[str, str]:
    """What was explained, and with what."""
    fingerprint = explanation.model.get("fingerprint", "")
    shapes = [f"{name} {shape_text(values)}" for name, values in explanation.inputs.items()]
    return {
        "model": explanation.model.get("class", "unknown"),
        "fingerprint": f"{fingerprint[:19]}…" if len(fingerprint) > 19 else fingerprint or "none",
        "inputs": ", ".join(shapes) or "not kept",
        "target": target_text(explanation.target),
        "seed": str(explanation.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in explanation.versions.items()),
    }


def warned(explanations: Mapping[str, Explanation]) -> list[str]:
    """What was warned about, each with the method that it is about."""
    return list(dict.fromkeys(f"{name}: {text}" for name, explanation in explanations.items() for text in explanation.warnings))


def method_rows(explanations: Mapping[str, Explanation], seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per method: options, cost, and how far its attributions are from summing to what they should."""
    return [
        {
            "name": name,
            "options": ", ".join(f"{option}={value!r}" for option, value in explanation.options.items()),
            "site": "inputs" if explanation.where == "input" else f"{explanation.where}: {', '.join(explanation.values)}",
            "forward": explanation.passes.get("forward", 0),
            "backward": explanation.passes.get("backward", 0),
            "seconds": f"{seconds[name]:.2f}" if name in seconds else _NONE,
            "sum": spread(total(explanation)),
            "delta": _NONE if explanation.delta is None else number(float(explanation.delta.abs().max())),
        }
        for name, explanation in explanations.items()
    ]


def panels(explanations: Mapping[str, Explanation], examples: Iterable[int], labels: Sequence[str]) -> Panels:
    """The pictures of some examples, those left out that there are not."""
    sites = [(label, explanation, name) for label, explanation in explanations.items() for name in explanation.values]
    first = sites[0][1]
    count = min(len(values) for _, explanation, _ in sites for values in explanation.values.values())
    chosen = [example for example in examples if example < count]
    shown = [[_suited(explanation, example, name, labels) for _, explanation, name in sites] for example in chosen]
    inputs = [_input(first, example) for example in chosen]
    columns = tuple(label if len(explanation.values) == 1 else f"{label}: {name}" for label, explanation, name in sites)
    with_input = all(cell is not None for cell in inputs)
    rows = []
    for example, pictures, given in zip(chosen, shown, inputs, strict=True):
        cells = tuple(_cell(each, f"{column}, example {example}") for each, column in zip(pictures, columns, strict=True))
        rows.append(Panel(f"example {example}", _facts(first, example), (given, *cells) if with_input and given else cells))
    grid = all(each.kind == "image" for pictures in shown for each in pictures)
    return Panels(("input", *columns) if with_input else columns, tuple(rows), grid, count)


def _suited(explanation: Explanation, example: int, name: str, labels: Sequence[str]) -> Picture:
    """A picture; features get their names where there is one for each, and images are no larger than a page needs."""
    fits = explanation.values[name][example].numel() == len(labels)
    shown = picture(explanation, example, name=name, labels=labels if fits else ())
    return shown.shrunk(_PIXELS) if shown.kind == "image" else shown


def _input(explanation: Explanation, example: int) -> Cell | None:
    """The first input, if it is an image: in colours if it has three channels."""
    given = next(iter(explanation.inputs.values()), None)
    if given is None or given.dim() < 3 or min(given.shape[-2:]) < 2:
        return None
    values = given[example].detach().cpu().double().numpy()
    image = stretched(values) if values.ndim == 3 and len(values) == 3 else brightness(values)
    return Cell(raster(photograph(shrunk(image, _PIXELS)), f"input, example {example}"))


def _cell(shown: Picture, alt: str) -> Cell:
    if shown.kind == "bar":
        return Cell(bars(shown, alt))
    return Cell(heat(shown, alt), f"±{number(shown.scale)}")


def _facts(explanation: Explanation, example: int) -> str:
    target = explanation.target[example] if isinstance(explanation.target, list) else explanation.target
    output = explanation.output
    told = None if output is None else f"output {number(float(output[example if len(output) > 1 else 0]))}"
    return ", ".join(text for text in (None if target is None else f"target {target}", told) if text)
