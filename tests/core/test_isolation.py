"""A model is left as it was, and an edit between two calls is always seen."""

from __future__ import annotations

import copy
import gc
import inspect
import random
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

import attrkit  # noqa: E402
from attrkit.errors import AttrkitWarning, UsageError  # noqa: E402
from attrkit.runner.replica import _pools  # noqa: E402


class Editable(nn.Module):
    """A model with one of everything that a user may edit."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.act: nn.Module = nn.Tanh()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6, 3)
        self.register_buffer("shift", torch.zeros(6))
        self.factor = 1.0
        self.factors = [1.0, {"deep": 1.0}]
        self.config = SimpleNamespace(power=1.0, inner=SimpleNamespace(offset=0.0))
        self.constant = torch.ones(6)
        self.hidden = [nn.Linear(6, 6)]  # in a plain list: no submodule for torch
        self.function: Callable[[Tensor], Tensor] = torch.sin

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x)) * self.factor * self.factors[0] * self.factors[1]["deep"] + self.shift
        y = self.drop(self.act(y) * self.config.power + self.config.inner.offset) * self.constant
        return self.last(self.hidden[0](self.function(y)))


def seeded(build: Callable[[], nn.Module] = Editable) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build().double().eval() if build is not Editable else _double(build()).eval()


def _double(model: Any) -> nn.Module:
    model.constant = model.constant.double()
    model.hidden[0].double()
    return model.double()


X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def gradient(model: Any) -> Tensor:
    return attrkit.explain(model, X, "input_x_gradient", target=1).values["x"]


@torch.no_grad()
def _scale_in_place(m: Any) -> None:
    m.first.weight.mul_(2)


def _scale_data(m: Any) -> None:
    m.first.weight.data.mul_(2)


def _swap_data(m: Any) -> None:
    m.first.weight.data = m.first.weight.data * 2


def _transposed_data(m: Any) -> None:
    m.hidden[0].weight.data = m.hidden[0].weight.data.t()  # the same memory, in another order


def _new_parameter(m: Any) -> None:
    m.first.weight = nn.Parameter(m.first.weight.detach() * 2)


def _load(m: Any) -> None:
    m.load_state_dict({k: v * 1.5 for k, v in m.state_dict().items()})


@torch.no_grad()
def _buffer_in_place(m: Any) -> None:
    m.norm.running_mean.add_(1)


def _new_buffer(m: Any) -> None:
    m.shift = torch.ones(6, dtype=torch.float64)


def _number(m: Any) -> None:
    m.factor = 2.0


def _in_list(m: Any) -> None:
    m.factors[0] = 2.0


def _another_list(m: Any) -> None:
    m.factors = [2.0, {"deep": 1.0}]


def _in_nested(m: Any) -> None:
    m.factors[1]["deep"] = 2.0


def _in_config(m: Any) -> None:
    m.config.power = 2.0


def _deep_in_config(m: Any) -> None:
    m.config.inner.offset = 1.0


def _plain_tensor_in_place(m: Any) -> None:
    m.constant.mul_(2)


def _plain_tensor(m: Any) -> None:
    m.constant = m.constant * 2


@torch.no_grad()
def _hidden_module(m: Any) -> None:
    m.hidden[0].weight.mul_(2)


def _other_hidden_module(m: Any) -> None:
    m.hidden[0] = nn.Linear(6, 6).double()


def _other_module(m: Any) -> None:
    m.act = nn.Sigmoid()


def _other_class(m: Any) -> None:
    m.act.__class__ = nn.Sigmoid


def _other_function(m: Any) -> None:
    m.function = torch.cos


def _other_lambda(m: Any) -> None:
    del m.function
    m.function = lambda t: t * 3


def _deleted_and_new(m: Any) -> None:
    del m.first
    m.first = nn.Linear(4, 6).double()


def _hook(m: Any) -> None:
    m.act.register_forward_hook(lambda _m, _a, out: out * 2)


def _forward(m: Any) -> None:
    m.act.forward = lambda t: t * 0.5


def _bound_forward(m: Any) -> None:
    m.act.forward = MethodType(lambda self, t: t * (0.5 if self.training else 0.25), m.act)


EDITS = [f for name, f in sorted(globals().items()) if inspect.isfunction(f) and list(inspect.signature(f).parameters) == ["m"]]
assert len(EDITS) == 26  # so that none of them is lost to a slip in the line above


@pytest.mark.parametrize("edit", EDITS, ids=lambda e: e.__name__.strip("_"))
def test_an_edit_between_two_calls_is_seen(edit: Callable[[Any], None]) -> None:
    model = seeded()
    before = gradient(model)
    edit(model)
    after = gradient(model)
    leaf = X.clone().requires_grad_()
    expected = X * torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(before, after), "the edit must matter, or this test shows nothing"


def test_the_replica_is_kept_while_nothing_is_edited() -> None:
    model = seeded()
    gradient(model)
    ((first,),) = _pools[model].waiting.values()
    gradient(model)
    assert _pools[model].waiting == {None: [first]}


def test_training_mode_is_kept_warned_about_and_leaves_statistics_and_generator_alone(untouched: Any) -> None:
    model = seeded().train()
    with untouched(model, X), pytest.warns(AttrkitWarning, match="training mode: BatchNorm1d"):
        gradient(model)


class Remembers(nn.Module):
    """Writes attributes and buffers, and draws random numbers, whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(()))
        self.last: Tensor | None = None
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.calls += 1
        self.last = x
        return self.lin(x) * self.count + 0 * torch.rand(())


