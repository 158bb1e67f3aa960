"""A measured number and the bar it is held to, as a row of a table."""

from collections.abc import Iterable, Sequence

import attrs

HEAD = ("case", "value", "bar", "")


@attrs.frozen
class Held:
    """A case's value, and what it must reach (``least``) or must not exceed (``most``), if anything."""

    case: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def cells(self) -> list[str]:
        """The row."""
        bar = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}" if self.most is not None else ""
        return [self.case, f"{self.value:.3g}", bar, self.verdict]

    @property
    def verdict(self) -> str:
        """Whether it does, in a word; none where there is no bar."""
        if self.least is None and self.most is None:
            return ""
        met = self.value >= self.least if self.least is not None else self.value <= (self.most or 0.0)
        return "pass" if met else "**FAIL**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
