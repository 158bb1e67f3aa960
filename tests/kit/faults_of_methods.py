"""Methods with one mistake each, of the kind that authors make. Each is right but for that."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrkit import Estimate, Problem, method
from attrkit.errors import UsageError

Tensors = tuple[Tensor, ...]


def _nodes(n_steps: int) -> list[tuple[float, float]]:
    """The midpoint rule."""
    if n_steps < 1:
        raise UsageError(f"n_steps must be at least 1, got {n_steps}")
    return [((i + 0.5) / n_steps, 1 / n_steps) for i in range(n_steps)]


def _product(first: Tensors, second: Tensors) -> Tensors:
    return tuple(a * b for a, b in zip(first, second, strict=True))


def _root(problem: Problem) -> Any:
    return problem.runner.passes.forward.root


# What is returned.


@method("graph_kept", where={"input"}, backward_passes="1")
def graph_kept(problem: Problem) -> Tensors:
    """Gradient times a leaf that requires gradients."""
    _, gradient = problem.value_and_grad()
    return tuple(x.clone().requires_grad_() * g for x, g in zip(problem.point, gradient, strict=True))


@method("inputs_returned", where={"input"}, gradient=False, objective=False, forward_passes="0")
def inputs_returned(problem: Problem) -> Tensors:
    """The inputs, detached but not copied."""
    return tuple(x.detach() for x in problem.inputs)


@method("list_returned", backward_passes="1")
def list_returned(problem: Problem) -> Any:
    """The gradient, in a list."""
    _, gradient = problem.value_and_grad()
    return [g.abs() for g in gradient]


@method("made_float32", backward_passes="1")
def made_float32(problem: Problem) -> Tensors:
    """The gradient, in float32 whatever the model is."""
    _, gradient = problem.value_and_grad()
    return tuple(g.float() for g in gradient)


@method("through_numpy", backward_passes="1")
def through_numpy(problem: Problem) -> Tensors:
    """The gradient, by way of numpy, which has no bfloat16."""
    _, gradient = problem.value_and_grad()
    return tuple(torch.from_numpy(np.abs(g.numpy())) for g in gradient)


@method("shaped_like_inputs", backward_passes="1", forward_passes="1")
def shaped_like_inputs(problem: Problem) -> Tensors:
    """The gradient at the inputs, also where attributions are to a layer."""
    _, gradient = problem.at_inputs().value_and_grad()
    return gradient


@method("first_tensor_only", linear=True, backward_passes="1")
def first_tensor_only(problem: Problem) -> Tensors:
    """Of several tensors the first alone."""
    _, gradient = problem.value_and_grad()
    return (problem.point[0] * gradient[0],)


@method("first_tensor_matters", linear=True, backward_passes="1")
def first_tensor_matters(problem: Problem) -> Tensors:
    """Of several tensors the first alone, the others get 0."""
    _, (first, *others) = problem.value_and_grad()
    return (first, *map(torch.zeros_like, others))


@method("second_tensor_negated", linear=True, backward_passes="1")
def second_tensor_negated(problem: Problem) -> Tensors:
    """A sign that alternates from one tensor to the next."""
    _, gradient = problem.value_and_grad()
    return tuple((-1) ** i * x * g for i, (x, g) in enumerate(zip(problem.point, gradient, strict=True)))


@method("divided_by_a_sum", where={"input"}, backward_passes="1")
def divided_by_a_sum(problem: Problem) -> Tensors:
    """Input times gradient, as shares of the example's sum, which may be 0."""
    _, gradient = problem.value_and_grad()
    scores = _product(problem.point, gradient)
    return tuple(s / s.abs().flatten(1).sum(1).reshape(-1, *[1] * (s.dim() - 1)) for s in scores)


@method("squeezed", where={"input"}, backward_passes="1")
def squeezed(problem: Problem) -> Tensors:
    """The gradient, dimensions of size 1 left out, the batch's too."""
    _, gradient = problem.value_and_grad()
    return tuple(g.squeeze() for g in gradient)


