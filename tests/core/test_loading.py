"""Models and data by reference: what can be read is read, what cannot is one clear line, and data never runs."""

import pickle
import re
import sys

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from attrkit.cli.data import load_data, part, suited  # noqa: E402
from attrkit.cli.guessing import guessed_input  # noqa: E402
from attrkit.cli.settings import read  # noqa: E402
from attrkit.errors import MissingExtra, UsageError  # noqa: E402
from attrkit.loading.models import load_model  # noqa: E402

SOURCE = """
import torch  # noqa: E402
from torch import nn  # noqa: E402

class Net(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.linear = nn.Linear(size, 2)

    def forward(self, x):
        return self.linear(x)

def make():
    return Net()

def needy(size, /, *, depth):
    return Net()

def broken():
    raise RuntimeError("no weights found")

class Holder:
    net = Net()

net = Net()
number = 3
"""


class Malicious:
    """Leaves a file behind if it is unpickled."""

    def __reduce__(self):
        return exec, ("open('ran', 'w').close()",)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: a file with models and some data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "planted_models.py").write_text(SOURCE)
    yield tmp_path
    for name in ("planted_models", "attrkit_model_planted_models"):
        sys.modules.pop(name, None)
    assert not (tmp_path / "ran").exists()


# Models


@pytest.mark.parametrize("place", ["planted_models", "planted_models.py", "./planted_models.py"])
@pytest.mark.parametrize("name", ["Net", "make", "net", "Holder.net"])
def test_a_model_is_a_module_or_what_makes_one(folder, place, name):
    model = load_model(f"{place}:{name}")
    assert type(model).__name__ == "Net"
    assert not model.training


