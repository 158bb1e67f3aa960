"""compiled=True: the same attributions by torch's compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch")

import attrkit
from attrkit.errors import AttrkitWarning

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler")]

#: In a process of its own: torch's compiler leaves threads, filters and variables behind.
SCRIPT = """
import torch
from torch import nn

import attrkit
from attrkit.testing.snapshots import untouched

torch.manual_seed(0)
x, model = torch.randn(3, 5), nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.BatchNorm1d(16), nn.Linear(16, 3)).eval()
asked, compiled = [], torch.compile


def counting(function, **options):
    asked.append(options)
    return compiled(function, **options)


torch.compile = counting
for method, options in (("integrated_gradients", {"n_steps": 50}), ("kernel_shap", {"n_samples": 28})):
    expected = attrkit.explain(model, x, method, target=1, **options)
    attrkit.explain(model, x, method, target=1, compiled=True, internal_batch_size=16, **options)
    with untouched(model, x):
        found = attrkit.explain(model, x, method, target=1, compiled=True, internal_batch_size=16, **options)
    torch.testing.assert_close(*found.values.values(), *expected.values.values(), rtol=1e-4, atol=1e-5)
assert asked == [{"dynamic": False}], asked  # the replica is kept, and compiled once

looked_at = attrkit.explain(model, x, "integrated_gradients", target=1, layer="1", compiled=True)
torch.testing.assert_close(looked_at.values["1"], attrkit.explain(model, x, target=1, layer="1").values["1"])
assert len(asked) == 1
"""


def test_a_function_is_not_compiled_which_is_said():
    import torch

    model, x = torch.nn.Linear(5, 3), torch.ones(2, 5)
    with pytest.warns(AttrkitWarning, match="compiled=True: the model cannot be copied"):
        found = attrkit.explain(lambda rows: model(rows), x, "integrated_gradients", target=1, n_steps=9, compiled=True)
    torch.testing.assert_close(found.values["rows"], x * model.weight[1])


def test_compiled_passes_give_the_same():
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
