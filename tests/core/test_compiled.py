"""compiled=True: the same attributions by torch's compiler."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402 - after the skip

nn = torch.nn
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler")]
X = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own parts
def test_compiled_passes_give_the_same(untouched):
    torch.manual_seed(0)
    model, sizes = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.BatchNorm1d(16), nn.Linear(16, 3)).eval(), []
    compiled = torch.compile

    def counting(function, **options):
        sizes.append(options)
        return compiled(function, **options)

    for method, options in (("integrated_gradients", {"n_steps": 50}), ("kernel_shap", {"n_samples": 28})):
        expected = attrkit.explain(model, X, method, target=1, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "compile", counting)
            attrkit.explain(model, X, method, target=1, compiled=True, internal_batch_size=16, **options)
            with untouched(model, X):  # torch's compiler leaves traces of its own in the process, once
                found = attrkit.explain(model, X, method, target=1, compiled=True, internal_batch_size=16, **options)
        torch.testing.assert_close(*found.values.values(), *expected.values.values(), rtol=1e-4, atol=1e-5)
    assert sizes == [{"dynamic": False}]  # the replica is kept, and compiled once
    layer = attrkit.explain(model, X, "integrated_gradients", target=1, layer="1", compiled=True)  # which is looked at
    torch.testing.assert_close(layer.values["1"], attrkit.explain(model, X, target=1, layer="1").values["1"])
