"""Rows that cannot be explained, and errors that no row is the cause of."""

import json

import numpy as np
import pytest
import torch

import attrkit
from attrkit.cli import main
from attrkit.jobs.computing import Calculation
from tests.jobs.conftest import hashes

PLUGIN = """
import numpy as np
X = np.random.default_rng(0).normal(size=(60, 6)).astype("float32")
class Pairs:
    def __len__(self):
        return 60
    def __getitem__(self, place):
        if place in (0, 33):
            raise OSError(f"row {place} is on a broken disk")
        if place > 59:
            raise IndexError
        return X[place], place % 3
pairs = Pairs()
def breaking():
    for place in range(60):
        if place == 30:
            raise OSError("the disk is broken")
        yield X[place]
"""


@pytest.mark.parametrize("rows", [[0], [25], [59], [3, 4, 5, 41]])
def test_targets_of_a_column_are_kept_beside_bad_rows(folder, rows):
    """Also where halving, or a shard of one row, explains a row alone."""
    x = folder.rows(61, rows, 999)
    lines = [json.dumps({"x": row, "label": i % 3}) for i, row in enumerate(x.tolist())]
    (folder.path / "d.jsonl").write_text("\n".join(lines))
    result = attrkit.run(folder.job(data="d.jsonl", target={"column": "label"}))
    assert result.errors == {}
    assert [each["row"] for each in result.failed] == rows
    targets = [target for each in result.explanations() for target in each.target]
    assert targets == [i % 3 for i in range(61) if i not in rows]


def test_predicted_targets_of_single_rows(folder):
    result = attrkit.run(folder.job(target="predicted", shards={"rows": 59, "chunk": 29}))
    assert result.errors == {}
    x = torch.from_numpy(folder.rows(60))
    expected = attrkit.jobs.computing.load_model("net.py:net", folder.path)(x).argmax(1).tolist()
    assert [target for each in result.explanations() for target in each.target] == expected


def test_an_error_that_passes_changes_no_byte(folder, monkeypatch):
    """The rows are explained again together: in halves, other last digits would come out."""
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml")).folder)
    together, calls = Calculation._together, []

    def failing(self, start, stop):
        calls.append((start, stop))
        if calls.count((start, stop)) == 1 and start in (20, 25, 33):
            raise ConnectionError("the file server does not answer")
        return together(self, start, stop)

    monkeypatch.setattr(Calculation, "_together", failing)
    result = attrkit.run(folder.job("disturbed.yaml"))
    assert result.done
    assert result.failed == ()
    assert calls.count((20, 30)) == 2
    assert hashes(result.folder) == undisturbed


def test_many_bad_rows_in_a_row_are_rows(folder):
    """A whole shard of them is no reason to give up the others, in whatever order they come."""
    folder.rows(60, range(20), 999)
    result = attrkit.run(folder.job(shards={"rows": 10, "chunk": 10}))
    assert result.done
    assert result.errors == {}
    assert [each["row"] for each in result.failed] == list(range(20))


def test_few_good_rows_are_enough(folder):
    folder.rows(60, [row for row in range(60) if row % 4])
    assert attrkit.run(folder.job()).rows == 15


@pytest.mark.parametrize("rows", [1, 5, 60])
def test_a_data_set_of_bad_rows_only_is_a_bad_job(folder, rows):
    folder.rows(rows, range(rows))
    result = attrkit.run(folder.job())
    assert list(result.errors) == [0]
    assert f"of {min(rows, 16)} rows from all over the data set, none can be explained" in result.errors[0]


@pytest.mark.parametrize(("option", "shape"), [("baselines", (2, 6)), ("baselines", (60, 6)), ("feature_mask", (5, 6))])
def test_an_option_for_each_row_is_refused(folder, option, shape):
    """By halving, a pass of just as many rows might come, and be explained with what was meant for others."""
    np.save(folder.path / "b.npy", np.zeros(shape, np.int64 if option == "feature_mask" else np.float32))
    method = {"name": "feature_ablation", option: "b.npy"}
    result = attrkit.run(folder.job(method=method))
    assert f"{option} has shape {shape}, which is {shape[0]} examples; one example serves all rows" in result.errors[0]
    assert "give shape (1, 6)" in result.errors[0]
    np.save(folder.path / "b.npy", np.zeros((1, 6), np.int64 if option == "feature_mask" else np.float32))
    assert attrkit.run(folder.job(method=method)).done


def test_a_distribution_is_no_option_for_each_row(folder):
    np.save(folder.path / "b.npy", folder.rows(60)[:7])
    assert attrkit.run(folder.job(method={"name": "gradient_shap", "baselines": "b.npy"})).done


def test_the_first_row_may_be_bad(folder):
    """In each kind of data set, of which it is the first row that is looked at for columns and sizes."""
    (folder.path / "data.py").write_text(PLUGIN)
    pairs = attrkit.run(folder.job("pairs.yaml", data="data.py:pairs", target={"column": "1"}))
    assert [(each["row"], each["error"]) for each in pairs.failed] == [
        (row, f"OSError: row {row} is on a broken disk") for row in (0, 33)
    ]
    x = folder.rows(60)
    lines = ["{no json", *(json.dumps({"x": row}) for row in x.tolist()[1:])]
    (folder.path / "d.jsonl").write_text("\n".join(lines))
    assert [each["row"] for each in attrkit.run(folder.job("lines.yaml", data="d.jsonl")).failed] == [0]
    image = pytest.importorskip("PIL.Image")
    (folder.path / "images").mkdir()
    for number in range(4):
        image.fromarray(np.full((1, 2, 3), 50 * number, np.uint8)).save(folder.path / "images" / f"{number}.png")
    (folder.path / "images" / "0.png").write_bytes(b"no image")
    (folder.path / "net.py").write_text(
        (folder.path / "net.py").read_text().replace("self.layers(x)", "self.layers(x.flatten(1))")
    )
    images = attrkit.run(folder.job("images.yaml", data="images"))  # without columns, the images are explained
    assert [each["row"] for each in images.failed] == [0]
    assert next(images.explanations()).values["x"].shape == (3, 3, 1, 2)


def test_a_generator_that_breaks_says_how(folder):
    """Not that it ended, which is what a generator does that is asked again."""
    (folder.path / "data.py").write_text(PLUGIN)
    result = attrkit.run(folder.job(data={"path": "data.py:breaking", "rows": 60}))
    assert {each["error"] for each in result.failed} == {"OSError: the disk is broken"}
    assert result.rows == 30


def test_one_failed_row_is_said_in_the_singular(folder, capsys):
    folder.rows(60, [7])
    assert main(["run", str(folder.job())]) == 0
    assert "1 row has no attributions (see _failed.jsonl); the first is row 7" in capsys.readouterr().err
