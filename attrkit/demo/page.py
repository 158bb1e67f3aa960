"""The demo's report: one page that carries its pictures itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attrkit.demo.deletion import Curve
from attrkit.demo.study import Study
from attrkit.views.plots import inline
from attrkit.views.report.blocks import Panels, identity, method_rows, panels, warned
from attrkit.views.report.rendering import page

_ROWS = 8
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito's, on light and on dark
_CONTROL = "#8a8a8a"


def write_page(path: Path, digits: Study, tumours: Study, files: Sequence[Path], *, seed: int, seconds: float) -> Path:
    """Write the report of both studies."""
    rows = method_rows(digits.explanations, digits.seconds)
    text = page(
        "attrkit.demo:demo.html.j2",
        digits=digits,
        tumours=tumours,
        identity=identity(next(iter(digits.explanations.values()))),
        warnings=warned({**tumours.explanations, **digits.explanations}),
        methods=[{**row, "area": f"{digits.curves[row['name']].area:.3f}"} for row in rows],
        heat_maps=_digit_panels(digits),
        bars=_tumour_panels(tumours),
        chart=inline(_chart(digits.curves), "deletion curves of all methods"),
        legend=[(name, colour, f"{digits.curves[name].area:.3f}") for name, colour in _legend(digits.curves).items()],
        rules={name: explanation.rules for name, explanation in digits.explanations.items() if explanation.rules},
        files=[file.name for file in files],
        command=f"attrkit demo --out {path.parent} --seed {seed}",
        seconds=seconds,
    )
    path.write_text(text, encoding="utf-8")
    return path


def _digit_panels(study: Study) -> Panels:
    """One example of each of the first digits, and one that the model reads wrong where there is one."""
    truth = study.examples.held_out_classes[: len(study.predictions)].tolist()
    read = study.predictions.tolist()
    wrong = [i for i, digit in enumerate(truth) if digit != read[i]][:1]
    right = {digit: i for i, digit in reversed(list(enumerate(truth))) if digit == read[i]}
    chosen = [*(right[digit] for digit in sorted(right)[: _ROWS - len(wrong)]), *wrong]
    found = panels(study.explanations, chosen, ())
    titles = [f"a {truth[i]}, read as {read[i]}" if truth[i] != read[i] else f"a {truth[i]}" for i in chosen]
    return attrs.evolve(found, rows=tuple(attrs.evolve(row, title=t) for row, t in zip(found.rows, titles, strict=True)))


def _tumour_panels(study: Study) -> Panels:
    """The first tumour of each class."""
    truth = study.examples.held_out_classes.tolist()
    chosen = [truth.index(kind) for kind in range(len(study.examples.names))]
    found = panels(study.explanations, chosen, study.examples.features)
    titles = [f"a {name} tumour" for name in study.examples.names]
    return attrs.evolve(found, rows=tuple(attrs.evolve(row, title=t) for row, t in zip(found.rows, titles, strict=True)))


def _legend(curves: Mapping[str, Curve]) -> dict[str, str]:
    """The colour of each curve, the best first and the control last."""
    *methods, control = curves
    return {**dict(zip(sorted(methods, key=lambda name: curves[name].area), _COLOURS, strict=True)), control: _CONTROL}


def _chart(curves: Mapping[str, Curve]) -> Figure:
    figure = Figure(figsize=(7.2, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, colour in _legend(curves).items():
        curve, style = curves[name], "--" if colour == _CONTROL else "-"
        axes.plot(curve.shares, curve.means, color=colour, linewidth=2.2, linestyle=style)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of pixels replaced by the baseline", ylabel="probability of the class")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(color=_CONTROL, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
