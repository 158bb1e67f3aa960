"""Models that are sharded over several processes, which explain them together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
]


@pytest.mark.parametrize("kind", ["fsdp", "tensor_parallel"])
def test_sharded_models_give_what_whole_ones_give(kind: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(Path(__file__).with_name("lockstep.py")), kind]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert sorted(run.stdout.split("\n"))[-2:] == ["rank 0 of 2: the same", "rank 1 of 2: the same"]