def test_what_forward_writes_stays_off_the_model(untouched: Any) -> None:
    model = seeded(Remembers)
    with untouched(model, X):
        first = gradient(model)
        torch.testing.assert_close(gradient(model), first)


def test_what_forward_writes_stays_off_a_model_that_is_called_by_a_function(untouched: Any) -> None:
    model = seeded(Remembers)
    with untouched(model, X):
        gradient(lambda x: model(x))


class Fails(nn.Module):
    """Fails in its third module, after changing its state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("kw", [{}, {"layer": 0}, {"layer": 0, "neuron": 2}])
def test_an_exception_in_forward_reaches_the_caller_and_leaves_nothing(
    untouched: Any, kw: dict[str, Any], as_function: bool
) -> None:
    model = seeded(Fails)
    kw = {**kw, "layer": model.body[0]} if kw else kw
    forward = (lambda x: model(x)) if as_function else model
    for method in ("saliency", "integrated_gradients", "feature_ablation", "lrp"):
        with untouched(model, X), pytest.raises(RuntimeError, match="mat1 and mat2"):
            attrkit.explain(forward, X, method, target=1, **kw)


class LeadsBack(nn.Module):
    """Its children call their parent through a closure, which a copy would share."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.through = lambda x: self.lin(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.through(x))


WORLD: dict[str, nn.Module] = {}


