"""Readers of data sets: the same rows from every form, any range of them, and what is said of what is wrong."""

import csv
import json
from datetime import date

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import attrkit
from attrkit.errors import UsageError
from attrkit.jobs.job import Data
from attrkit.jobs.reading import bound, open_source
from tests.jobs.conftest import hashes

X = np.random.default_rng(1).normal(size=(23, 6)).astype("float32")
NAMES = [f"c{i}" for i in range(6)]


def write_npy(path):
    np.save(path / "d.npy", X)
    return Data("d.npy")


def write_safetensors(path):
    save_file({"x": torch.from_numpy(X)}, path / "d.safetensors")
    return Data("d.safetensors")


def write_csv(path):
    with (path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([NAMES, *([*map(repr, row)] for row in X.astype(float).tolist())])
    return Data("d.csv")


def write_bare_csv(path):
    np.savetxt(path / "d.csv", X, delimiter=",")
    return Data("d.csv")


def write_jsonl(path):
    (path / "d.jsonl").write_text("".join(json.dumps({"x": row}) + "\n" for row in X.tolist()))
    return Data("d.jsonl")


def write_parquet(path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": pa.array(X.tolist(), pa.list_(pa.float32()))}), path / "d.parquet", row_group_size=5)
    return Data("d.parquet")


def write_flat_parquet(path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(zip(NAMES, X.T, strict=True))), path / "d.parquet", row_group_size=7)
    return Data("d.parquet", columns=tuple(NAMES))


def write_files(path):
    for number, rows in enumerate(np.split(X, [4, 5, 17])):
        np.save(path / f"d{number}.npy", rows)
    return Data("d*.npy")


CODE = """
import numpy as np, torch
X = np.load(__file__.replace("data.py", "d.npy"))
rows = list(torch.from_numpy(X))
def generate():
    yield from X
def mappings():
    return [{"x": row} for row in X]
spent = iter(X)
class Counted:
    def __iter__(self):
        return iter(X)
counted = Counted()
"""


def write_code(name, **more):
    def write(path):
        np.save(path / "d.npy", X)
        (path / "data.py").write_text(CODE)
        return Data(f"data.py:{name}", **more)

    write.__name__ = f"write_{name}"
    return write


FORMS = [
    *(write_npy, write_safetensors, write_csv, write_bare_csv, write_jsonl, write_parquet, write_flat_parquet, write_files),
    *(
        write_code("rows"),
        write_code("generate"),
        write_code("generate", rows=23),
        write_code("mappings"),
        write_code("counted"),
    ),
]


@pytest.mark.parametrize("write", FORMS, ids=lambda write: write.__name__)
def test_rows_are_the_same_in_every_form(tmp_path, write):
    data = write(tmp_path)
    source = open_source(data, tmp_path)
    assert len(source) == 23
    for start, stop in ((0, 23), (3, 9), (16, 18), (22, 23), (0, 1)):
        found = bound(source.read(start, stop), data, 1).inputs
        torch.testing.assert_close(found.float(), torch.from_numpy(X[start:stop]), rtol=1e-6, atol=0)


def test_columns_are_ids_targets_and_arguments(tmp_path):
    lines = [{"key": f"k{i}", "a": [float(i)] * 2, "b": i, "label": i % 3} for i in range(5)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    source = open_source(Data("d.jsonl"), tmp_path)
    rows = bound(source.read(1, 3), Data("d.jsonl", {"x": "a", "y": ["b"]}, "key"), {"column": "label"})
    assert rows.ids == ["k1", "k2"]
    assert rows.targets.tolist() == [1, 2]
    assert {name: t.tolist() for name, t in rows.inputs.items()} == {"x": [[1, 1], [2, 2]], "y": [[1], [2]]}
    with pytest.raises(UsageError, match="data have no column 'labl'. Did you mean 'label'"):
        bound(source.read(0, 1), Data("d.jsonl"), {"column": "labl"})
    with pytest.raises(UsageError, match="column 'key' holds what is no number, like 'k0'"):
        bound(source.read(0, 1), Data("d.jsonl"), 1)


def test_images_of_a_pattern_may_lie_in_several_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for folder in ("a", "b/c"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        image.new("RGB", (2, 2)).save(tmp_path / "images" / folder / "0.PNG")
    found = open_source(Data("images/**/*.PNG"), tmp_path).read(0, 2)
    assert found["file"] == ["a/0.PNG", "b/c/0.PNG"]


def test_lists_in_parquet_are_arrays(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    nested = np.arange(5 * 2 * 3, dtype="float32").reshape(5, 2, 3)
    table = {
        "nested": pa.array(nested.tolist(), pa.list_(pa.list_(pa.float32()))),
        "fixed": pa.FixedSizeListArray.from_arrays(pa.array(nested.reshape(-1)), 6),
        "ragged": pa.array([[1.0] * n for n in range(5)]),
        "missing": pa.array([None, [1.0], [1.0], [1.0], [1.0]]),
        "number": pa.array([None, 1, 2, 3, 4]),
        "text": pa.array(list("abcde")),
    }
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    source = open_source(Data("d.parquet"), tmp_path)
    for start, stop in ((0, 5), (1, 4), (4, 5)):
        found = source.read(start, stop)
        np.testing.assert_array_equal(found["nested"], nested[start:stop])
        np.testing.assert_array_equal(found["fixed"], nested[start:stop].reshape(-1, 6))
    assert source.read(0, 2)["missing"] == [None, [1.0]]
    assert source.read(0, 2)["number"] == [None, 1]
    assert source.read(0, 2)["text"] == ["a", "b"]
    assert source.read(0, 3)["ragged"] == [[], [1.0], [1.0, 1.0]]


def test_a_list_of_one_column_is_that_column(tmp_path):
    columns = {"x": np.ones((3, 2, 2)), "y": np.arange(3)}
    for given in (("x",), {"a": ("x",)}):
        found = bound(columns, Data("d", given), None).inputs
        assert (found["a"] if isinstance(given, dict) else found).shape == (3, 2, 2)


def test_a_csv_with_quoted_newlines_and_text(tmp_path):
    (tmp_path / "d.csv").write_text('name,a,b\n"one\nline",1,2\n\nother,3,4\n')
    source = open_source(Data("d.csv"), tmp_path)
    assert len(source) == 2
    found = source.read(0, 2)
    assert found["name"] == ["one\nline", "other"]
    assert found["b"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.csv", "", "has no rows"),
        ("d.csv", "a,b\n", "has no rows"),
        ("d.csv", "1,2\n3\n", "row 1 has 1 cells, expected 2"),
        ("d.jsonl", '{"x": 1}\n{"y": 1}\n', "row 1 has no 'x'"),
        ("d.jsonl", '{"x": 1}\nxx\n', "row 1 is no JSON"),
        ("d.jsonl", "[1]\n", "is no JSON object"),
        ("d.npy", "text", "is damaged, or holds no array of numbers"),
        ("d.safetensors", "text", "is no safetensors file"),
        ("d.txt", "text", "expected .npy, .safetensors, .csv"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        open_source(Data(name), tmp_path).read(0, 2)


def test_what_is_wrong_with_an_iterable_is_said(tmp_path):
    with pytest.raises(UsageError, match="is an iterator, which can be read once only"):
        open_source(write_code("spent")(tmp_path), tmp_path)
    with pytest.raises(UsageError, match="has no 'rwos'. Did you mean 'rows'"):
        open_source(Data("data.py:rwos"), tmp_path)
    with pytest.raises(UsageError, match="ended after 23 rows, expected 40"):
        open_source(Data("data.py:generate", rows=40), tmp_path).read(20, 30)


def test_images_of_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for folder in ("cat", "dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 255, (8 + number, 8, 3), dtype=np.uint8)
            image.fromarray(pixels).save(tmp_path / "images" / folder / f"{number}.png")
    with pytest.raises(UsageError, match=r"sizes \(8, 8\) and \(9, 8\); give data.size"):
        open_source(Data("images"), tmp_path).read(0, 2)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)
    data = Data("images", {"x": "image"}, "file", size=(4, 6), mean=mean, std=std)
    rows = bound(open_source(data, tmp_path).read(1, 4), data, {"column": "folder"})
    assert rows.ids == ["cat/1.png", "dog/0.png", "dog/1.png"]
    assert rows.targets.tolist() == [0, 1, 1]
    assert rows.inputs["x"].shape == (3, 3, 4, 6)
    with image.open(tmp_path / "images/dog/0.png") as opened:
        scaled = np.array(opened.resize((6, 4), image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    expected = (scaled - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    torch.testing.assert_close(rows.inputs["x"][1].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    (tmp_path / "images" / "cat" / "0.png").write_text("no image")
    with pytest.raises(OSError, match="cannot identify"):
        open_source(data, tmp_path).read(0, 1)


def test_a_job_over_jsonl_with_ids_and_a_corrupt_line(folder):
    lines = [json.dumps({"key": f"k{i}", "x": row, "label": i % 3}) for i, row in enumerate(X.tolist())]
    lines[7] = '{"key": "k7", "x": [1'
    (folder.path / "d.jsonl").write_text("\n".join(lines) + "\n")
    job = folder.job(data={"path": "d.jsonl", "columns": {"x": "x"}, "id": "key"}, target={"column": "label"})
    result = attrkit.run(job)
    assert [(each["row"], each["id"]) for each in result.failed] == [(7, None)]
    assert "row 7 is no JSON" in result.failed[0]["error"]
    explanations = list(result.explanations())
    assert [name for e in explanations for name in e.details["ids"]] == [f"k{i}" for i in range(23) if i != 7]
    assert explanations[0].target == [[i % 3] for i in range(10) if i != 7] or explanations[0].target == [
        i % 3 for i in range(10) if i != 7
    ]
    first = json.loads((result.folder / "index.jsonl").read_text().splitlines()[0])
    assert first["id"] == "k0"


def test_parquet_out_is_what_safetensors_is(folder):
    pytest.importorskip("pyarrow")
    method = {"name": "shapley_value_sampling", "n_samples": 5}
    seen = {}
    for form in ("safetensors", "parquet"):
        output = {"path": form, "format": form, "index": "parquet"}
        result = attrkit.run(folder.job(f"{form}.yaml", output=output, method=method, layer=None))
        assert all(file.suffix == f".{form}" for file in result.files)
        seen[form] = list(result.explanations())
    for a, b in zip(*seen.values(), strict=True):
        assert a.values.keys() == b.values.keys()
        for one, other in ((a.values, b.values), (a.errors, b.errors)):
            assert all(torch.equal(one[name], other[name]) for name in one)
        assert torch.equal(a.output, b.output)
        assert torch.equal(a.details["rows"], b.details["rows"])
        assert (a.method, a.options, a.target) == (b.method, b.options, b.target)
    import pyarrow.parquet as pq

    table = pq.read_table(folder.path / "parquet" / "index.parquet")
    assert table.column("row").to_pylist() == list(range(60))
    again = folder.job("again.yaml", output={"path": "again", "format": "parquet", "index": "parquet"}, method=method)
    first, second = hashes(folder.path / "parquet"), hashes(attrkit.run(again).folder)
    assert first == second


def test_parquet_needs_its_extra(folder, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr("attrkit.jobs.plan.find_spec", lambda name: None if name == "pyarrow" else find(name))
    result = attrkit.run(folder.job(output={"path": "out"}))
    assert (result.folder / "index.jsonl").is_file()
    with pytest.raises(ImportError, match=r"pip install 'attrkit\[parquet\]'"):
        attrkit.run(folder.job("other.yaml", output={"path": "other", "format": "parquet"}))


def csv_with_ids(folder, ids):
    """Rows of numbers, with these in the column key."""
    x = folder.rows(len(ids))
    lines = [",".join((key, *map(str, row))) for key, row in zip(ids, x.tolist(), strict=True)]
    (folder.path / "d.csv").write_text("\n".join(["key,a,b,c,d,e,f", *lines]) + "\n")
    return {"path": "d.csv", "id": "key"}


@pytest.mark.parametrize("form", ["safetensors", "parquet"])
def test_ids_of_a_csv_are_what_is_written(folder, form):
    """Whatever those of other passes and shards look like."""
    pq = pytest.importorskip("pyarrow.parquet")
    ids = ["007", "7", "1e3", "12345678901234567891", "12345678901234567892", "k5", "nan", "", "1.50", "k9"]
    output = {"path": "out", "format": form, "index": "parquet"}
    result = attrkit.run(folder.job(data=csv_with_ids(folder, ids), output=output, shards={"rows": 5, "chunk": 1}))
    assert result.errors == {}
    assert [each for e in result.explanations() for each in e.details["ids"]] == ids
    assert pq.read_table(result.folder / "index.parquet").column("id").to_pylist() == ids


@pytest.mark.parametrize("form", ["safetensors", "parquet"])
@pytest.mark.parametrize("ids", [[1, 2, 3, "k3", "k4", 2.5], [1, 2, 3, 4, 2**70, 6], [None, 2, 3, 4, 5, 6]])
def test_ids_of_several_types_are_text_in_parquet(folder, form, ids):
    pq = pytest.importorskip("pyarrow.parquet")
    lines = [json.dumps({"key": key, "x": row}) for key, row in zip(ids, folder.rows(6).tolist(), strict=True)]
    (folder.path / "d.jsonl").write_text("\n".join(lines))
    output = {"path": "out", "format": form, "index": "parquet"}
    result = attrkit.run(folder.job(data={"path": "d.jsonl", "id": "key"}, output=output, shards={"rows": 2}))
    assert result.errors == {}
    assert [each for e in result.explanations() for each in e.details["ids"]] == ids
    assert pq.read_table(result.folder / "index.parquet").column("id").to_pylist() == list(map(str, ids))


def test_ids_of_one_type_keep_it_in_parquet(folder):
    pq = pytest.importorskip("pyarrow.parquet")
    lines = [json.dumps({"key": 5 - i, "x": row}) for i, row in enumerate(folder.rows(6).tolist())]
    (folder.path / "d.jsonl").write_text("\n".join(lines))
    result = attrkit.run(folder.job(data={"path": "d.jsonl", "id": "key"}, output={"path": "out", "index": "parquet"}))
    assert pq.read_table(result.folder / "index.parquet").column("id").to_pylist() == [5, 4, 3, 2, 1, 0]


def test_ids_that_json_does_not_know_are_text():
    ids = [date(2026, 1, 2), np.float32("nan"), np.array([1, 2]), np.int64(4), 2.5, None]
    assert bound({"key": ids, "x": np.ones(6)}, Data("d", id="key"), 1).ids == ["2026-01-02", "nan", "[1, 2]", 4, 2.5, None]


@pytest.mark.parametrize("label", [1.7, float("inf"), float("nan")])
def test_a_target_that_is_no_class_is_a_bad_row(folder, label):
    lines = [
        json.dumps({"x": row, "label": label if i == 3 else float(i % 3)}) for i, row in enumerate(folder.rows(6).tolist())
    ]
    (folder.path / "d.jsonl").write_text("\n".join(lines))
    result = attrkit.run(folder.job(data="d.jsonl", target={"column": "label"}))
    assert [each["row"] for each in result.failed] == [3]
    assert f"target: column 'label' holds {label}; expected the number of a class" in result.failed[0]["error"]
    assert next(result.explanations()).target == [0, 1, 2, 1, 2]


def test_rows_go_on_behind_a_carriage_return(tmp_path):
    """Which is white space in JSON, and in a cell in quotes belongs to it."""
    (tmp_path / "d.jsonl").write_bytes(b'{"x":\r1}\r\n\r\n{"x": 2}\r\n{"x":\r3}')
    source = open_source(Data("d.jsonl"), tmp_path)
    assert [source.read(i, i + 1)["x"] for i in range(len(source))] == [[1], [2], [3]]
    assert source.read(0, 3)["x"] == [1, 2, 3]
    (tmp_path / "d.csv").write_bytes(b'name,a\r\n"one\r\r\n\r\nline",1\r\n  \r\ntwo,2\r\n')
    found = open_source(Data("d.csv"), tmp_path).read(0, 2)
    assert found["name"] == ["one\r\r\n\r\nline", "two"]
    assert found["a"].tolist() == [1, 2]


@pytest.mark.parametrize("text", [b"1,2\r3,4\r5,6\r", b'1,2\n3,5"\n5,6"\n7,8\n'])
def test_a_csv_that_cannot_be_cut_into_rows_is_said(tmp_path, text):
    (tmp_path / "d.csv").write_bytes(text)
    with pytest.raises(UsageError, match=r"row . cannot be read \(new-line character .*\); expected cells with a"):
        open_source(Data("d.csv"), tmp_path).read(0, 2)


def test_rows_that_an_iterable_says_itself(tmp_path):
    with pytest.raises(UsageError, match=r"data\.rows is 5, and data 'data\.py:rows' says that it has 23; leave rows out"):
        open_source(write_code("rows", rows=5)(tmp_path), tmp_path)