@method("stacked_by_example", where={"input"}, backward_passes="1")
def stacked_by_example(problem: Problem) -> Tensors:
    """The gradient scaled example by example, in a loop that needs at least one."""
    _, gradient = problem.value_and_grad()
    return tuple(torch.stack([row / (1 + row.norm()) for row in g]) for g in gradient)


@method("overflowing_in_half", where={"input"}, backward_passes="1")
def overflowing_in_half(problem: Problem) -> Tensors:
    """The gradient scaled by the example's sum of squares, which float16 cannot hold."""
    _, gradient = problem.value_and_grad()
    return tuple(g / (1 + (1000 * g).square().flatten(1).sum(1)).sqrt()[:, None] for g in gradient)


# Examples.


@method("scaled_over_the_batch", where={"input"}, backward_passes="1")
def scaled_over_the_batch(problem: Problem) -> Tensors:
    """The gradient, divided by the largest of the batch."""
    _, gradient = problem.value_and_grad()
    return tuple(g / g.abs().amax().clamp_min(1e-12) if g.numel() else g for g in gradient)


@method("spread_by_a_nan", where={"input"}, backward_passes="1")
def spread_by_a_nan(problem: Problem) -> Tensors:
    """The gradient, or 0 for all where any of it is not finite."""
    _, gradient = problem.value_and_grad()
    return tuple(g if bool(g.isfinite().all()) else torch.zeros_like(g) for g in gradient)


@method("steps_by_chunk", where={"input"}, baseline="optional", complete="approximate", linear=True, forward_passes="64",
        backward_passes="64")  # fmt: skip
def steps_by_chunk(problem: Problem) -> Tensors:
    """Integrated gradients with as many steps as fit into a pass."""
    steps = max(32, 2 * (problem.runner.rows or 32))
    return _product(problem.path_sum(_nodes(steps)), problem.delta)


@method("one_pass_for_all", where={"input"}, gradient=False, forward_passes="1")
def one_pass_for_all(problem: Problem) -> Tensors:
    """The change of the output when a feature is doubled, by one call of the model with all copies."""
    (x,) = problem.inputs
    copies = (x[:, None] + torch.diag_embed(x)).flatten(0, 1)
    output = problem.runner.passes.forward(torch.cat([x, copies]))
    output = output[:, problem.target.index[-1]].detach()
    return (output[len(x) :].reshape(x.shape) - output[: len(x), None],)


@method("flattened_by_view", where={"input"}, gradient=False, objective=False, forward_passes="0")
def flattened_by_view(problem: Problem) -> Tensors:
    """The sign of each entry, by a view that only contiguous tensors have."""
    return tuple(x.view(-1).sign().view(x.shape) for x in problem.inputs)


@method("outputs_summed", outputs="every", linear=True, backward_passes="1")
def outputs_summed(problem: Problem) -> Tensors:
    """Declares that it explains every output, and repeats the first one's."""
    every = problem.every and problem.target.index is None and problem.target.rows is None
    if not every:
        return problem.value_and_grad()[1]
    x = problem.point
    return tuple(torch.zeros_like(t)[:, None].expand(-1, 3, *t.shape[1:]).clone() for t in x)


# Draws.


def _noise_of(problem: Problem, noise: Any, n_samples: int) -> Tensors:
    if n_samples < 1:
        raise UsageError(f"n_samples must be at least 1, got {n_samples}")
    total = problem.zeros()
    points = (tuple(x + 0.1 * e for x, e in zip(problem.point, noise(i), strict=True)) for i in range(n_samples))
    for gradient in problem.grads(points, n_samples):
        total = tuple(t + g / n_samples for t, g in zip(total, gradient, strict=True))
    return total


@method("torchs_generator", where={"input"}, stochastic=True, forward_passes="n_samples", backward_passes="n_samples")
def torchs_generator(problem: Problem, *, n_samples: int = 4) -> Tensors:
    """SmoothGrad with torch's own generator.

    Args:
        n_samples: noisy copies.
    """
    return _noise_of(problem, lambda _: tuple(map(torch.randn_like, problem.point)), n_samples)


