"""Models that break what one might take for granted: arrays, rows that interact, inputs written into, TorchScript."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import attrkit  # noqa: E402
from attrkit.errors import ModelError, UngovernedError  # noqa: E402

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def seeded(build: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


class Slots:
    """A plain object whose inside cannot be listed."""

    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 2)
        self.array, self.queue, self.plain, self.slots = np.array([1.0]), deque([1.0]), torch.ones(1), Slots()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x) * float(self.array[0]) * self.queue[0] * self.plain.to(x) * self.slots.factor


def _array(m: Any) -> None:
    m.array[0] = 2


def _queue(m: Any) -> None:
    m.queue[0] = 2.0


def _plain(m: Any) -> None:
    m.plain.data.mul_(2)


def _slots(m: Any) -> None:
    m.slots.factor = 2.0


@pytest.mark.parametrize("edit", [_array, _queue, _plain, _slots], ids=lambda e: e.__name__.strip("_"))
def test_an_edit_that_torch_does_not_see_is_seen(edit: Any) -> None:
    model = seeded(Scaled)
    before = attrkit.explain(model, X, "input_x_gradient", target=0)
    edit(model)
    after = attrkit.explain(model, X, "input_x_gradient", target=0)
    torch.testing.assert_close(after.values["x"], 2 * before.values["x"])


def centred() -> Any:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    return lambda x: model(x - x.mean(0))


def without_statistics() -> Any:
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    return seeded(lambda: nn.Sequential(nn.Linear(3, 4), norm, nn.Tanh(), nn.Linear(4, 2)))


@pytest.mark.parametrize("build", [centred, without_statistics])
@pytest.mark.parametrize("method", ["integrated_gradients", "feature_ablation"])
def test_points_do_not_share_a_pass_where_rows_interact(build: Any, method: str) -> None:
    model = build()
    for _ in range(2):  # what was learnt holds for the next call too
        (found,) = attrkit.explain(model, X, method, target=0).values.values()
        (alone,) = attrkit.explain(model, X, method, target=0, internal_batch_size=len(X)).values.values()
        torch.testing.assert_close(found, alone)


class Writes(nn.Module):
    """Writes into what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 2)

    def forward(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        x *= 2
        if more is not None:
            more += 1
        return self.lin(x) if more is None else self.lin(x) + more.sum()


@pytest.mark.parametrize("kw", [{}, {"layer": "lin"}, {"layer": "lin", "neuron": 1}], ids=["input", "layer", "neuron"])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "feature_ablation", "lrp"])
@pytest.mark.parametrize("more", [torch.zeros(5, 2), torch.zeros(7)], ids=["a row each", "other"])
def test_a_model_that_writes_into_its_inputs_does_not_reach_the_callers(
    untouched: Any, method: str, kw: Any, more: Tensor
) -> None:
    model = seeded(Writes)
    with untouched(model, X, more):
        attrkit.explain(model, X, method, target="predicted", additional_forward_args=more if method != "lrp" else None, **kw)


def test_an_explanation_keeps_its_own_inputs() -> None:
    x = X.clone()
    found = attrkit.explain(seeded(lambda: nn.Linear(3, 2)), x, "saliency", target=0)
    x.zero_()
    assert torch.equal(found.inputs["input"], X)


def test_predicted_targets_inside_inference_mode() -> None:
    model = seeded(lambda: nn.Linear(3, 2))
    with torch.inference_mode():
        assert attrkit.explain(model, X.clone(), target="predicted").target == model(X).argmax(1).tolist()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, X)], ids=["scripted", "traced"])
def test_torchscript_is_explained_at_its_inputs(script: Any) -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    (expected,) = attrkit.explain(model, X, target=1).values.values()
    for given in (script(model), nn.Sequential(script(model))):
        (found,) = attrkit.explain(given, X, target=1).values.values()
        torch.testing.assert_close(found, expected)


def test_threads_leave_the_filters_of_warnings_alone() -> None:
    model = seeded(lambda: nn.Linear(3, 2))
    before = list(warnings.filters), warnings.showwarning
    threads = [threading.Thread(target=lambda: [attrkit.explain(model, X, target=0) for _ in range(8)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), warnings.showwarning) == before


def test_inputs_that_the_model_refuses_are_named_with_their_shape() -> None:
    with pytest.raises(ModelError, match=r"mat1 and mat2(.|\n)*input of shape \(5, 7\), torch.float64, on cpu; check inputs"):
        attrkit.explain(seeded(lambda: nn.Linear(3, 2)), torch.ones(5, 7).double(), target=0)


NOTHING = {"schema": "attrkit/ruleset@1", "name": "nothing", "rules": []}
W = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (W @ x.T).T,
        lambda x: torch.bmm(W[None], x.T[None])[0].T,
        lambda x: torch.einsum("bi,ij->bj", x, W),
        lambda x: torch.einsum("bi,hij->bhj", x, W[None]).flatten(1),
        lambda x: (x @ W[0])[:, None],
        lambda x: torch.tensordot(x, W, 1),
    ],
    ids=["constant first", "bmm", "einsum", "einsum of heads", "vector", "tensordot"],
)
def test_no_linear_map_passes_silently(function: Any) -> None:
    with pytest.raises(
        UngovernedError, match="(the model uses operation|no entry matches it).*set fallback.linear: "
    ) as caught:
        attrkit.explain(function, X, "lrp", target=0, rules=NOTHING)
    assert isinstance(caught.value, TypeError), "as for an unsupported layer in the established API"


def test_a_batch_norm_over_another_dimension_than_the_maps_channels_is_not_merged() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 2)))
    with torch.no_grad():
        model[1].running_mean.add_(0.3)
    x = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rows = attrkit.explain(model, x, "lrp", target=0, rules="epsilon_plus").rules
    assert [(r["operation"], r["rule"]) for r in rows] == [("linear", "epsilon"), ("batch_norm", "pass"), ("linear", "epsilon")]


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
def test_relevance_of_empty_pixels_survives_padding(mode: str) -> None:
    def build() -> nn.Module:
        first = nn.Conv2d(1, 4, 3, padding=1, padding_mode=mode, bias=False)
        return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(144, 2, bias=False))

    model, image = seeded(build), torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    image[..., 2:4, 2:4] = 1
    found = attrkit.explain(model, image, "lrp", target=0, rules="epsilon_plus_flat", parameters={"epsilon": 0})
    torch.testing.assert_close(found.values["input"].sum((1, 2, 3)), found.output, rtol=1e-4, atol=1e-8)
