"""The demo keeps its promises: it learns, explains, beats the control, and its report stands alone."""

import json
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
for package in ("sklearn", "jinja2", "matplotlib"):
    pytest.importorskip(package)

from attrkit import Explanation  # noqa: E402

METHODS = ("integrated gradients", "conductance", "lrp epsilon_plus", "lrp epsilon_gamma_box", "feature ablation")


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """One run, as a user starts it: its folder, what it says in JSON, and its progress."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "attrkit", "demo", "--out", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="session")
def report(demo):
    return (demo[0] / "report.html").read_text(encoding="utf-8")


def test_the_models_have_learned(demo):
    _, told, _ = demo
    assert told["accuracy"]["digits"] > 0.95
    assert told["accuracy"]["tumours"] > 0.9


def test_it_is_quick(demo):
    assert demo[1]["seconds"] < 60


def test_progress_is_told_beside(demo):
    assert "digits: training on" in demo[2]
    assert "Traceback" not in demo[2]
    assert "warning" not in demo[2]


def test_the_files_are_there_and_load(demo):
    folder, told, _ = demo
    assert told["report"] == str(folder / "report.html")
    assert len(told["files"]) == 9
    assert {str(path) for path in folder.iterdir()} == {told["report"], *told["files"]}
    explanations = [Explanation.load(path) for path in told["files"]]
    assert {e.method for e in explanations} == {
        "integrated_gradients",
        "conductance",
        "lrp",
        "feature_ablation",
        "random_control",
    }
    assert all(len(v) >= 100 and v.isfinite().all() for e in explanations for v in e.values.values())
    assert all(not e.warnings for e in explanations)


def test_the_report_stands_alone(report):
    assert "http" not in report
    assert "<script" not in report
    sources = re.findall(r"""\b(?:src|href)=["']([^"']*)""", report)
    assert sources
    assert all(re.match(r"data:image/png;base64,|#|[\w-]+\.safetensors$", source) for source in sources)
    assert report.count("<svg") >= 8 * 7 + 6 + 1  # digits, tumours and the curves
    assert len(report) < 500_000


def test_every_method_beats_the_control(report):
    areas = {name: float(area) for area, name in re.findall(r"<b>([\d.]+)</b>([\w ]+)</li>", report)}
    control = areas.pop("random control")
    assert set(areas) == set(METHODS)
    assert all(area < control - 0.05 for area in areas.values()), (areas, control)


def test_the_report_says_how_to_do_it_again(demo, report):
    assert f"attrkit demo --out {demo[0]} --seed 0" in report
    assert "sha256:" in report
    assert torch.__version__ in report


def test_the_report_shows_which_rule_governed_what(report):
    for expected in ("zbox", "zplus", "merged into stem.0", "block.conv1", "gamma 0.25"):
        assert expected in report


def test_nothing_global_moves(tmp_path):
    import numpy as np

    from attrkit.demo.data import digits
    from attrkit.demo.models import DigitNet
    from attrkit.demo.training import one_thread, trained

    threads, state, numpys = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()[1].copy()
    with one_thread():
        first, second = (trained(DigitNet, digits(3), 1, seed=3) for _ in range(2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpys)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