@method("numpys_generator", where={"input"}, stochastic=True, forward_passes="n_samples", backward_passes="n_samples")
def numpys_generator(problem: Problem, *, n_samples: int = 4) -> Tensors:
    """SmoothGrad with numpy's own generator.

    Args:
        n_samples: noisy copies.
    """
    return _noise_of(problem, lambda _: tuple(x.new_tensor(np.random.randn(*x.shape)) for x in problem.point), n_samples)


@method("seed_ignored", where={"input"}, stochastic=True, forward_passes="n_samples", backward_passes="n_samples")
def seed_ignored(problem: Problem, *, n_samples: int = 4) -> Tensors:
    """SmoothGrad with a generator whose seed is always 0.

    Args:
        n_samples: noisy copies.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(_: int) -> Tensors:
        return tuple(torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in problem.point)

    return _noise_of(problem, noise, n_samples)


@method("draws_undeclared", where={"input"}, forward_passes="n_samples", backward_passes="n_samples")
def draws_undeclared(problem: Problem, *, n_samples: int = 4) -> Tensors:
    """SmoothGrad that does not declare that it draws.

    Args:
        n_samples: noisy copies.
    """
    return _noise_of(problem, problem.normal, n_samples)


@method("draws_by_row", where={"input"}, stochastic=True, forward_passes="n_samples", backward_passes="n_samples")
def draws_by_row(problem: Problem, *, n_samples: int = 4) -> Tensors:
    """SmoothGrad whose draws depend on how many rows share a pass.

    Args:
        n_samples: noisy copies.
    """
    shift = problem.runner.rows or 0
    return _noise_of(problem, lambda i: problem.normal(i + shift), n_samples)


# Costs.


@method(
    "gradients_kept", baseline="optional", complete="approximate", linear=True,
    forward_passes="n_steps + 2 * layer", backward_passes="n_steps",
)  # fmt: skip
def gradients_kept(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Integrated gradients from a list of all gradients.

    Args:
        n_steps: points on the path.
    """
    rule = _nodes(n_steps)
    gradients = list(problem.grads((problem.lerp(a) for a, _ in rule), n_steps))
    sums = (sum(w * g for (_, w), g in zip(rule, each, strict=True)) for each in zip(*gradients, strict=True))
    return _product(tuple(sums), problem.delta)


@method("passes_undeclared", linear=True, forward_passes="1", backward_passes="1")
def passes_undeclared(problem: Problem) -> Tensors:
    """Asks for the value, and for the gradient once more, and declares one pass."""
    problem.value()
    _, gradient = problem.value_and_grad()
    return gradient


# Meaning.


def _path(problem: Problem, rule: list[tuple[float, float]]) -> Tensors:
    return _product(problem.path_sum(rule), problem.delta)


_STEPS = {"forward_passes": "n_steps + 2 * layer", "backward_passes": "n_steps"}


@method("weights_too_large", baseline="optional", complete="approximate", linear=True, **_STEPS)
def weights_too_large(problem: Problem, *, n_steps: int = 200) -> Tensors:
    """Integrated gradients with n - 1 where n belongs, which many steps hide.

    Args:
        n_steps: points on the path.
    """
    return _path(problem, [(a, w * n_steps / max(n_steps - 1, 1)) for a, w in _nodes(n_steps)])


@method("baseline_forgotten", baseline="optional", linear=True, backward_passes="1")
def baseline_forgotten(problem: Problem) -> Tensors:
    """Input times gradient, which declares that it compares with a baseline."""
    _ = problem.baseline
    _, gradient = problem.value_and_grad()
    return _product(problem.point, gradient)