def test_a_file_may_import_its_neighbours(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "planted_neighbour.py").write_text("size = 7")
    (folder / "sub" / "m.py").write_text("import torch\nfrom planted_neighbour import size\nnet = torch.nn.Linear(size, 1)")
    assert load_model("sub/m.py:net").in_features == 7
    del sys.modules["planted_neighbour"], sys.modules["attrkit_model_m"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("planted_models", "expected package.module:name, file.py:name or file.pt2"),
        ("planted_models:", "expected package.module:name"),
        ("no_such_module:net", "importing no_such_module, also from .*, failed: ModuleNotFoundError"),
        ("no_such_file.py:net", "there is no file 'no_such_file.py'"),
        ("no_such_file.pt2", "there is no such file"),
        ("planted_models:nett", "planted_models was read, and has no 'nett'. Did you mean 'net'?"),
        ("planted_models:Holder.nat", "has no 'Holder.nat'"),
        ("planted_models:number", "expected a torch.nn.Module, or what makes one, got int"),
        ("planted_models:needy", "making it needs size, depth; name a function that takes no arguments"),
        ("planted_models:broken", "calling it failed: RuntimeError: no weights found"),
        ("planted_models:net+weights=none.pt", "there is no file 'none.pt'"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_what_was_tried(folder, reference, message):
    with pytest.raises(UsageError, match=message):
        load_model(reference)


def test_a_file_that_fails_when_it_runs(folder):
    (folder / "bad.py").write_text("1 / 0")
    with pytest.raises(UsageError, match="model 'bad.py:net': running bad.py failed: ZeroDivisionError: division by zero"):
        load_model("bad.py:net")


def test_an_exported_program(folder):
    net = load_model("planted_models:net")
    torch.export.save(torch.export.export(net, (torch.ones(1, 4),)), "net.pt2")
    x = torch.randn(1, 4)
    assert torch.equal(load_model("net.pt2")(x), net(x))
    (folder / "bad.pt2").write_bytes(b"nothing of that kind")
    with pytest.raises(UsageError, match="model 'bad.pt2': torch.export.load failed"):
        load_model("bad.pt2")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_are_filled_in(folder, suffix):
    weights = {"linear.weight": torch.ones(2, 4), "linear.bias": torch.zeros(2)}
    save_file(weights, "w.safetensors") if suffix == "safetensors" else torch.save(weights, "w.pt")
    assert load_model(f"planted_models:Net+weights=w.{suffix}").linear.weight.sum() == 8


def test_weights_of_another_model_are_refused(folder):
    torch.save({"linear.weight": torch.ones(3, 4)}, "w.pt")
    with pytest.raises(UsageError, match=r"weights 'w.pt' do not fit Net: .*Missing key"):
        load_model("planted_models:Net+weights=w.pt")
    torch.save([torch.ones(3)], "w.pt")
    with pytest.raises(UsageError, match="weights 'w.pt': expected a mapping from names to tensors, got list"):
        load_model("planted_models:Net+weights=w.pt")


def test_weights_never_run(folder):
    torch.save({"linear.weight": Malicious()}, "w.pt")
    with pytest.raises(UsageError, match="'w.pt' is not read: it holds more than tensors"):
        load_model("planted_models:Net+weights=w.pt")


# Data


def test_arrays(folder):
    np.save("x.npy", np.ones((3, 4)))
    assert load_data("x.npy").inputs.shape == (3, 4)
    np.savez("one.npz", x=np.ones((3, 4)))
    assert load_data("one.npz").inputs.shape == (3, 4)
    np.savez("two.npz", a=np.ones((3, 4)), b=np.zeros((3, 2)))
    assert {name: t.shape[1] for name, t in load_data("two.npz").inputs.items()} == {"a": 4, "b": 2}


def test_tensors(folder):
    torch.save(torch.ones(3, 4), "x.pt")
    assert load_data("x.pt").inputs.shape == (3, 4)
    torch.save([torch.ones(3, 4), torch.ones(3, 2)], "x.pt")
    assert [t.shape[1] for t in load_data("x.pt").inputs] == [4, 2]
    save_file({"a": torch.ones(3, 4), "b": torch.ones(3, 2)}, "x.safetensors")
    assert set(load_data("x.safetensors").inputs) == {"a", "b"}


def test_tables(folder):
    (folder / "x.csv").write_text("\ufeffage, height of it\r\n1,2\r\n\r\n3,4.5\r\n", encoding="utf-8")
    data = load_data("x.csv")
    assert data.inputs.tolist() == [[1, 2], [3, 4.5]]
    assert data.labels == ("age", "height of it")
    (folder / "x.csv").write_text("1,2\n3,4\n")
    assert (load_data("x.csv").inputs.shape, load_data("x.csv").labels) == ((2, 2), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv has no rows"),
        ("a,b\n", "x.csv has no rows"),
        ("a,b\n1,2\n3\n", "x.csv:3: expected 2 numbers, got 1"),
        ("a,b\n1,2\n3,four\n", "x.csv:3: expected a number in column b, got 'four'"),
        ("1,2\n3,\n", "x.csv:2: expected a number in column 2, got ''"),
    ],
)
def test_a_table_that_is_wrong_says_where(folder, text, message):
    (folder / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_data("x.csv")


def test_bundled_sets():
    pytest.importorskip("sklearn")
    assert load_data("sklearn:digits").inputs.shape == (1797, 1, 8, 8)
    iris = load_data("sklearn:iris")
    assert (tuple(iris.inputs.shape), iris.labels[0]) == ((150, 4), "sepal length (cm)")
    with pytest.raises(UsageError, match=r"data 'sklearn:digit': no such set. Did you mean 'digits'\? Sets: breast_cancer"):
        load_data("sklearn:digit")


def test_bundled_sets_need_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtra, match=r"sklearn:iris needs scikit-learn, .* 'attrkit\[demo\]'"):
        load_data("sklearn:iris")


def write(name, content):
    def put(folder):
        (folder / name).write_bytes(content)

    return put


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        ("x.txt", None, "data 'x.txt': expected .npy, .npz, .pt, .safetensors, .csv or sklearn:NAME"),
        ("x.npy", None, "there is no file 'x.npy'"),
        ("x.npy", write("x.npy", b"nothing"), "'x.npy' does not hold arrays of numbers"),
        ("x.npz", write("x.npz", b"PK\x03\x04nothing"), "'x.npz' does not hold arrays of numbers"),
        ("x.npy", lambda _: np.save("x.npy", np.array(["a"])), "'x.npy' does not hold arrays of numbers"),
        ("x.pt", write("x.pt", b"nothing"), "'x.pt' is"),
        ("x.safetensors", write("x.safetensors", b"nothing"), "'x.safetensors' is no safetensors file"),
        (
            "x.pt",
            lambda _: torch.save({"a": torch.ones(2), "b": 3}, "x.pt"),
            "expected tensors, alone or in a list or mapping, got dict",
        ),
        ("x.pt", lambda _: torch.save(torch.tensor(1.0), "x.pt"), "a tensor has no examples"),
        ("x.npy", lambda _: np.save("x.npy", np.zeros((0, 4))), "a tensor has no examples"),
        ("x.csv", write("x.csv", b"\xff\xfe\x00"), "expected comma-separated values in UTF-8"),
    ],
)
def test_data_that_cannot_be_read_says_why(folder, name, put, message):
    if put is not None:
        put(folder)
    with pytest.raises(UsageError, match=re.escape(message)):
        load_data(name)


