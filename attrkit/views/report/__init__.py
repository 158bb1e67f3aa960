"""Self-contained HTML reports: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrkit.errors import UsageError
from attrkit.views.report.blocks import identity, method_rows, panels, warned
from attrkit.views.report.rendering import page

if TYPE_CHECKING:
    from attrkit.explanation import Explanation

EXAMPLES = 8  # of which a report shows pictures


def write_report(
    path: str | os.PathLike[str],
    explanations: Mapping[str, Explanation],
    *,
    command: str = "",
    seconds: Mapping[str, float] | None = None,
    labels: Sequence[str] = (),
    examples: int = EXAMPLES,
) -> Path:
    """Write a report of explanations of one model, by the names that it shows them under.

    Args:
        path: of the HTML file.
        explanations: by name, in order.
        command: what reproduces them.
        seconds: how long each took.
        labels: names of the features, for inputs that are no images.
        examples: how many examples get pictures.

    Raises:
        MissingExtra: jinja2 is not installed.
        UsageError: there is no explanation.
    """
    if not explanations:
        raise UsageError("a report needs at least one explanation, by name; got none")
    first = next(iter(explanations.values()))
    text = page(
        "explanations.html.j2",
        identity=identity(first),
        command=command,
        warnings=warned(explanations),
        methods=method_rows(explanations, seconds or {}),
        panels=panels(explanations, range(examples), labels),
        rules={name: explanation.rules for name, explanation in explanations.items() if explanation.rules},
    )
    target = Path(path)
    target.write_text(text, encoding="utf-8")
    return target