@method("path_from_zero", where={"input"}, baseline="optional", complete="approximate", linear=True, **_STEPS)
def path_from_zero(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Integrated gradients whose path begins at zero, and whose difference at the baseline.

    Args:
        n_steps: points on the path.
    """
    total = problem.zeros()
    rule = _nodes(n_steps)
    points = (tuple(a * x for x in problem.point) for a, _ in rule)
    for (_, weight), gradient in zip(rule, problem.grads(points, n_steps), strict=True):
        total = tuple(t + weight * g for t, g in zip(total, gradient, strict=True))
    return _product(total, problem.delta)


@method("sign_wrong", where={"input"}, baseline="optional", complete="approximate", linear=True, **_STEPS)
def sign_wrong(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Integrated gradients times baseline minus point.

    Args:
        n_steps: points on the path.
    """
    return tuple(-t for t in _path(problem, _nodes(n_steps)))


@method("absolute_and_linear", linear=True, backward_passes="1")
def absolute_and_linear(problem: Problem) -> Tensors:
    """Absolute gradients, declared linear in the model."""
    _, gradient = problem.value_and_grad()
    return tuple(g.abs() for g in gradient)


@method("exact_by_steps", baseline="optional", complete="exact", linear=True, **_STEPS)
def exact_by_steps(problem: Problem, *, n_steps: int = 20) -> Tensors:
    """Integrated gradients, declared exact.

    Args:
        n_steps: points on the path.
    """
    return _path(problem, _nodes(n_steps))


@method("first_order_only", baseline="optional", complete="approximate", linear=True, backward_passes="1",
        forward_passes="1 + layer")  # fmt: skip
def first_order_only(problem: Problem) -> Tensors:
    """Gradient times difference, declared to add up."""
    _, gradient = problem.value_and_grad()
    return _product(problem.delta, gradient)


@method("fewer_steps_than_asked", where={"input"}, baseline="optional", complete="approximate", linear=True,
        forward_passes="4", backward_passes="4")  # fmt: skip
def fewer_steps_than_asked(problem: Problem, *, n_steps: int = 10) -> Tensors:
    """Integrated gradients by a left sum of four steps, whatever is asked for.

    Args:
        n_steps: points on the path.
    """
    _ = _nodes(n_steps)
    return _path(problem, [(i / 4, 1 / 4) for i in range(4)])


@method("residual_spread", where={"input"}, baseline="optional", complete="exact", linear=True, forward_passes="2",
        backward_passes="1")  # fmt: skip
def residual_spread(problem: Problem) -> Tensors:
    """Gradient times difference, and what is missing spread over all features, so that it adds up."""
    value, gradient = problem.value_and_grad()
    change = value - next(problem.values([problem.baseline]))
    scores = _product(problem.delta, gradient)
    missing = change - sum(s.flatten(1).sum(1) for s in scores)
    size = sum(s[0].numel() for s in scores) if len(change) else 1
    return tuple(s + (missing / size).reshape(-1, *[1] * (s.dim() - 1)) for s in scores)


@method("order_of_columns", where={"input"}, gradient=False, baseline="optional", complete="exact", linear=True,
        forward_passes="1 + features")  # fmt: skip
def order_of_columns(problem: Problem) -> Tensors:
    """Features are put in one after another, the first first: the order of the columns decides."""
    scores = []
    for x, b in zip(problem.point, problem.baseline, strict=True):
        flat_x, flat_b = x.flatten(1), b.flatten(1)
        order = torch.arange(flat_x.shape[1])
        steps = (torch.where(order < k, flat_x, flat_b).reshape(x.shape) for k in range(flat_x.shape[1] + 1))
        others = problem.point[len(scores) + 1 :]
        before = problem.baseline[: len(scores)]
        values = torch.stack(list(problem.values((*before, step, *others) for step in steps)))
        scores.append(values.diff(dim=0).T.reshape(x.shape))
    return tuple(scores)


@method("target_ignored", where={"input"}, backward_passes="1")
def target_ignored(problem: Problem) -> Tensors:
    """The gradient of the sum of all outputs, whichever is the target."""
    leaves = [x.clone().requires_grad_() for x in problem.inputs]
    with torch.enable_grad():
        return torch.autograd.grad(problem.runner.passes.forward(*leaves).sum(), leaves)


# What is left behind.


@method("inputs_overwritten", where={"input"}, linear=True, backward_passes="1")
def inputs_overwritten(problem: Problem) -> Tensors:
    """Input times gradient, the product written into the input."""
    _, gradient = problem.value_and_grad()
    return tuple(x.mul_(g).clone() for x, g in zip(problem.inputs, gradient, strict=True))


@method("hook_left", where={"input"}, backward_passes="1")
def hook_left(problem: Problem) -> Tensors:
    """The gradient, and a hook that nobody removes."""
    _root(problem).register_forward_hook(lambda module, args, output: None)
    return problem.value_and_grad()[1]


@method("training_mode_changed", where={"input"}, backward_passes="1")
def training_mode_changed(problem: Problem) -> Tensors:
    """The gradient, in evaluation mode, in which the model stays."""
    _root(problem).eval()
    return problem.value_and_grad()[1]


@method("parameters_get_gradients", where={"input"}, backward_passes="1")
def parameters_get_gradients(problem: Problem) -> Tensors:
    """The gradient by ``backward``, which adds to that of parameters."""
    leaves = [x.clone().requires_grad_() for x in problem.inputs]
    with torch.enable_grad():
        output = problem.runner.passes.forward(*leaves)
        output[:, 1 if problem.target.index is None else problem.target.index[-1]].sum().backward()
    return tuple(x.grad for x in leaves)


@method("parameters_frozen", where={"input"}, backward_passes="1")
def parameters_frozen(problem: Problem) -> Tensors:
    """The gradient, with parameters frozen to save time."""
    _root(problem).requires_grad_(False)
    return problem.value_and_grad()[1]


@method("cleans_up_on_success", where={"input"}, backward_passes="1")
def cleans_up_on_success(problem: Problem) -> Tensors:
    """The gradient, with a hook that is removed unless the model raises."""
    handle = _root(problem).register_forward_hook(lambda module, args, output: None)
    gradient = problem.value_and_grad()[1]
    handle.remove()
    return gradient


@method("precision_set_for_all", where={"input"}, gradient=False, baseline="optional", baseline_at="site", outputs="every",
        forward_passes="1 + features")  # fmt: skip
def precision_set_for_all(problem: Problem, *, feature_mask: Any = None) -> Tensors:
    """Ablation, with torch's default precision set for good."""
    torch.set_default_dtype(torch.float64)
    game = problem.game(feature_mask)
    whole, *without = torch.cat(list(game.stream(game.all_but_one(), game.count + 1))).split([1, game.count])
    return game.spread(whole - without[0])


_CACHE: dict[int, Any] = {}


@method("model_cached", where={"input"}, backward_passes="1")
def model_cached(problem: Problem) -> Tensors:
    """The gradient, and the model in a cache from which nothing is taken out."""
    _CACHE[id(problem)] = _root(problem)
    return problem.value_and_grad()[1]


@method("inputs_cached", where={"input"}, backward_passes="1")
def inputs_cached(problem: Problem) -> Tensors:
    """The gradient, and the inputs in a cache from which nothing is taken out."""
    _CACHE[id(problem)] = problem.inputs
    return problem.value_and_grad()[1]


_TOTAL: dict[int, Tensor] = {}


@method("total_of_all_threads", where={"input"}, baseline="optional", complete="approximate", linear=True, **_STEPS)
def total_of_all_threads(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Integrated gradients, added up in a variable of the module.

    Args:
        n_steps: points on the path.
    """
    _TOTAL.clear()
    _TOTAL.update(enumerate(problem.zeros()))
    rule = _nodes(n_steps)
    for (_, w), gradient in zip(rule, problem.grads((problem.lerp(a) for a, _ in rule), n_steps), strict=True):
        for i, g in enumerate(gradient):
            _TOTAL[i] = _TOTAL[i] + w * g
    return _product(tuple(t.clone() for t in _TOTAL.values()), problem.delta)


@method("warns_always", backward_passes="1")
def warns_always(problem: Problem) -> Tensors:
    """The gradient, and a warning that there is nothing to warn of."""
    warnings.warn("attributions are experimental", UserWarning, stacklevel=2)
    return problem.value_and_grad()[1]


# What is declared.


@method("option_ignored", backward_passes="1")
def option_ignored(problem: Problem, *, absolute: bool = False) -> Tensors:
    """The gradient.

    Args:
        absolute: return absolute values.
    """
    return problem.value_and_grad()[1]


@method("help_missing", backward_passes="1")
def help_missing(problem: Problem, *, absolute: bool = False) -> Tensors:
    """The gradient, or its absolute values."""
    gradient = problem.value_and_grad()[1]
    return tuple(g.abs() for g in gradient) if absolute else gradient


@method("no_sentence", backward_passes="1")
def no_sentence(problem: Problem) -> Tensors:
    """Gradient of the output"""  # noqa: D415 - which is the fault
    return problem.value_and_grad()[1]


@method("zero_steps", where={"input"}, baseline="optional", complete="approximate", linear=True, **_STEPS)
def zero_steps(problem: Problem, *, n_steps: int = 50) -> Tensors:
    """Integrated gradients that makes of 0 steps one.

    Args:
        n_steps: points on the path.
    """
    return _path(problem, _nodes(max(n_steps, 1)))


def _made(power: int) -> Any:
    @method("made_by_a_function", backward_passes="1")
    def powered(problem: Problem) -> Tensors:
        """The gradient to a power."""
        return tuple(g**power for g in problem.value_and_grad()[1])

    return powered


made_by_a_function = _made(2)
a_lambda = method("a_lambda", backward_passes="1")(lambda problem: problem.value_and_grad()[1])


def renamed(problem: Problem) -> Tensors:
    """The gradient, declared under another name of the module than the function's."""
    return problem.value_and_grad()[1]


declared_elsewhere = method("renamed", backward_passes="1")(renamed)


@method("layer_run_twice", where={"layer"}, linear=True, backward_passes="1")
def layer_run_twice(problem: Problem) -> Tensors:
    """Of a layer that runs twice or returns several tensors, the last alone."""
    _, gradient = problem.value_and_grad()
    return gradient[-1:]


@method("game_of_zero", where={"input"}, gradient=False, baseline="optional", baseline_at="site", outputs="every",
        forward_passes="1 + features")  # fmt: skip
def game_of_zero(problem: Problem, *, feature_mask: Any = None) -> Tensors:
    """Ablation that replaces by zero, whatever the baseline."""
    _ = problem.baseline
    game = problem.game(feature_mask, lambda p: tuple(map(torch.zeros_like, p.point)))
    whole, *without = torch.cat(list(game.stream(game.all_but_one(), game.count + 1))).split([1, game.count])
    return game.spread(whole - without[0])


@method("value_for_each", where={"input"}, gradient=False, baseline="optional", baseline_at="site", outputs="every",
        complete="exact", forward_passes="1 + features")  # fmt: skip
def value_for_each(problem: Problem) -> Tensors:
    """The change of single features alone, declared to add up."""
    game = problem.game()
    alone = torch.eye(game.count, dtype=torch.bool)
    values = game.values(torch.cat([alone, torch.zeros(1, game.count, dtype=torch.bool)]))
    return game.attributions(Estimate(values[:-1] - values[-1]))


# What callers may give.


def _output(problem: Problem, *inputs: Tensor) -> Tensor:
    """What the model returns, called past everything that attrkit does for it."""
    found: Tensor = problem.runner.passes.forward(*inputs)
    return found


def _gradient_of(problem: Problem, column: Any) -> Tensors:
    """The gradient of a column of the outputs, whichever that is."""
    leaves = [x.detach().clone().requires_grad_() for x in problem.inputs]
    with torch.enable_grad():
        return torch.autograd.grad(column(_output(problem, *leaves)).sum(), leaves)


@method("several_tensors_refused", where={"layer"}, backward_passes="1")
def several_tensors_refused(problem: Problem) -> Tensors:
    """The gradient of layers that return one tensor."""
    if len(problem.point) > 1:
        raise UsageError("this method is for layers that return one tensor")
    return problem.value_and_grad()[1]


@method("one_target_for_all", where={"input"}, backward_passes="1")
def one_target_for_all(problem: Problem) -> Tensors:
    """The gradient of the first example's target, for all of them."""
    if problem.target.rows is None:
        return problem.value_and_grad()[1]
    return _gradient_of(problem, lambda output: output[:, int(problem.target.rows[0, 0])])


@method("target_as_a_number", where={"input"}, backward_passes="1")
def target_as_a_number(problem: Problem) -> Tensors:
    """The gradient of the target, which is taken for a number."""
    return _gradient_of(problem, lambda output: output[:, problem.target.index[0]])


@method("model_called_directly", where={"input"}, backward_passes="1")
def model_called_directly(problem: Problem) -> Tensors:
    """The gradient of the model called with the inputs alone."""
    index = problem.target.index
    return _gradient_of(problem, lambda output: output[:, index[-1] if index else 0])


@method("evaluation_mode_only", where={"input"}, backward_passes="1")
def evaluation_mode_only(problem: Problem) -> Tensors:
    """The gradient of models that nobody left in training mode."""
    if _root(problem).training:
        raise UsageError("model: call eval() first")
    return problem.value_and_grad()[1]


@method("steps_for_float64", where={"input"}, gradient=False, linear=True, forward_passes="1 + features")
def steps_for_float64(problem: Problem) -> Tensors:
    """Differences over a step for which float32 has too few digits."""
    if any(x.element_size() < 4 for x in problem.inputs):
        raise UsageError("inputs: differences need float32 or float64")
    (x, *others) = problem.inputs
    if others:
        raise UsageError("inputs: one tensor is wanted")
    moves = torch.eye(x.shape[1], dtype=x.dtype) * 1e-6
    whole, *moved = problem.values([(x,), *((x + move,) for move in moves)], 1 + x.shape[1])
    return (torch.stack([(value - whole) / 1e-6 for value in moved], 1).to(x),)


@method("equal_shares", where={"input"}, gradient=False, baseline="optional", complete="exact", linear=True, forward_passes="2")
def equal_shares(problem: Problem) -> Tensors:
    """The change of the output, shared equally among all features."""
    value, start = problem.values([problem.point, problem.baseline], 2)
    size = sum(x[0].numel() for x in problem.point) if len(value) else 1
    each = (value - start) / size
    return tuple(each.to(x).reshape(-1, *[1] * (x.dim() - 1)).expand_as(x).clone() for x in problem.point)


@method("any_factor", where={"input"}, backward_passes="1")
def any_factor(problem: Problem, *, factor: Any = 1.0) -> Tensors:
    """The gradient times a factor, whatever that is.

    Args:
        factor: what the gradient is multiplied by.
    """
    return tuple(g * factor for g in problem.value_and_grad()[1])


@method("any_order", where={"input"}, backward_passes="1")
def any_order(problem: Problem, *, order: float = 1.0) -> Tensors:
    """The gradient's sizes to some power, which may have no root.

    Args:
        order: the square of the power.
    """
    return tuple(g.abs().clamp_min(1e-6) ** math.sqrt(order) for g in problem.value_and_grad()[1])


@method("a_class_of_another", where={"input"}, backward_passes="1", classes={"input": "Saliency"})
def a_class_of_another(problem: Problem) -> Tensors:
    """The gradient, with a class name that another method has."""
    return problem.value_and_grad()[1]


@method("precision_left", where={"input"}, gradient=False)
def precision_left(problem: Problem) -> Tensors:
    """The inputs times the output; torch's default precision is set meanwhile, and set back unless the model raises."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    (value,) = problem.values([problem.inputs], 1)
    torch.set_default_dtype(before)
    return tuple(x * value.to(x).reshape(-1, *[1] * (x.dim() - 1)) for x in problem.inputs)


@method("by_gradients_of_weights", where={"input"}, backward_passes="2", forward_passes="2")
def by_gradients_of_weights(problem: Problem) -> Tensors:
    """The gradient, times the size of the first weight's gradient, which frozen weights have not."""
    weight = next(_root(problem).parameters())
    with torch.enable_grad():
        found = torch.autograd.grad(_output(problem, *problem.inputs).sum(), weight)[0].norm()
    return tuple(g * found.to(g) for g in problem.value_and_grad()[1])


@method("any_scale", where={"input"}, backward_passes="1")
def any_scale(problem: Problem, *, scale: Any = None) -> Tensors:
    """The gradient, changed by a function; what is none is taken for None.

    Args:
        scale: a function of the gradient.
    """
    return tuple(map(scale if callable(scale) else torch.abs, problem.value_and_grad()[1]))