class LeadsBackByName(nn.Module):
    """Reaches a module of its own through a global name."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        WORLD["lin"] = self.lin

    def forward(self, x: Tensor) -> Tensor:
        return self.head(WORLD["lin"](x))


@pytest.mark.parametrize("build", [LeadsBack, LeadsBackByName])
def test_a_model_whose_copy_would_run_the_original_is_worked_on_with_guards(untouched: Any, build: Any) -> None:
    model = seeded(build)
    plain = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)))
    for kw, other in (({}, {}), ({"layer": "lin"}, {"layer": "0"})):
        with untouched(model, X):
            got = attrkit.explain(model, X, "integrated_gradients", target=1, **kw)
        want = attrkit.explain(plain, X, "integrated_gradients", target=1, **other)
        for g, w in zip(got.values.values(), want.values.values(), strict=True):
            torch.testing.assert_close(g, w)


class Locked(nn.Module):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.lin(x)


def test_a_model_that_cannot_be_copied_is_explained_all_the_same(untouched: Any) -> None:
    model = seeded(Locked)
    with untouched(model, X):
        found = attrkit.explain(model, X, "input_x_gradient", target=1)
        layer = attrkit.explain(model, X, "lrp", target=1, layer="lin")
    torch.testing.assert_close(found.values["x"], X * model.lin.weight[1].detach())
    torch.testing.assert_close(layer.values["lin"][:, 1], model(X)[:, 1].detach())


FORMS_OF_A_MODEL = {
    "method": lambda m: m.forward,
    "partial": lambda m: partial(m, scale=2.0),
    "parallel": nn.DataParallel,
    "parallel method": lambda m: nn.DataParallel(m).forward,
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "function": lambda m: lambda x: m(x),
}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        return self.lin(x) * scale


@pytest.mark.parametrize("form", FORMS_OF_A_MODEL.values(), ids=FORMS_OF_A_MODEL)
def test_every_way_to_pass_a_model_gives_the_same(untouched: Any, form: Callable[[nn.Module], Any]) -> None:
    model = seeded(Scaled)
    given = form(model)
    with untouched(model, X):
        found = attrkit.explain(given, X, "integrated_gradients", target=1, layer=model.lin)
    (value,) = found.values.values()
    expected = attrkit.explain(model, X, "integrated_gradients", target=1, layer="lin").values["lin"]
    torch.testing.assert_close(value, expected)


TRANSFORMERS = {
    "bert": ("bert.encoder.layer.0", "bert.embeddings.word_embeddings"),
    "gpt2": ("transformer.h.0", "transformer.wte"),
    "llama": ("model.layers.0", "model.embed_tokens"),
    "vit": ("vit.layers.0", "vit.embeddings"),
    "resnet": ("resnet.encoder.stages.0", "resnet.embedder"),
}
ASKED = {
    "integrated_gradients": {"n_steps": 3},
    "conductance": {"n_steps": 3},
    "lrp": {},
    "deeplift": {},
    "feature_ablation": {},
    "kernel_shap": {"n_samples": 6},
}


def of_transformers(name: str) -> tuple[Any, Any, Any, str]:
    """A small model, inputs, a target, and a layer."""
    pytest.importorskip("transformers")
    from tests.plugins import hf, models

    model = models.built(getattr(hf, name))
    images = name in ("vit", "resnet")
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) if images else hf.IDS
    return model, x, 1 if images or name == "bert" else (2, 7), TRANSFORMERS[name][not images]


def asked(given: Any, x: Any, target: Any, layer: Any, method: str) -> list[Tensor]:
    options = dict(ASKED[method])
    if method in ("feature_ablation", "kernel_shap"):  # few groups, or the features of a layer would be many
        with torch.no_grad():
            shape = attrkit.explain(given, x, "activation", layer=layer).values
        options["feature_mask"] = tuple(torch.arange(v[:1].numel()).reshape(v[:1].shape) % 3 for v in shape.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # of operations that no rule governs
        found = attrkit.explain(given, x, method, target=target, layer=layer, **options)
    return list(found.values.values())


OTHER_FORMS = {name: form for name, form in FORMS_OF_A_MODEL.items() if name in ("method", "parallel", "parallel method")} | {
    "partial": lambda m: partial(m, output_attentions=False) if hasattr(m.config, "num_attention_heads") else partial(m),
    "function": lambda m: lambda x: m(x),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_models_of_transformers_are_left_alone_however_they_are_passed(name: str, form: str, untouched: Any) -> None:
    model, x, target, layer = of_transformers(name)
    place = model.get_submodule(layer)
    given = OTHER_FORMS[form](model)
    for method in ("integrated_gradients", "kernel_shap") if form != "method" else ASKED:
        if method == "conductance" and not x.is_floating_point():
            continue  # which moves inputs
        expected = asked(model, x, target, layer, method)
        with untouched(model, x):
            found = asked(given, x, target, place, method)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def _fails(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_whichever_module_of_transformers_raises_nothing_is_left(name: str, untouched: Any) -> None:
    model, x, target, layer = of_transformers(name)
    ran: list[nn.Module] = []
    handles = [m.register_forward_pre_hook(lambda m, _: ran.append(m)) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    assert len(set(ran)) > 15
    for i, module in enumerate(dict.fromkeys(ran)):
        module.forward = _fails
        with untouched(model, x), pytest.raises((ZeroDivisionError, UsageError)):
            asked(model, x, target, layer, list(ASKED)[i % len(ASKED)])
        del module.forward


class Refusing(torch.autograd.Function):
    """Raises in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise ZeroDivisionError


def _refuses(_module: Any, _args: Any, output: Any) -> Any:
    return Refusing.apply(output)


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]], ids=["here", "two"])
@pytest.mark.parametrize("method", ["integrated_gradients", "conductance", "deeplift"])
def test_a_backward_pass_that_raises_leaves_nothing(method: str, devices: Any, untouched: Any) -> None:
    model, x, target, layer = of_transformers("resnet")
    model.resnet.encoder.stages[1].register_forward_hook(_refuses)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttrkitWarning)  # of an operation that no rule governs
        with untouched(model, x), pytest.raises(ZeroDivisionError):
            attrkit.explain(model, x, method, target=target, layer=layer, device=devices)


KINDS_OF_HOOKS = {
    "forward pre": lambda m, f: m.register_forward_pre_hook(f),
    "forward": lambda m, f: m.register_forward_hook(f),
    "forward with keywords": lambda m, f: m.register_forward_hook(f, with_kwargs=True),
    "always": lambda m, f: m.register_forward_hook(f, always_call=True),
    "backward": lambda m, f: m.register_full_backward_hook(f),
    "backward pre": lambda m, f: m.register_full_backward_pre_hook(f),
    "state": lambda m, f: m.register_state_dict_post_hook(f),
    "loading": lambda m, f: m.register_load_state_dict_post_hook(f),
}