def test_data_never_runs(folder):
    np.save("x.npy", np.array([Malicious()], dtype=object), allow_pickle=True)
    np.savez("x.npz", x=np.array([Malicious()], dtype=object))
    torch.save({"x": Malicious()}, "x.pt")
    (folder / "y.pt").write_bytes(pickle.dumps(Malicious(), 2))
    (folder / "y.npy").write_bytes(pickle.dumps(Malicious(), 2))
    for name in ("x.npy", "x.npz", "x.pt", "y.pt", "y.npy"):
        with pytest.raises(UsageError):
            load_data(name)


# Examples and precision


@pytest.mark.parametrize(
    ("text", "rows"), [("0:2", [0, 1]), ("3:", [3, 4]), (":2", [0, 1]), ("-2:", [3, 4]), ("3", [3]), ("-1", [4])]
)
def test_examples_are_chosen_as_slices_are(folder, text, rows):
    np.savez("x.npz", a=np.arange(5.0), b=np.arange(5.0))
    assert [t.tolist() for t in part(load_data("x.npz"), text).tensors] == [rows, rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2:2", "no example is in it; the data has 5"),
        ("9", "no example"),
        ("a:b", "expected A:B, like 0:8"),
        ("1:2:3", "expected A:B"),
    ],
)
def test_examples_that_are_none(folder, text, message):
    np.save("x.npy", np.arange(5.0))
    with pytest.raises(UsageError, match=message):
        part(load_data("x.npy"), text)


def test_data_takes_the_precision_of_the_model(folder):
    np.savez("x.npz", a=np.ones((2, 3)), b=np.ones((2, 3), dtype=np.int64))
    data = suited(load_data("x.npz"), torch.nn.Linear(3, 1))
    assert [t.dtype for t in data.tensors] == [torch.float32, torch.int64]
    assert suited(load_data("x.npz"), torch.nn.Linear(3, 1).double()).tensors[0].dtype == torch.float64
    assert suited(load_data("x.npz"), torch.nn.ReLU()).tensors[0].dtype == torch.float64


# Guessing


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(5, 2)), (1, 5)),
        (torch.nn.Conv2d(3, 2, 3), (1, 3, 8, 8)),
        (torch.nn.Sequential(torch.nn.Conv2d(1, 2, 9), torch.nn.Flatten(), torch.nn.Linear(2 * 24 * 24, 2)), (1, 1, 32, 32)),
        (torch.nn.Conv1d(3, 2, 3), (1, 3, 8)),
        (torch.nn.Embedding(10, 3), (1, 8)),
        (torch.nn.Linear(5, 2).double(), (1, 5)),
    ],
)
def test_an_input_is_guessed_from_the_first_layer(model, shape):
    assert guessed_input(model)[0].shape == shape


def test_no_input_can_be_guessed():
    with pytest.raises(UsageError, match="no layer is linear, a convolution or an embedding; give --data or --shape"):
        guessed_input(torch.nn.ReLU())
    with pytest.raises(UsageError, match=r"takes none of the shapes \(1, 3, 8, 8\), .*; give --data or --shape"):
        guessed_input(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Linear(7, 1)))


# Settings


def test_settings_are_yaml_and_nest():
    given = ["n=3", "e=1e-6", "rules=epsilon_plus", "p.low=[0, 1]", "p.high=1.5", "flag=true", "none=null", "text=''", "blank="]
    assert read(given) == {
        "n": 3,
        "e": 1e-6,
        "rules": "epsilon_plus",
        "p": {"low": [0, 1], "high": 1.5},
        "flag": True,
        "none": None,
        "text": "",
        "blank": "",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["n"], "--set 'n': expected NAME=VALUE"),
        (["=3"], "--set '=3': expected NAME=VALUE"),
        (["a..b=3"], "expected NAME=VALUE"),
        (["n=1", "n=2"], "'n' has a value already"),
        (["n=1", "n.m=2"], "'n' has a value already"),
        (["n=[1"], "--set n:1:3: cannot be read as YAML"),
        (["n=!!python/object/apply:os.getcwd []"], "--set n:1:1: tag '!!python/object/apply:os.getcwd' is refused"),
    ],
)
def test_settings_that_are_wrong(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        read(given)
