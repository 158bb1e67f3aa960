"""An explanation survives its file, and a file that is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

import attrkit  # noqa: E402
from attrkit import Explanation  # noqa: E402
from attrkit.errors import UsageError  # noqa: E402


@pytest.fixture(params=["integrated_gradients", "lrp", "feature_ablation"])
def explanation(request: pytest.FixtureRequest) -> Explanation:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    return attrkit.explain(model, x, request.param, target=[0, 1, 0], layer=["0", "2"])


def _comparable(explanation: Explanation) -> dict[str, Any]:
    fields = {a.name: getattr(explanation, a.name) for a in attrs.fields(Explanation)}
    return {k: v for k, v in fields.items() if k not in ("values", "inputs", "output", "baseline_output", "delta")}


def test_it_is_the_same_after_saving_and_loading(explanation: Explanation, tmp_path: Path) -> None:
    path = explanation.save(tmp_path / "e.safetensors")
    loaded = Explanation.load(path)
    assert _comparable(loaded) == _comparable(explanation)
    for kind in ("values", "inputs"):
        assert list(getattr(loaded, kind)) == list(getattr(explanation, kind))
        for name, tensor in getattr(explanation, kind).items():
            assert torch.equal(getattr(loaded, kind)[name], tensor)
    for name in ("output", "baseline_output", "delta"):
        before, after = getattr(explanation, name), getattr(loaded, name)
        assert (before is None and after is None) or torch.equal(before, after)


def test_saving_replaces_and_leaves_nothing_beside(explanation: Explanation, tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    path.write_text("old")
    explanation.save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert Explanation.load(path).method == explanation.method


def test_the_same_explanation_makes_the_same_file_which_others_may_read(explanation: Explanation, tmp_path: Path) -> None:
    first, second = (explanation.save(tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    (tmp_path / "plain").touch()
    assert first.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_is_named(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no/e.safetensors' cannot be written: there is no folder '.*no'"):
        explanation.save(tmp_path / "no" / "e.safetensors")


def test_a_failed_save_leaves_the_old_file(explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.safetensors"
    path.write_text("old")

    def fail(file: Path, _: bytes) -> None:
        file.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        explanation.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_explanation_is_refused(tmp_path: Path) -> None:
    text, other, damaged = (tmp_path / name for name in ("text", "other", "damaged"))
    text.write_text("not tensors")
    save_file({"x": torch.zeros(1)}, other)
    save_file({"x": torch.zeros(1)}, damaged, metadata={"explanation": '{"format": "attrkit/explanation@1"}'})
    with pytest.raises(UsageError, match="is no explanation: it is not a safetensors file"):
        Explanation.load(text)
    with pytest.raises(UsageError, match="its format is 'nothing', expected 'attrkit/explanation@1'"):
        Explanation.load(other)
    with pytest.raises(UsageError, match="is damaged: its description cannot be read"):
        Explanation.load(damaged)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Explanation.load(tmp_path / "missing")