def _nothing(*_: Any) -> None:
    """A hook that looks, and changes nothing."""


@pytest.mark.parametrize("kind", KINDS_OF_HOOKS)
@pytest.mark.parametrize("method", ASKED)
def test_hooks_of_the_users_stay_and_change_nothing(method: str, kind: str, untouched: Any) -> None:
    model, x, target, layer = of_transformers("vit")
    expected = asked(model, x, target, layer, method)
    for module in list(model.modules()):
        if not list(module.children()):
            KINDS_OF_HOOKS[kind](module, _nothing)
    with untouched(model, x):
        found = asked(model, x, target, layer, method)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


class Table(nn.Module):
    """Looking up a row of the table shortens it, in the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4, max_norm=0.5), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.table(words).mean(1))


@torch.no_grad()
def shares_of(model: Any, words: Tensor) -> Tensor:
    """What each entry of each word's row adds to class 1, over word 0."""
    return (model.table(words) - model.table(torch.zeros_like(words))) * model.head.weight[1] / 3


@pytest.mark.parametrize("as_function", [False, True])
def test_a_table_that_lookups_renormalise_stays_as_it_is(untouched: Any, as_function: bool) -> None:
    model, words = seeded(Table), torch.tensor([[1, 2, 3], [4, 5, 6]])
    twin = copy.deepcopy(model)
    given = (lambda w: model(w)) if as_function else model
    for _ in range(2):
        with untouched(model, words):
            found = attrkit.explain(given, words, "integrated_gradients", target=1, layer=model.table).values
    torch.testing.assert_close(next(iter(found.values())), shares_of(twin, words))
    with torch.no_grad():
        model.table.weight.mul_(0.1)  # which is seen, though the copy has a table of its own
        twin.table.weight.copy_(model.table.weight)
    found = attrkit.explain(given, words, "integrated_gradients", target=1, layer=model.table).values
    torch.testing.assert_close(next(iter(found.values())), shares_of(twin, words))


class DrawsElsewhere(nn.Module):
    """Draws from the generators of numpy and Python."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x) + 0 * random.random() * np.random.rand()


@pytest.mark.parametrize("as_function", [False, True])
def test_what_forward_draws_from_other_generators_is_put_back(untouched: Any, as_function: bool) -> None:
    model = seeded(DrawsElsewhere)
    for _ in range(2):
        with untouched(model, X):
            attrkit.explain((lambda x: model(x)) if as_function else model, X, "integrated_gradients", target=1)


def test_a_progress_bar_leaves_no_thread(untouched: Any) -> None:
    model = seeded()
    with untouched(model, X):
        attrkit.explain(model, X, "integrated_gradients", target=1, show_progress=True)


def test_the_model_dies_when_it_is_dropped() -> None:
    model = seeded()
    gradient(model)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_inference_and_attribution_in_other_threads_are_not_disturbed() -> None:
    model = seeded()
    expected, attributed = model(X).detach(), gradient(model)
    wrong: list[str] = []
    done = threading.Event()

    def infer() -> None:
        while not done.is_set():
            if not torch.equal(model(X), expected):
                wrong.append("inference")

    def attribute() -> None:
        for method in ("input_x_gradient", "lrp", "feature_ablation") * 4:
            layer = attrkit.explain(model, X, "integrated_gradients", target=1, layer="act")
            found = gradient(model) if method == "input_x_gradient" else None
            if found is not None and not torch.equal(found, attributed):
                wrong.append("attribution")
            if not layer.values["act"].isfinite().all():
                wrong.append("layer")

    watcher = threading.Thread(target=infer)
    workers = [threading.Thread(target=attribute) for _ in range(2)]
    watcher.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.set()
    watcher.join()
    assert not wrong


def test_a_lazy_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="lazy module.*run it once"):
        gradient(nn.Sequential(nn.LazyLinear(3)))


def test_works_inside_no_grad_and_inference_mode() -> None:
    model = seeded()
    expected = gradient(model)
    with torch.no_grad():
        torch.testing.assert_close(gradient(model), expected)
    with torch.inference_mode():
        x = X.clone()
        assert x.is_inference()
        torch.testing.assert_close(attrkit.explain(model, x, "input_x_gradient", target=1).values["x"].clone(), expected)


def test_a_deep_copy_of_the_model_gets_a_replica_of_its_own() -> None:
    model = seeded()
    gradient(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.first.weight.mul_(3)
    assert not torch.allclose(gradient(other), gradient(model))
