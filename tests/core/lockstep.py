"""What each process of test_lockstep.py runs: a model that is sharded over all of them gives what the whole one gives."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import attrkit

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("saliency", {}),
    ("integrated_gradients", {"n_steps": 20}),
    ("integrated_gradients", {"n_steps": 20, "internal_batch_size": 8}),
    ("integrated_gradients", {"n_steps": 20, "layer": "3"}),
    ("feature_ablation", {}),
    ("feature_ablation", {"layer": "3"}),
    ("kernel_shap", {"n_samples": 20, "internal_batch_size": 8}),
]


def whole() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).eval()


def fsdp(mesh: Any) -> nn.Module:
    model = whole()
    for module in model:
        if isinstance(module, nn.Linear):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def tensor_parallel(mesh: Any) -> nn.Module:
    return parallelize_module(whole(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def main() -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    make = {"fsdp": fsdp, "tensor_parallel": tensor_parallel}[sys.argv[1]]
    for method, options in METHODS:
        expected = attrkit.explain(whole(), X, method, target=1, **options)
        model = make(mesh)
        found = attrkit.explain(model, X, method, target=1, **options)
        for a, b in zip(found.values.values(), expected.values.values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    model.train()
    model(X).sum().backward()  # it can be trained afterwards
    assert all(p.grad is not None for p in model.parameters())
    sys.stdout.write(f"rank {dist.get_rank()} of {dist.get_world_size()}: the same\n")
    sys.stdout.flush()
    dist.destroy_process_group()
    os._exit(0)


main()
