"""The native door: what it returns, and what it says about bad input."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import attrkit  # noqa: E402
from attrkit.errors import AttrkitError, AttrkitWarning, UnknownName, UsageError, UsageTypeError  # noqa: E402
from attrkit.registry import registry  # noqa: E402


class Net(nn.Module):
    """Two layers; the second passes on a tuple, and one never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.pair = Pair()
        self.unused = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, image: Tensor, bias: Tensor | None = None) -> Tensor:
        left, right = self.pair(torch.tanh(self.body(image)))
        return self.head(left + right) + (0 if bias is None else bias)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x, x


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().double().eval()


X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_values_are_named_after_inputs_and_layers(net: Any) -> None:
    assert list(attrkit.explain(net, X, "saliency", target=0).values) == ["image"]
    assert list(attrkit.explain(net, X, "saliency", target=0, layer="body").values) == ["body"]
    assert list(attrkit.explain(net, X, "saliency", target=0, layer=["body", "pair"]).values) == ["body", "pair[0]", "pair[1]"]
    assert list(attrkit.explain(net, X, "saliency", target=0, layer="body", neuron=1).values) == ["image"]
    assert list(attrkit.explain(lambda *xs: net(xs[0]), X, "saliency", target=0).values) == ["input_0"]
    bias = torch.zeros(3, 3, dtype=torch.float64)
    assert list(attrkit.explain(net, {"image": X, "bias": bias}, "saliency", target=0).values) == ["image", "bias"]


def test_an_explanation_tells_how_it_was_made(net: Any) -> None:
    found = attrkit.explain(net, X, target="predicted", n_steps=7, seed=3)
    assert found.method == "integrated_gradients"
    assert found.options == {"n_steps": 7, "method": "gausslegendre", "tol": 0.01, "multiply_by_inputs": True}
    assert found.target == net(X).argmax(1).tolist()
    assert found.passes == {"forward": 7, "backward": 7}
    assert (found.where, found.seed) == ("input", 3)
    assert found.model["class"].endswith("Net")
    assert found.versions["torch"] == torch.__version__
    torch.testing.assert_close(found.output, net(X).detach().amax(1))
    change = found.output - found.baseline_output
    torch.testing.assert_close(found.delta, found.values["image"].sum(1) - change)


def test_the_fingerprint_follows_the_weights(net: Any) -> None:
    before = attrkit.explain(net, X, "saliency", target=0).model["fingerprint"]
    assert before == attrkit.explain(net, X, "input_x_gradient", target=0).model["fingerprint"]
    with torch.no_grad():
        net.head.bias[0] += 1e-9
    assert before != attrkit.explain(net, X, "saliency", target=0).model["fingerprint"]


