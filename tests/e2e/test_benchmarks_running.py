"""The benchmarks of the runner where there is no GPU: their code runs, and says what it did not measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks.running import PARTS, renewed

ROOT = Path(__file__).parents[2]


def said(*arguments: str) -> str:
    words = [sys.executable, "-m", "benchmarks.running", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("only", ["float32", "autocast"])
def test_what_a_gpu_is_to_measure_runs_on_tiny_models(only: str) -> None:
    rows = [line.split(" | ") for line in said("--parts", "gpu", "--tiny", "--rounds", "1", "--only", only).splitlines()]
    measured = [cells for cells in rows if only in cells[0]]
    assert {cells[0].split(":")[0] for cells in measured} == {"| resnet50", "| vit"}
    assert all(float(cells[5]) > 0 for cells in measured), measured  # a row that failed has a message instead


@pytest.mark.slow
def test_what_pays_sometimes_is_measured() -> None:
    lines = said("--parts", "switches", "--rounds", "1", "--only", "cnn: feature_ablation").splitlines()
    (row,) = [line for line in lines if "cnn" in line]
    assert [float(cell.split()[0]) > 0 for cell in row.split("|")[2:-1]] == [True] * 4


def test_what_is_not_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "Not measured" in said("--parts", "gpu")


def test_a_part_is_renewed_and_the_others_stay() -> None:
    sizes, gpu = PARTS["sizes"].title, PARTS["gpu"].title
    document = renewed("", {gpu: "not yet", sizes: "first\n\n| a |"})
    again = renewed(document, {gpu: "fast"})
    assert document.index(sizes) < document.index("not yet")
    assert "first\n\n| a |" in again
    assert "fast" in again
    assert "not yet" not in again
