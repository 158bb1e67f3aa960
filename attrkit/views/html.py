"""What a notebook shows for an explanation: a small table that needs nothing but itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from attrkit.views.pictures import picture
from attrkit.views.svg import heat, number, strip

if TYPE_CHECKING:
    from torch import Tensor

    from attrkit.explanation import Explanation

_EXAMPLES = 6  # that get a picture
_PIXELS = 64  # of a picture, along a side
_CELL = "padding:.15em .9em .15em 0;text-align:left;vertical-align:top;background:none"
_QUIET = "opacity:.7;font-weight:normal"


def spread(numbers: Tensor) -> str:
    """One number, or the smallest and the largest of several."""
    low, high = float(numbers.min()), float(numbers.max())
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def target_text(target: Any) -> str:
    """A target in few letters: of a list, one per example, the first ones."""
    if target is None:
        return "the model's only output"
    if isinstance(target, list) and len(target) > 8:
        return f"{', '.join(map(str, target[:8]))} \N{HORIZONTAL ELLIPSIS} ({len(target)} examples)"
    return ", ".join(map(str, target)) if isinstance(target, list) else str(target)


def shape_text(tensor: Tensor) -> str:
    """A shape as people write it."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, tensor.shape))


def total(explanation: Explanation) -> Tensor:
    """The sum of an example's attributions, over all names."""
    sums = [values.flatten(1).sum(1) for values in explanation.values.values()]
    whole: Tensor = sum(sums[1:], sums[0])
    return whole


def summary(explanation: Explanation) -> str:
    """The explanation as a self-contained HTML table with tiny heat maps."""
    facts = {
        "method": f"<b>{escape(explanation.method)}</b> {_options(explanation)}",
        "target": escape(target_text(explanation.target)),
        "sum": spread(total(explanation)),
        "delta": "not promised" if explanation.delta is None else f"at most {number(float(explanation.delta.abs().max()))}",
    }
    head = "".join(_line(escape(label), text) for label, text in facts.items())
    body = "".join(
        _line(f"{escape(name)}<br><small>{shape_text(values)}</small>", _strips(explanation, name))
        for name, values in explanation.values.items()
    )
    notes = "".join(_line("warning", escape(text)) for text in explanation.warnings)
    return f'<table style="border-collapse:collapse;font-size:13px;line-height:1.5">{notes}{head}{body}</table>'


def _line(label: str, text: str) -> str:
    return f'<tr><th style="{_CELL};{_QUIET}">{label}</th><td style="{_CELL}">{text}</td></tr>'


def _options(explanation: Explanation) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in explanation.options.items())
    return f'<span style="{_QUIET}">{escape(given)}</span>'


def _strips(explanation: Explanation, name: str) -> str:
    count = len(explanation.values[name])
    shown = [picture(explanation, example, name=name).shrunk(_PIXELS) for example in range(min(count, _EXAMPLES))]
    drawn = [
        heat(each, f"{name}, example {example}", width=64)
        if each.kind == "image"
        else strip(each, f"{name}, example {example}")
        for example, each in enumerate(shown)
    ]
    joint = "&nbsp;" if shown and shown[0].kind == "image" else "<br>"
    more = f' <small style="{_QUIET}">and {count - len(drawn)} more</small>' if count > len(drawn) else ""
    return joint.join(drawn) + more
