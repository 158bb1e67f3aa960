"""A folder with a model, data and a job file, as a user would have them."""

import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import yaml

from attrkit.jobs.ledger import digest

NET = """
import os
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x):
        if (x == 999).any():
            raise ArithmeticError("a row is corrupt")
        return self.layers(x)


def net():
    torch.manual_seed(0)
    return Net()


def slow():
    model = net()
    model.register_forward_pre_hook(lambda *_: time.sleep(0.02))
    return model
"""

#: As it stands in the issue, which asks for it.
ISSUE = """\
model: net.py:net
data: {path: x.npy}
method: {name: integrated_gradients, n_steps: 64}
target: 1
output: {path: out/, format: safetensors}
shards: {rows: 200}
executor: {kind: local, workers: 2}
seed: 0
"""

RULES = """\
schema: attrkit/ruleset@1
name: mine
rules:
  - {id: dense, match: {op: linear}, rule: epsilon}
  - {id: rest, match: {op: activation}, rule: pass}
"""


class Folder:
    """A job's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "net.py").write_text(NET)
        self.rows(60)

    def rows(self, count, corrupt=(), value=np.nan):
        x = np.random.default_rng(0).normal(size=(count, 6)).astype("float32")
        x[list(corrupt)] = value
        np.save(self.path / "x.npy", x)
        return x

    def job(self, name="job.yaml", **keys):
        said = {
            "model": "net.py:net",
            "data": {"path": "x.npy"},
            "method": {"name": "integrated_gradients", "n_steps": 4},
            "target": 1,
            "output": {"path": f"{Path(name).stem}/", "index": "jsonl"},
            "shards": {"rows": 10},
            **keys,
        }
        file = self.path / name
        file.write_text(yaml.safe_dump({key: value for key, value in said.items() if value is not None}))
        return file


def hashes(folder):
    """What lies in an output folder beside the commits, which say when and where."""
    return {file.name: digest(file) for file in sorted(folder.iterdir()) if file.is_file() and file.name != "plan.json"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(os.fspath(tmp_path))  # nothing is looked for in the checkout
    (tmp_path / "job").mkdir()
    return Folder(tmp_path / "job")
