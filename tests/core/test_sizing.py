"""The rows of a pass that are chosen, where what a pass costs is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from attrkit.runner.sizing import Sizing  # noqa: E402 - after the skip

COSTS: dict[str, Callable[[int], float]] = {
    "a row costs nothing": lambda rows: 1 + 0.002 * rows,
    "a pass costs nothing": lambda rows: 0.3 + rows,
    "cheapest at 64": lambda rows: 1 + 0.5 * rows * (1 + 0.4 * max(0, rows - 64) / (rows + 64)),
    "dear above 100": lambda rows: 2 + rows + 0.8 * max(0, rows - 100),
}


def seconds(cost: Callable[[int], float], total: int, rows: int) -> float:
    return total // rows * cost(rows) + (cost(total % rows) if total % rows else 0.0)


@pytest.mark.parametrize("n", [1, 2, 16])
@pytest.mark.parametrize("total", [48, 64, 256, 513, 2048])
@pytest.mark.parametrize("cost", COSTS.values(), ids=list(COSTS))
def test_after_some_calls_the_size_is_nearly_the_best(
    cost: Callable[[int], float], total: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, total = [0.0], total // n * n
    monkeypatch.setattr(Sizing, "_now", lambda _: clock[0])
    sizing = Sizing(n, None, torch.device("cpu"))
    for _ in range(4):
        left = total
        while left:
            rows = min(max(n, sizing.rows // n * n), left)
            left -= rows
            with sizing.observed(rows, more=left > 0, whole=rows == total):
                clock[0] += cost(rows)
    chosen = min(max(n, sizing.rows // n * n), total)
    best = min(seconds(cost, total, 2**i) for i in range(12))
    assert seconds(cost, total, chosen) <= 1.1 * best


def test_calls_that_show_nothing_more_are_not_timed_and_larger_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, readings = [0.0], [0]

    def now(_: Sizing) -> float:
        readings[0] += 1
        return clock[0]

    def readings_of(total: int) -> int:
        """How often the clock is read in a call of so many rows."""
        before, left = readings[0], total
        while left:
            rows = min(sizing.rows, left)
            left -= rows
            with sizing.observed(rows, more=left > 0, whole=rows == total):
                clock[0] += COSTS["a row costs nothing"](rows)
        return readings[0] - before

    monkeypatch.setattr(Sizing, "_now", now)
    sizing = Sizing(1, None, torch.device("cpu"))
    assert sum([readings_of(31) for _ in range(12)])
    assert sizing.rows >= 31
    assert not sum([readings_of(total) for total in (31, 31, 20, 31)])
    assert sum([readings_of(500) for _ in range(12)])
    assert sizing.rows > 64