BAD = [
    (dict(method="saliancy"), UnknownName, "no method 'saliancy'. Did you mean 'saliency'"),
    (dict(method="saliency", n_steps=3), UnknownName, "saliency has no option 'n_steps'.*Its options: abs=True"),
    (dict(n_step=3), UnknownName, "integrated_gradients has no option 'n_step'. Did you mean 'n_steps'"),
    (dict(n_steps=0), UsageError, "n_steps must be an integer of at least 1"),
    (dict(n_steps=1, method="integrated_gradients"), None, ""),
    (dict(inputs=X.tolist()), UsageTypeError, "inputs must be a tensor, got list; convert it with torch.as_tensor"),
    (dict(inputs=(X, "text")), UsageTypeError, r"inputs\[1\] must be a tensor, got str"),
    (dict(inputs={"image": "text"}), UsageTypeError, "mapping without tensors"),
    (dict(inputs=()), UsageTypeError, "empty tuple"),
    (dict(inputs=torch.tensor(1.0)), UsageError, "single number; its first dimension must be the batch"),
    (dict(method="saliency", inputs=X.long()), UsageTypeError, "'image' has dtype torch.int64.*layer= the embedding"),
    (dict(target=None), UsageError, r"target is missing: the model returns \(3,\) numbers"),
    (dict(target=7), UsageError, "target 7 is out of range"),
    (dict(target="cat"), UsageTypeError, "target must be an int"),
    (dict(target=[0, 1]), UsageError, "target has 2 entries for a batch of 3"),
    (dict(baselines=X[:, :2]), UsageError, r"baselines has shape \(3, 2\), but the input has shape \(3, 4\)"),
    (dict(baselines=(0, 0)), UsageError, "baselines has 2 entries, but the input has 1 tensors"),
    (dict(baselines="zero"), UsageTypeError, "must be a number or a tensor, got str"),
    (dict(method="saliency", baselines=0), UsageError, "method 'saliency' takes no baselines"),
    (dict(layer="bodi"), UnknownName, "no layer 'bodi'. Did you mean 'body'"),
    (dict(layer=3), UsageTypeError, "layer must be a module or the path of one"),
    (dict(layer=nn.Linear(4, 5)), UnknownName, "layer Linear is not a module of the model Net"),
    (dict(layer="unused"), UsageError, "layer 'unused' never ran"),
    (dict(layer="body", method="feature_ablation", feature_mask=torch.zeros(1, 5)), UsageTypeError, "an integer tensor"),
    (dict(neuron=1), UsageError, "neuron needs layer="),
    (dict(layer="body", neuron=9), UsageError, r"neuron 9 is out of range: layer 'body' has shape \(5,\)"),
    (dict(layer="body", neuron=(1, 2)), UsageError, "must index each of the dimensions"),
    (dict(layer="body", neuron="x"), UsageTypeError, "neuron must be an integer"),
    (dict(layer="pair", neuron=1), UsageError, "passes on 2 tensors; use a function"),
    (dict(layer="body", neuron=lambda v: v), UsageError, r"the function must return one number per .*, got \(\d+, 5\)"),
    (dict(first_example=-3), UsageError, "first_example must be an integer of at least 0, .* got -3"),
    (dict(first_example="a"), UsageError, "first_example must be an integer of at least 0, .* got 'a'"),
    (dict(internal_batch_size=0), UsageError, "internal_batch_size must be an integer of at least 1"),
    (dict(model=3), UsageTypeError, "model must be a torch module or a function"),
    (dict(model=lambda x: x.detach().sum(1), target=None), UsageError, "does not depend on the inputs in a way that torch"),
    (dict(method="lrp", rules="nothing"), UnknownName, "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("kw", "error", "message"), BAD, ids=[f"{', '.join(kw)}: {said[:40]}" for kw, _, said in BAD])
def test_bad_input_is_named_with_what_to_do(net: Any, kw: dict[str, Any], error: Any, message: str, untouched: Any) -> None:
    arguments: dict[str, Any] = {"model": net, "inputs": X, "target": 0, **kw}
    with untouched(net, X):
        if error is None:
            assert attrkit.explain(**arguments).values
            return
        with pytest.raises(error, match=message) as caught:
            attrkit.explain(**arguments)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AssertionError), "callers of the established API catch that"


def test_a_path_as_layer_of_a_plain_function_is_refused(net: Any) -> None:
    with pytest.raises(UsageError, match="is a path, but the model is a plain function; pass the module itself"):
        attrkit.explain(lambda x: net(x), X, "saliency", target=0, layer="body")


@pytest.fixture
def declared() -> Any:
    """Register methods for one test."""
    names: list[str] = []

    def register(spec: Any) -> str:
        registry.register(spec)
        names.append(spec.name)
        return str(spec.name)

    yield register
    for name in names:
        registry.unregister(name)


def test_the_rows_of_a_pass_are_recorded_and_are_a_bound_to_give_again(net: Any, tmp_path: Any) -> None:
    x = X.repeat(4, 1)

    def run(**given: Any) -> attrkit.Explanation:
        return attrkit.explain(net, x, "integrated_gradients", target=1, n_steps=64, **given)

    assert run(internal_batch_size=24).rows_per_pass == 24
    found = [run() for _ in range(4)][-1]
    assert len(x) <= found.rows_per_pass <= 64 * len(x)
    again = run(internal_batch_size=found.rows_per_pass)
    assert again.rows_per_pass == found.rows_per_pass
    torch.testing.assert_close(found.values, again.values)
    assert torch.equal(again.values["image"], run(internal_batch_size=found.rows_per_pass).values["image"])
    assert attrkit.Explanation.load(found.save(tmp_path / "x.safetensors")).rows_per_pass == found.rows_per_pass


@pytest.mark.parametrize(
    "returned",
    [None, 3, lambda p: p.point[0], lambda p: (p.point[0][:, :2],), lambda p: p.point * 2],
    ids=["nothing", "number", "tensor", "part", "too many"],
)
def test_a_method_that_returns_something_else_is_told(net: Any, declared: Any, returned: Any) -> None:
    @attrkit.method("wrong")
    def wrong(problem: Any) -> Any:
        """Return something else."""
        return returned(problem) if callable(returned) else returned

    with pytest.raises(AttrkitError, match=r"method 'wrong' must return a tuple of tensors shaped \(3, 4\)"):
        attrkit.explain(net, X, declared(wrong), target=0)


def test_attributions_that_are_not_finite_are_warned_about(net: Any) -> None:
    x = X.clone()
    x[0, 0] = torch.nan
    with pytest.warns(AttrkitWarning, match="input_x_gradient: 4 of 12 attributions are not finite"):
        found = attrkit.explain(net, x, "input_x_gradient", target=0)
    assert found.warnings == ("input_x_gradient: 4 of 12 attributions are not finite",)


def test_a_plugin_can_wrap_every_attribution(net: Any, declared: Any) -> None:
    seen = []

    class Doubles:
        name = "doubles"

        @attrkit.hookimpl(wrapper=True)
        def attrkit_attribute(self, spec: Any, options: Any) -> Any:
            seen.append((spec.name, options["abs"]))
            result = yield
            return tuple(2 * t for t in result)

    plain = attrkit.explain(net, X, "saliency", target=0).values["image"]
    declared(Doubles())
    torch.testing.assert_close(attrkit.explain(net, X, "saliency", target=0).values["image"], 2 * plain)
    assert seen == [("saliency", True)]


def test_progress_is_shown_on_stderr(net: Any, capsys: pytest.CaptureFixture[str]) -> None:
    attrkit.explain(net, X, "feature_ablation", target=0, show_progress=True)
    captured = capsys.readouterr()
    assert "feature_ablation: 100%" in captured.err
    assert not captured.out
    for method, count in (("integrated_gradients", 50), ("lrp", 1), ("saliency", 1)):
        attrkit.explain(net, X, method, target=0, show_progress=True, internal_batch_size=2)
        assert f"{count}/{count} [" in capsys.readouterr().err


def test_random_draws_belong_to_their_seed_example_and_sample(net: Any, declared: Any) -> None:
    @attrkit.method("dice", gradient=False, stochastic=True)
    def dice(problem: Any, *, sample: int = 0) -> Any:
        """Draw."""
        return problem.normal(sample)

    name = declared(dice)

    def draw(x: Tensor = X, **kw: Any) -> Tensor:
        return attrkit.explain(net, x, name, target=0, **kw).values["image"]

    first = draw()
    assert torch.equal(draw(), first)
    assert torch.equal(draw(X[:2]), first[:2]), "an example's numbers do not depend on how many others there are"
    assert not torch.equal(draw(seed=1), first)
    assert not torch.equal(draw(sample=1), first)
    assert len({tuple(row.tolist()) for row in first}) == len(first)
    assert first.dtype is torch.float64
