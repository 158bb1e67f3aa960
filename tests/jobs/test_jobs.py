"""Job files: what may stand in them, and where what is wrong stands."""

import pytest

import attrkit
from attrkit.cli import main
from attrkit.errors import UsageError, UsageTypeError
from attrkit.jobs import read_job
from tests.jobs.conftest import ISSUE

BAD = [
    ("model: net.py:net", "model: nte.py:net", "job.yaml:1:1: there is no file 'nte.py'"),
    ("model: net.py:net", "model: net", "job.yaml:1:1: expected package.module:name"),
    ("model: net.py:net", "modle: net.py:net", "job.yaml:1:1: unknown key 'modle'"),
    ("path: x.npy", "path: y.npy", "job.yaml:2:8: there is no file 'y.npy'"),
    ("path: x.npy", "path: y*.npy", "job.yaml:2:8: there is no file 'y*.npy'"),
    ("path: x.npy", "path: [x.npy]", "job.yaml:2:8: expected text"),
    ("path: x.npy", "pth: x.npy", "Did you mean 'path'?"),
    (
        "path: x.npy",
        "path: x.npy, rows: 5",
        "job.yaml:2:21: rows is for data of Python code, which 'x.npy' is not",
    ),
    ("path: x.npy", "path: x.npy, size: [4, 4]", "job.yaml:2:21: size is for data of images, which 'x.npy' is not"),
    ("path: x.npy", "path: x.npy, mean: [1]", "job.yaml:2:21: mean is for data of images"),
    ("path: x.npy", "path: '.', rows: 5", "job.yaml:2:19: rows is for data of Python code"),
    ("path: x.npy", "path: 'net.py:net', std: [1]", "job.yaml:2:28: std is for data of images"),
    ("path: x.npy", "path: '.', size: [4, 4, 99]", "job.yaml:2:19: expected height and width, like [224, 224], got"),
    ("path: x.npy", "path: '.', size: 4", "job.yaml:2:19: expected height and width, like [224, 224], got 4"),
    ("{name: integrated_gradients, n_steps: 64}", "{n_steps: 64}", "job.yaml:3:1: key 'name' is missing"),
    ("n_steps: 64", "baselines: zeros.npy", "job.yaml:3:38: there is no file 'zeros.npy'"),
    (
        "target: 1",
        "target: best",
        "job.yaml:4:1: expected a number, a list of numbers, predicted or {column: NAME}, got 'best'",
    ),
    ("format: safetensors", "format: pickle", "job.yaml:5:22: got 'pickle'; expected one of parquet, safetensors"),
    ("rows: 200", "rows: 0", "job.yaml:6:10: expected a whole number of at least 1, got 0"),
    ("rows: 200", "rows: many", "job.yaml:6:10: expected a whole number of at least 1, got 'many'"),
    ("kind: local, workers: 2", "workers: 2", "job.yaml:7:1: key 'kind' is missing"),
    ("seed: 0", "seed: x", "job.yaml:8:1: expected a whole number, got 'x'"),
    ("seed: 0", "on_error: {then: cry}", "job.yaml:8:12: got 'cry'; expected one of fail, quarantine"),
    ("output: {path: out/, format: safetensors}", "", "job.yaml:1:1: key 'output' is missing"),
    ("seed: 0", "seed: 0\nseed: 1", "job.yaml:9:1: key 'seed' comes twice"),
    ("seed: 0", "seed: !!python/object/apply:os.getcwd []", "is refused"),
    ("seed: 0", "seed: [", "job.yaml:9:1: cannot be read as YAML"),
    (ISSUE, "# nothing yet\n", "the file is empty; expected a job, with the keys model, data, method and output"),
]


@pytest.mark.parametrize(("there", "instead", "said"), BAD)
def test_what_is_wrong_is_said_with_its_place(folder, capsys, there, instead, said):
    assert there in ISSUE
    file = folder.path / "job.yaml"
    file.write_text(ISSUE.replace(there, instead))
    with pytest.raises(UsageError) as caught:
        read_job(file)
    assert said in str(caught.value)
    assert main(["run", str(file)]) == 2
    assert not (folder.path / "out").exists()
    assert capsys.readouterr().err.startswith("error: ")


def test_everything_that_is_wrong_is_said_at_once(folder):
    file = folder.path / "job.yaml"
    file.write_text(ISSUE.replace("seed: 0", "seed: x").replace("rows: 200", "rwos: 200"))
    with pytest.raises(UsageError, match=r"(?s)job.yaml:6:10: unknown key 'rwos'.*job.yaml:8:1"):
        read_job(file)


def test_a_job_may_be_a_mapping(folder, monkeypatch):
    monkeypatch.chdir(folder.path)
    job = {"model": "net.py:net", "data": "x.npy", "method": "saliency", "target": 0, "output": "found"}
    result = attrkit.run(job)
    assert result.done
    assert result.folder == folder.path / "found"
    assert attrkit.run(read_job(job)).done
    with pytest.raises(UsageError, match="job: data: there is no file 'z.npy'"):
        attrkit.run({**job, "data": "z.npy"})
    with pytest.raises(UsageError, match="abs must be bool"):
        attrkit.run({**job, "method": {"name": "saliency", "abs": object()}, "output": "other"})
    with pytest.raises(UsageTypeError, match="job must be a YAML file or a mapping"):
        attrkit.run(3)


def test_what_the_method_refuses_is_said_before_anything_is_written(folder):
    with pytest.raises(UsageError, match="integrated_gradients has no option 'n_step'. Did you mean 'n_steps'"):
        attrkit.run(folder.job(method={"name": "integrated_gradients", "n_step": 4}))
    with pytest.raises(UsageError, match="no method 'integrated_gradient'"):
        attrkit.run(folder.job(method="integrated_gradient"))
    assert not (folder.path / "job").exists()


def test_a_job_without_a_file(folder, capsys):
    assert main(["run", str(folder.path / "no.yaml")]) == 2
    assert "no.yaml" in capsys.readouterr().err


def test_the_help_says_how_it_ends(capsys):
    assert main(["run", "--help"]) == 0
    assert "After an interruption, the same command goes on" in " ".join(capsys.readouterr().out.split())
